// IP addresses and prefixes as numbers: v4 as an unsigned 32-bit number, v6 as a bigint. Every room parses, compares
// and prints addresses with this module, so that one address has one text.

/** Address family as it stands in names and messages; the same values as `Family` of the model. */
export type IpFamily = 4 | 6;

/** An address. `value` is unsigned: 0..2^32-1 for v4, 0n..2^128-1n for v6. */
export type IpAddress = { readonly family: 4; readonly value: number } | { readonly family: 6; readonly value: bigint };

/** An address and its prefix length. From {@link parseCidr}, host bits are as they were written. */
export type Cidr =
  | { readonly family: 4; readonly value: number; readonly length: number }
  | { readonly family: 6; readonly value: bigint; readonly length: number };

const V6_ALL_ONES = (1n << 128n) - 1n;
const ZERO = 48;
const NINE = 57;
const DOT = 46;
const MAX_V6_TEXT_LENGTH = 45;

/** Decimal 0..999 without leading zeros at `text[from..to)`, or -1. */
export function parseDecimal(text: string, from: number, to: number): number {
  const length = to - from;
  if (length < 1 || length > 3) return -1;
  if (length > 1 && text.charCodeAt(from) === ZERO) return -1;
  let value = 0;
  for (let at = from; at < to; at++) {
    const code = text.charCodeAt(at);
    if (code < ZERO || code > NINE) return -1;
    value = value * 10 + (code - ZERO);
  }
  return value;
}

/**
 * Parses dotted decimal `10.0.0.1` to an unsigned number, or null. Four parts, no leading zeros (as Go's `net/netip`
 * and inet_pton(3)), nothing around it.
 */
export function parseIpv4(text: string): number | null {
  if (text.length < 7 || text.length > 15) return null;
  let value = 0;
  let dots = 0;
  let part = -1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === DOT) {
      if (part < 0) return null;
      value = value * 256 + part;
      dots++;
      part = -1;
      continue;
    }
    if (code < ZERO || code > NINE || part === 0) return null;
    part = part < 0 ? code - ZERO : part * 10 + (code - ZERO);
    if (part > 255) return null;
  }
  return dots === 3 && part >= 0 ? value * 256 + part : null;
}

/** Hex groups of one side of `::`; an embedded v4 tail (`::ffff:10.0.0.1`) gives two groups. Null if malformed. */
function parseGroups(text: string, mayEndInV4: boolean): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (mayEndInV4 && index === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part);
      if (v4 === null) return null;
      groups.push(Math.floor(v4 / 65536), v4 % 65536);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return null;
    }
  }
  return groups;
}

/** Parses any text form of RFC 4291 section 2.2 to an unsigned bigint, or null. No zone, no brackets. */
export function parseIpv6(text: string): bigint | null {
  if (text.length < 2 || text.length > MAX_V6_TEXT_LENGTH) return null;
  const gap = text.indexOf('::');
  let groups: number[];
  if (gap < 0) {
    const all = parseGroups(text, true);
    if (all === null || all.length !== 8) return null;
    groups = all;
  } else {
    const head = parseGroups(text.slice(0, gap), false);
    const tail = parseGroups(text.slice(gap + 2), true);
    // `::` stands for at least one group; a second `::` leaves an empty part behind and fails above.
    if (head === null || tail === null || head.length + tail.length > 7) return null;
    groups = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  }
  let value = 0n;
  for (const group of groups) value = (value << 16n) | BigInt(group);
  return value;
}

/** Parses an address of either family, or null. */
export function parseAddress(text: string): IpAddress | null {
  if (text.includes(':')) {
    const v6 = parseIpv6(text);
    return v6 === null ? null : { family: 6, value: v6 };
  }
  const v4 = parseIpv4(text);
  return v4 === null ? null : { family: 4, value: v4 };
}

/**
 * Parses `10.0.0.0/26`, `fd00::/64` or a bare address (full length), or null. Host bits are kept: use
 * {@link maskCidr} or {@link canonicalCidr} to clear them.
 */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null) return null;
  const bits = address.family === 4 ? 32 : 128;
  const length = slash < 0 ? bits : parseDecimal(text, slash + 1, text.length);
  if (length < 0 || length > bits) return null;
  return { ...address, length };
}

/** Dotted decimal of an unsigned 32-bit number. */
export function formatIpv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

const GROUPS = 8;
/** The groups of the address that is being formatted. */
const groups = new Uint16Array(GROUPS);

