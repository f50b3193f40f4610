// Elements of nf_tables sets and maps, from the bytes of a dump to the texts that nft prints.
import { formatIpv4, formatIpv6 } from '../../base/ip.js';
import { NFGENMSG_LENGTH, textAt } from './message.js';
import { attributeEnd, bigEndian, eachAttribute, findAttribute, type ReceivedBytes } from './scan.js';

const ELEMENT_LIST = { elements: 3 } as const;
const ELEMENT = { key: 1, data: 2, flags: 3 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT = { code: 1, chain: 2 } as const;
const INTERVAL_END = 1;
const INTERVAL_FLAG = 4;
/** Key types of nft's own numbering (include/datatype.h); a concatenation has six bits for each part. */
const KEY_TYPES: Readonly<Record<number, string>> = {
  7: 'ipv4_addr',
  8: 'ipv6_addr',
  12: 'inet_proto',
  13: 'inet_service',
  41: 'ifname',
};
const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };
const VERDICTS: Readonly<Record<number, string>> = {
  [-1]: 'continue',
  [-3]: 'jump',
  [-4]: 'goto',
  [-5]: 'return',
  0: 'drop',
  1: 'accept',
};
const NFT_GOTO = -4;
const V4_ADDRESSES = 2 ** 32;
const V6_ADDRESSES = 1n << 128n;

/** A key as nft prints it, and for maps the target: of a goto the chain, else the verdict. */
export type ListedElement = readonly [key: string, target: string];

/** `ipv4_addr . inet_proto . inet_service` of the number that nft gave the set. */
export function keyTypeName(keyType: number): string {
  const parts: string[] = [];
  for (let rest = keyType; rest !== 0; rest = Math.floor(rest / 64)) {
    const part = rest % 64;
    parts.unshift(KEY_TYPES[part] ?? `type ${part}`);
  }
  return parts.join(' . ');
}

/** Takes the messages of one set's dump. */
export interface ElementReader {
  /** A payload that lies between the two places. */
  take(received: ReceivedBytes, start: number, end: number): void;
  /** All elements; intervals of addresses as prefixes where they are one (`10.0.0.0/8`, `10.0.0.1`), else as `first-last`. */
  finish(): ListedElement[];
}

/** For a set with this type of keys and these flags. */
export function createElementReader(keyType: number, flags: number): ElementReader {
  const type = keyTypeName(keyType);
  if ((flags & INTERVAL_FLAG) !== 0 && type === 'ipv4_addr') return new V4IntervalReader();
  if ((flags & INTERVAL_FLAG) !== 0 && type === 'ipv6_addr') return new V6IntervalReader();
  return new KeyReader(keyFormat(type));
}

/** Calls back with the place of each element's attributes. */
function scanElements(
  words: Int32Array,
  start: number,
  end: number,
  visit: (start: number, end: number) => void,
): void {
  const list = findAttribute(words, start + NFGENMSG_LENGTH, end, ELEMENT_LIST.elements);
  if (list < 0) return;
  eachAttribute(words, list, attributeEnd(words, list - 4, end), (_type, from, to) => visit(from, to));
}

/** Place of the bytes of an element's key, or -1; they end where their attribute does. */
function keyOf(words: Int32Array, start: number, end: number): number {
  const key = findAttribute(words, start, end, ELEMENT.key);
  return key < 0 ? -1 : findAttribute(words, key, attributeEnd(words, key - 4, end), DATA.value);
}

function isIntervalEnd(words: Int32Array, start: number, end: number): boolean {
  const flags = findAttribute(words, start, end, ELEMENT.flags);
  return flags >= 0 && (bigEndian(words, flags) & INTERVAL_END) !== 0;
}

/** Prefixes of IPv4: most sets, and the largest. A mark is one number: twice the address, and one more for a start. */
class V4IntervalReader implements ElementReader {
  readonly #marks: number[] = [];

  take({ words }: ReceivedBytes, start: number, end: number): void {
    scanElements(words, start, end, (from, to) => {
      const key = keyOf(words, from, to);
      if (key >= 0) this.#marks.push(bigEndian(words, key) * 2 + (isIntervalEnd(words, from, to) ? 0 : 1));
    });
  }

  finish(): ListedElement[] {
    const sorted = Float64Array.from(this.#marks).sort();
    const elements: ListedElement[] = [];
    let first = -1;
    for (const mark of sorted) {
      const address = Math.floor(mark / 2);
      if (mark % 2 === 1) first = address;
      else {
        if (first >= 0) elements.push([v4IntervalText(first, address), '']);
        first = -1;
      }
    }
    if (first >= 0) elements.push([v4IntervalText(first, V4_ADDRESSES), '']);
    return elements;
  }
}

function v4IntervalText(first: number, next: number): string {
  const size = next - first;
  if (size === 1) return formatIpv4(first);
  const bits = Math.log2(size);
  if (!Number.isInteger(bits) || first % size !== 0) return `${formatIpv4(first)}-${formatIpv4(next - 1)}`;
  return `${formatIpv4(first)}/${32 - bits}`;
}

/** Prefixes of IPv6. */
class V6IntervalReader implements ElementReader {
  readonly #marks: { readonly key: Buffer; readonly isEnd: boolean }[] = [];

