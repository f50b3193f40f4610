// IP addresses and prefixes as values: parsed once where resources are read, printed as Go prints them.
import type { Family } from '../../model/family.js';

/** One address. `bits` is the address as a number of 32 or 128 bits. */
export interface Address {
  readonly family: Family;
  readonly bits: bigint;
}

/** A prefix with its host bits zero. `text` is canonical: `10.65.0.0/16`, `fd00:65::2/128`. */
export interface Cidr {
  readonly family: Family;
  readonly bits: bigint;
  readonly length: number;
  readonly text: string;
}

const WIDTH: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

/** Bits of an address of that family. */
export function addressWidth(family: Family): number {
  return WIDTH[family];
}

function parseIPv4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let bits = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bits = (bits << 8n) | BigInt(part);
  }
  return bits;
}

function parseGroups(text: string): bigint[] | undefined {
  if (text === '') return [];
  const groups: bigint[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1 && part.includes('.')) {
      const v4 = parseIPv4(part);
      if (v4 === undefined) return undefined;
      groups.push(v4 >> 16n, v4 & 0xffffn);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(BigInt(`0x${part}`));
    }
  }
  return groups;
}

function parseIPv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '');
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => 0n), ...tail];
  return groups.reduce((bits, group) => (bits << 16n) | group, 0n);
}

/** An IPv4 address in dotted form without leading zeros, or an IPv6 address without zone; else undefined. */
export function parseAddress(text: string): Address | undefined {
  const v6 = text.includes(':');
  const bits = v6 ? parseIPv6(text) : parseIPv4(text);
  return bits === undefined ? undefined : { family: v6 ? 6 : 4, bits };
}

/** The text of RFC 5952: lower case, the longest run of zero groups shortened. */
export function formatAddress({ family, bits }: Address): string {
  if (family === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => String((bits >> shift) & 0xffn)).join('.');
  }
  const groups = Array.from({ length: 8 }, (_, index) => Number((bits >> BigInt(112 - 16 * index)) & 0xffffn));
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
    if (end > start) start = end;
  }
  const print = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  if (bestStart < 0) return print(groups);
  return `${print(groups.slice(0, bestStart))}::${print(groups.slice(bestStart + bestLength))}`;
}

/** The prefix of that length around the address; host bits are cleared. */
export function makeCidr(address: Address, length: number): Cidr {
  const hostBits = BigInt(WIDTH[address.family] - length);
  const bits = (address.bits >> hostBits) << hostBits;
  return {
    family: address.family,
    bits,
    length,
    text: `${formatAddress({ family: address.family, bits })}/${length}`,
  };
}

/** The /32 or /128 of an address. */
export function hostCidr(address: Address): Cidr {
  return makeCidr(address, WIDTH[address.family]);
}

/** An address with a prefix length, host bits kept: `192.168.0.1/24`. Undefined if the text is anything else. */
export function parseInterfaceAddress(text: string): { address: Address; network: Cidr; text: string } | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === undefined || !/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined;
  const length = Number(lengthText);
  if (length > WIDTH[address.family]) return undefined;
  return { address, network: makeCidr(address, length), text: `${formatAddress(address)}/${length}` };
}

/** A prefix (masked), or a single address as its /32 or /128. */
export function parseCidrOrAddress(text: string): Cidr | undefined {
  if (text.includes('/')) return parseInterfaceAddress(text)?.network;
  const address = parseAddress(text);
  return address === undefined ? undefined : hostCidr(address);
}

/** True if every address of `inner` is in `outer`. */
export function containsCidr(outer: Cidr, inner: Cidr | Address): boolean {
  if (outer.family !== inner.family) return false;
  if ('length' in inner && inner.length < outer.length) return false;
  const shift = BigInt(WIDTH[outer.family] - outer.length);
  return inner.bits >> shift === outer.bits >> shift;
}
