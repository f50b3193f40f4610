// The nf_tables subsystem of nfnetlink, as far as it pays to speak it ourselves: the generation id, and set and map
// elements (include/uapi/linux/netfilter/nf_tables.h). nft and libnftables read every interval set of the ruleset
// before they change one element; the kernel needs 0.02 ms (ecosystem.md 3.2).
import { parseAddress, parseCidr, parseIpv4 } from '../../base/ip.js';
import { NetlinkError } from '../../base/errors.js';
import { addressBytes } from './address-bytes.js';
import type { NativeLibrary } from './library.js';
import { MessageWriter, numberMessages } from './message.js';
import { askGeneration } from './nf-generation.js';
import { lengthOf, NETLINK, NetlinkSocket, throwFailure } from './socket.js';

const LIST_ELEMENT = 1;
const ELEMENT = { key: 1, data: 2, flags: 3, userData: 6 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT = { code: 1, chain: 2 } as const;
const NFT_GOTO = -4;
const INTERVAL_END_FLAG = 1;
/** nft marks an interval without an upper end with this user data: flags attribute, one 32-bit word, value 1. */
const OPEN_INTERVAL = Buffer.from([1, 4, 1, 0, 0, 0]);
const INTERFACE_NAME_LENGTH = 16;
const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

/** Batches from this size on are sent by a thread: the kernel needs some 10 ms for so many. */
const BYTES_IN_PLACE = 128 * 1024;

/** Which kind of key a set has; `interval` sets hold prefixes. */
export type ElementKind = 'address' | 'interval' | 'address-port' | 'interface-goto';

/** Elements to add to or delete from one set or map. */
export interface ElementChange {
  readonly operation: 'add' | 'delete';
  readonly set: string;
  readonly kind: ElementKind;
  /**
   * `10.0.0.1`; `10.0.0.0/26`; `10.0.0.1 . tcp . 80`; for a map `cali1 : goto filter-cali-fw-cali1`. Intervals must
   * not overlap within a set.
   */
  readonly elements: readonly string[];
}

function parsedAddress(text: string): Buffer {
  const address = parseAddress(text);
  if (address === null) throw new NetlinkError(`"${text}" is not an address`, 22, 'EINVAL');
  return addressBytes(address.family, address.value);
}

function writeKey(writer: MessageWriter, key: Buffer): void {
  writer.nested(ELEMENT.key, (inner) => inner.attribute(DATA.value, key));
}

const LAST_V4 = 2 ** 32 - 1;

/** An IPv4 interval with an end, but for its two addresses. */
const V4_INTERVAL = ((): { readonly bytes: Buffer; readonly startAt: number; readonly endAt: number } => {
  const writer = new MessageWriter(64);
  const zero = Buffer.alloc(4);
  writer.nested(LIST_ELEMENT, (element) => writeKey(element, zero));
  const startAt = writer.length - zero.length;
  let endAt = 0;
  writer.nested(LIST_ELEMENT, (element) => {
    writeKey(element, zero);
    endAt = writer.length - zero.length;
    element.attributeU32Be(ELEMENT.flags, INTERVAL_END_FLAG);
  });
  return { bytes: Buffer.from(writer.finish()), startAt, endAt };
})();

/** An unsigned 32-bit number in network order. */
function putU32Be(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function writeV4Interval(writer: MessageWriter, start: number, end: number): void {
  const { bytes, startAt, endAt } = V4_INTERVAL;
  putU32Be(bytes, startAt, start);
  putU32Be(bytes, endAt, end);
  writer.bytes(bytes);
}

function encodeInterval(writer: MessageWriter, text: string): void {
  // Most elements are addresses, and there are ten thousands of them.
  const host = parseIpv4(text);
  if (host !== null && host < LAST_V4) {
    writeV4Interval(writer, host, host + 1);
    return;
  }
  const cidr = parseCidr(text);
  if (cidr === null) throw new NetlinkError(`"${text}" is not a prefix`, 22, 'EINVAL');
  if (cidr.family === 4) {
    const end = cidr.value + 2 ** (32 - cidr.length);
    if (end <= LAST_V4) {
      writeV4Interval(writer, cidr.value, end);
      return;
    }
  }
  const bits = cidr.family === 4 ? 32n : 128n;
  const start = BigInt(cidr.value);
  const end = start + (1n << (bits - BigInt(cidr.length)));
  const open = end === 1n << bits;
  writer.nested(LIST_ELEMENT, (element) => {
    writeKey(element, addressBytes(cidr.family, start));
    if (open) element.attribute(ELEMENT.userData, OPEN_INTERVAL);
  });
  if (open) return;
  writer.nested(LIST_ELEMENT, (element) => {
    writeKey(element, addressBytes(cidr.family, end));
    element.attributeU32Be(ELEMENT.flags, INTERVAL_END_FLAG);
  });
}

function encodeAddressPort(text: string): Buffer {
  const [address = '', proto = '', port = ''] = text.split(' . ');
  const number = PROTOCOL_NUMBERS[proto];
  if (number === undefined) throw new NetlinkError(`"${text}": unknown protocol`, 22, 'EINVAL');
  // Each part of a concatenation starts on a 4-byte boundary.
  const tail = Buffer.alloc(8);
  tail.writeUInt8(number, 0);
  tail.writeUInt16BE(Number(port), 4);
  return Buffer.concat([parsedAddress(address), tail]);
}

function encodeInterfaceGoto(writer: MessageWriter, text: string, withData: boolean): void {
  const [name = '', verdict = ''] = text.split(' : ');
  const key = Buffer.alloc(INTERFACE_NAME_LENGTH);
  key.write(name, 'utf8');
  writer.nested(LIST_ELEMENT, (element) => {
    writeKey(element, key);
    if (!withData) return;
    element.nested(ELEMENT.data, (data) =>
      data.nested(DATA.verdict, (inner) =>
        inner.attributeU32Be(VERDICT.code, NFT_GOTO).attributeString(VERDICT.chain, verdict.replace(/^goto /, '')),
      ),
    );
  });
}

/** Writes one element in its list container. */
export function encodeElement(
  writer: MessageWriter,
  change: Pick<ElementChange, 'kind' | 'operation'>,
  text: string,
): void {
  switch (change.kind) {
    case 'interval':
      encodeInterval(writer, text);
      return;
    case 'address':
      writer.nested(LIST_ELEMENT, (element) => writeKey(element, parsedAddress(text)));
      return;
    case 'address-port':
      writer.nested(LIST_ELEMENT, (element) => writeKey(element, encodeAddressPort(text)));
      return;
    case 'interface-goto':
      encodeInterfaceGoto(writer, text, change.operation === 'add');
  }
}

/** A whole batch: its messages one after the other, and how many they are. */
export interface Batch {
  readonly bytes: Buffer;
  readonly messages: number;
}

/** The same in pieces, which go to the kernel together; their messages have numbers. */
export interface PiecedBatch {
  readonly bytes: readonly Buffer[];
  readonly messages: number;
}

/** nf_tables over one netlink socket, kept open: closing one that has deleted something costs an RCU grace period. */
export class NfTablesNetlink {
  readonly #socket: NetlinkSocket;

  constructor(library: NativeLibrary) {
    this.#socket = new NetlinkSocket(library, NETLINK.netfilter);
  }

  /** The generation id: moves with every commit of anybody in this network namespace. */
  generation(): number {
    return askGeneration(this.#socket);
  }

  /**
   * Commits a batch whose last message asks for an acknowledgement; numbers the messages of one that is in one piece.
   * @throws NetlinkError when the kernel refuses the batch; nothing of it is then in force.
   */
  async commit({ bytes, messages }: Batch | PiecedBatch): Promise<void> {
    if (Buffer.isBuffer(bytes)) numberMessages(bytes, this.#socket.takeSequences(messages));
    const length = lengthOf(bytes);
    const acks =
      length < BYTES_IN_PLACE ? this.#socket.exchange(bytes, 1) : await this.#socket.exchangeInThread(bytes, 1);
    throwFailure('nf_tables transaction', acks);
  }

  close(): void {
    this.#socket.close();
  }
}