  take({ bytes, words }: ReceivedBytes, start: number, end: number): void {
    scanElements(words, start, end, (from, to) => {
      const key = keyOf(words, from, to);
      if (key < 0) return;
      const copy = Buffer.from(bytes.subarray(key, attributeEnd(words, key - 4, to)));
      this.#marks.push({ key: copy, isEnd: isIntervalEnd(words, from, to) });
    });
  }

  finish(): ListedElement[] {
    this.#marks.sort((a, b) => Buffer.compare(a.key, b.key) || Number(b.isEnd) - Number(a.isEnd));
    const elements: ListedElement[] = [];
    let first: Buffer | null = null;
    for (const mark of this.#marks) {
      if (!mark.isEnd) first = mark.key;
      else {
        if (first !== null) elements.push([intervalText(first, mark.key), '']);
        first = null;
      }
    }
    if (first !== null) elements.push([intervalText(first, null), '']);
    return elements;
  }
}

function intervalText(start: Buffer, end: Buffer | null): string {
  const first = v6Number(start);
  const size = (end === null ? V6_ADDRESSES : v6Number(end)) - first;
  if ((size & (size - 1n)) !== 0n || first % size !== 0n)
    return `${formatIpv6(first)}-${formatIpv6(first + size - 1n)}`;
  const length = 128 - (size.toString(2).length - 1);
  return length === 128 ? formatIpv6(first) : `${formatIpv6(first)}/${length}`;
}

function v6Number(bytes: Buffer): bigint {
  return (bytes.readBigUInt64BE(0) << 64n) | bytes.readBigUInt64BE(8);
}

/** Keys that stand for themselves. */
class KeyReader implements ElementReader {
  readonly #format: KeyFormat;
  readonly #elements: ListedElement[] = [];

  constructor(format: KeyFormat) {
    this.#format = format;
  }

  take({ bytes, words }: ReceivedBytes, start: number, end: number): void {
    scanElements(words, start, end, (from, to) => {
      const key = keyOf(words, from, to);
      if (key < 0) return;
      const text = this.#format(bytes, key, attributeEnd(words, key - 4, to));
      this.#elements.push([text, targetOf(bytes, words, from, to)]);
    });
  }

  finish(): ListedElement[] {
    return this.#elements;
  }
}

function targetOf(bytes: Buffer, words: Int32Array, start: number, end: number): string {
  const data = findAttribute(words, start, end, ELEMENT.data);
  if (data < 0) return '';
  const verdict = findAttribute(words, data, attributeEnd(words, data - 4, end), DATA.verdict);
  if (verdict < 0) return 'data';
  const verdictEnd = attributeEnd(words, verdict - 4, end);
  const codeAt = findAttribute(words, verdict, verdictEnd, VERDICT.code);
  const code = codeAt < 0 ? 0 : bigEndian(words, codeAt) | 0;
  const chainAt = findAttribute(words, verdict, verdictEnd, VERDICT.chain);
  const chain = chainAt < 0 ? '' : textAt(bytes, chainAt, attributeEnd(words, chainAt - 4, verdictEnd));
  return code === NFT_GOTO ? chain : `${VERDICTS[code] ?? String(code)} ${chain}`.trim();
}

type KeyFormat = (bytes: Buffer, start: number, end: number) => string;

function keyFormat(type: string): KeyFormat {
  if (type === 'ifname') return textAt;
  if (type === 'ipv4_addr' || type === 'ipv6_addr') return (bytes, start, end) => addressOf(bytes.subarray(start, end));
  if (/^ipv[46]_addr \. inet_proto \. inet_service$/.test(type)) return addressPort;
  return (bytes, start, end) => bytes.toString('hex', start, end);
}

/** Each part of a concatenation takes four bytes or a multiple. */
function addressPort(bytes: Buffer, start: number, end: number): string {
  const tail = end - 8;
  const protocol = bytes.readUInt8(tail);
  const address = addressOf(bytes.subarray(start, tail));
  return `${address} . ${PROTOCOLS[protocol] ?? String(protocol)} . ${bytes.readUInt16BE(tail + 4)}`;
}

function addressOf(bytes: Buffer): string {
  if (bytes.length === 4) return formatIpv4(bytes.readUInt32BE(0));
  return formatIpv6(v6Number(bytes));
}