/** Text of what is in `groups`. */
function formatGroups(): string {
  // The longest run of at least two zero groups, the first of equals.
  let runStart = -1;
  let runLength = 1;
  for (let at = 0; at < GROUPS; ) {
    let end = at;
    while (end < GROUPS && groups[end] === 0) end++;
    if (end - at > runLength) {
      runStart = at;
      runLength = end - at;
    }
    at = end + 1;
  }
  if (runStart === 0 && runLength === 5 && groups[5] === 0xffff) {
    return `::ffff:${formatIpv4((((groups[6] ?? 0) << 16) | (groups[7] ?? 0)) >>> 0)}`;
  }
  let text = '';
  for (let at = 0; at < GROUPS; at++) {
    if (at === runStart) {
      text += '::';
      at += runLength - 1;
    } else {
      text += (at === 0 || at === runStart + runLength ? '' : ':') + (groups[at] ?? 0).toString(16);
    }
  }
  return text;
}

/**
 * RFC 5952 text, with v4-mapped addresses as `::ffff:10.0.0.1`: the form of Go's `net/netip`, ipset, nft and
 * iproute2.
 */
export function formatIpv6(value: bigint): string {
  for (let at = GROUPS - 1, left = value; at >= 0; at--, left >>= 16n) groups[at] = Number(left & 0xffffn);
  return formatGroups();
}

/** {@link formatIpv6} of sixteen bytes in network order. */
export function formatIpv6Bytes(bytes: Uint8Array, start: number): string {
  for (let at = 0; at < GROUPS; at++) {
    groups[at] = ((bytes[start + 2 * at] ?? 0) << 8) | (bytes[start + 2 * at + 1] ?? 0);
  }
  return formatGroups();
}

/** Canonical text of an address. */
export function formatAddress(address: IpAddress): string {
  return address.family === 4 ? formatIpv4(address.value) : formatIpv6(address.value);
}

/** Canonical text of a prefix, always with its length: `10.0.0.1/32`. Host bits are printed as they are. */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr)}/${cidr.length}`;
}

/** Netmask of a v4 prefix length (0..32) as an unsigned number. */
export function ipv4Mask(length: number): number {
  return length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
}

/** Netmask of a v6 prefix length (0..128). */
export function ipv6Mask(length: number): bigint {
  return (V6_ALL_ONES << BigInt(128 - length)) & V6_ALL_ONES;
}

/** The same prefix with its host bits cleared. */
export function maskCidr(cidr: Cidr): Cidr {
  if (cidr.family === 4) return { ...cidr, value: (cidr.value & ipv4Mask(cidr.length)) >>> 0 };
  return { ...cidr, value: cidr.value & ipv6Mask(cidr.length) };
}

/** Canonical text of an address (`fd00::1`), or null if it is not one. */
export function canonicalAddress(text: string): string | null {
  const address = parseAddress(text);
  return address === null ? null : formatAddress(address);
}

/** Canonical text of a prefix, host bits cleared and length always there (`10.0.0.0/26`, `10.0.0.1/32`), or null. */
export function canonicalCidr(text: string): string | null {
  const cidr = parseCidr(text);
  return cidr === null ? null : formatCidr(maskCidr(cidr));
}

/** Family of an address or prefix as written, or null if it is neither. */
export function addressFamily(text: string): IpFamily | null {
  return parseCidr(text)?.family ?? null;
}

/** Whether the text is an address (no prefix length), of the given family if one is given. */
export function isValidAddress(text: string, family?: IpFamily): boolean {
  const address = parseAddress(text);
  return address !== null && (family === undefined || address.family === family);
}

/** Whether the text is an address or prefix, of the given family if one is given. */
export function isValidCidr(text: string, family?: IpFamily): boolean {
  const cidr = parseCidr(text);
  return cidr !== null && (family === undefined || cidr.family === family);
}

/** Whether the prefix (host bits ignored) contains the address or the whole inner prefix. Families never mix. */
export function cidrContains(outer: Cidr, inner: IpAddress | Cidr): boolean {
  if ('length' in inner && inner.length < outer.length) return false;
  if (outer.family === 4 && inner.family === 4) {
    const mask = ipv4Mask(outer.length);
    return ((outer.value & mask) ^ (inner.value & mask)) === 0;
  }
  if (outer.family === 6 && inner.family === 6) {
    const mask = ipv6Mask(outer.length);
    return (outer.value & mask) === (inner.value & mask);
  }
  return false;
}
