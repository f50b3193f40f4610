// Small readings of address texts that managers share; parsing itself is base/ip.ts.

/** `10.0.0.1/24` → `10.0.0.1`, otherwise untouched: rules print addresses as the message has them. */
export function withoutLength(text: string): string {
  const slash = text.indexOf('/');
  return slash < 0 ? text : text.slice(0, slash);
}

/**
 * A 48-bit MAC in any of the spellings that Go's net.ParseMAC takes (`:`, `-`, or dotted groups of four), lower case with
 * colons; null if it is not one.
 */
export function canonicalMac(text: string): string | null {
  const hex =
    /^([0-9a-fA-F]{2}([:-]))(?:[0-9a-fA-F]{2}\2){4}[0-9a-fA-F]{2}$|^(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}$/.test(text)
      ? text.replace(/[:.-]/g, '').toLowerCase()
      : null;
  return hex === null ? null : (hex.match(/../g) ?? []).join(':');
}
