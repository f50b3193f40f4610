// The listing of one IP set, from the bytes of a dump to ipset's own text form of its members.
import { createHash } from 'node:crypto';
import { formatIpv4, formatIpv6 } from '../../base/ip.js';
import { NFGENMSG_LENGTH, textAt } from './message.js';
import { attributeEnd, bigEndian, eachAttribute, findAttribute, type ReceivedBytes } from './scan.js';

const ATTRIBUTE = { typeName: 3, family: 5, data: 7, adt: 8 } as const;
const DATA = { ip: 1, cidr: 3, port: 4, timeout: 6, proto: 7, flags: 8, maxElements: 19, netmask: 20 } as const;
const IP_FORM = { v4: 1, v6: 2 } as const;
const NFPROTO_IPV6 = 10;
/** IPSET_FLAG_NOMATCH: the member is an exception. We never write it, but someone may have. */
const NO_MATCH_FLAG = 1 << 2;
/** Extensions of a set, by bit of its flags (enum ipset_cadt_flags), as ipset spells them. */
const EXTENSION_BITS: readonly (readonly [number, string])[] = [
  [3, 'counters'],
  [4, 'comment'],
  [5, 'forceadd'],
  [6, 'skbinfo'],
];
const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** What the kernel says of a set. `type` may be one that we never make. */
export interface IpsetListing {
  readonly name: string;
  readonly type: string;
  readonly family: 4 | 6;
  readonly maxElements: number;
  /** Options that change what a member means or how long it lives: `timeout`, `counters`, … */
  readonly extensions: readonly string[];
  /** In ipset's own text form: `10.0.0.1`, `10.0.0.0/26`, `10.0.0.1,tcp:80`; empty for foreign types. */
  readonly members: readonly string[];
  /** See {@link IpsetDigest}. */
  readonly digest: string;
}

/** Digest of all messages of one set's dump: equal digests are equal sets, with what rules and memory they have. */
export class IpsetDigest {
  readonly #hash = createHash('sha224');

  /** A payload that lies between the two places. */
  take({ bytes }: ReceivedBytes, start: number, end: number): void {
    this.#hash.update(bytes.subarray(start, end));
  }

  finish(): string {
    return this.#hash.digest('base64');
  }
}

/** Takes the messages of one set's dump; those after the first have members only. */
export class IpsetReader {
  #type = '';
  #family: 4 | 6 = 4;
  #maxElements = 0;
  readonly #extensions = new Set<string>();
  readonly #members: string[] = [];
  readonly #digest = new IpsetDigest();

  /** A payload that lies between the two places. */
  take(received: ReceivedBytes, start: number, end: number): void {
    const { bytes, words } = received;
    this.#digest.take(received, start, end);
    eachAttribute(words, start + NFGENMSG_LENGTH, end, (type, from, to) => {
      if (type === ATTRIBUTE.typeName) this.#type = textAt(bytes, from, to);
      else if (type === ATTRIBUTE.family) this.#family = bytes[from] === NFPROTO_IPV6 ? 6 : 4;
      else if (type === ATTRIBUTE.data) this.#takeSettings(words, from, to);
      else if (type === ATTRIBUTE.adt) {
        eachAttribute(words, from, to, (_nested, memberFrom, memberTo) => {
          const member = memberText(this.#type, bytes, words, memberFrom, memberTo);
          if (member !== null) this.#members.push(member);
        });
      }
    });
  }

  finish(name: string): IpsetListing {
    return {
      name,
      type: this.#type,
      family: this.#family,
      maxElements: this.#maxElements,
      extensions: [...this.#extensions],
      members: this.#members,
      digest: this.#digest.finish(),
    };
  }

  #takeSettings(words: Int32Array, start: number, end: number): void {
    const maxElements = findAttribute(words, start, end, DATA.maxElements);
    if (maxElements >= 0) this.#maxElements = bigEndian(words, maxElements);
    if (findAttribute(words, start, end, DATA.timeout) >= 0) this.#extensions.add('timeout');
    if (findAttribute(words, start, end, DATA.netmask) >= 0) this.#extensions.add('netmask');
    const flags = findAttribute(words, start, end, DATA.flags);
    if (flags < 0) return;
    const bits = bigEndian(words, flags);
    for (const [bit, name] of EXTENSION_BITS) if ((bits & (1 << bit)) !== 0) this.#extensions.add(name);
  }
}

/** The text form of a member's attributes; null for types we never make. */
function memberText(type: string, bytes: Buffer, words: Int32Array, start: number, end: number): string | null {
  const ip = findAttribute(words, start, end, DATA.ip);
  if (ip < 0) return null;
  const ipEnd = attributeEnd(words, ip - 4, end);
  const v4 = findAttribute(words, ip, ipEnd, IP_FORM.v4);
  const address = v4 >= 0 ? formatIpv4(bigEndian(words, v4)) : addressV6(bytes, words, ip, ipEnd);
  switch (type) {
    case 'hash:ip':
      return address;
    case 'hash:net': {
      const cidr = findAttribute(words, start, end, DATA.cidr);
      const length = cidr < 0 ? undefined : bytes[cidr];
      const net = length === undefined || length === (v4 >= 0 ? 32 : 128) ? address : `${address}/${length}`;
      const flags = findAttribute(words, start, end, DATA.flags);
      return flags >= 0 && (bigEndian(words, flags) & NO_MATCH_FLAG) !== 0 ? `${net} nomatch` : net;
    }
    case 'hash:ip,port': {
      const port = findAttribute(words, start, end, DATA.port);
      const proto = findAttribute(words, start, end, DATA.proto);
      const number = proto < 0 ? 0 : (bytes[proto] ?? 0);
      return `${address},${PROTOCOL_NAMES[number] ?? String(number)}:${port < 0 ? 0 : bytes.readUInt16BE(port)}`;
    }
    default:
      return null;
  }
}

function addressV6(bytes: Buffer, words: Int32Array, start: number, end: number): string {
  const at = findAttribute(words, start, end, IP_FORM.v6);
  return at < 0 ? '' : formatIpv6((bytes.readBigUInt64BE(at) << 64n) | bytes.readBigUInt64BE(at + 8));
}
