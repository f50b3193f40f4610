// Comment texts, made safe for both back ends: neither iptables-restore nor nft has an escape that survives a
// round trip, so everything unusual becomes an underscore (dataplane.md 3.12).

const UNSAFE = /[^A-Za-z0-9_ @%+=:,./-]/gu;

/** Replaces unsafe characters (one code point, one `_`) and cuts at `maxLength`; the result is plain ASCII. */
export function safeComment(text: string, maxLength: number): string {
  const safe = text.replace(UNSAFE, '_');
  return safe.length > maxLength ? safe.slice(0, maxLength) : safe;
}
