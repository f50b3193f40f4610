// Go's url.PathEscape: how Felix makes file names and keys of ids that may hold slashes and blanks.

/** Bytes that stay as they are: unreserved characters of RFC 3986 and those that Go leaves in a path segment. */
const KEPT = /^[A-Za-z0-9\-_.~$&+=:@]$/;

/** Escapes one path segment byte by byte (UTF-8), with upper-case hex: `ns/pod 1` → `ns%2Fpod%201`. */
export function pathEscape(text: string): string {
  let escaped = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const character = String.fromCharCode(byte);
    escaped += KEPT.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return escaped;
}
