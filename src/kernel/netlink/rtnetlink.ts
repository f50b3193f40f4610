// Numbers of rtnetlink(7) and a request helper: what routes, links, addresses, rules and neighbours have in common.
import { formatIpv4, formatIpv6Bytes, parseAddress } from '../../base/ip.js';
import type { NativeLibrary } from './library.js';
import { FLAG, MessageWriter, type ReceivedMessage } from './message.js';
import { bigEndian, type MessageVisitor, type ReceivedBytes } from './scan.js';
import { type Acknowledgement, NETLINK, NetlinkSocket } from './socket.js';

/** nlmsg_type of rtnetlink. */
export const RTM = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  deleteNeighbour: 29,
  getNeighbour: 30,
  newRule: 32,
  deleteRule: 33,
  getRule: 34,
  getQdisc: 38,
  getNeighbourTable: 66,
} as const;

/** Multicast groups (enum rtnetlink_groups). */
export const GROUP = { link: 1, ipv4Route: 7, ipv6Route: 11 } as const;

/** Address families. */
export const AF = { unspec: 0, inet: 2, bridge: 7, inet6: 10 } as const;

/** AF number of a family. */
export function afOf(family: 4 | 6): number {
  return family === 4 ? AF.inet : AF.inet6;
}

/** 4 or 16 bytes in network order; null when the text is not an address. */
export function addressBytes(text: string): Buffer | null {
  const address = parseAddress(text);
  if (address === null) return null;
  if (address.family === 4) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(address.value);
    return bytes;
  }
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(address.value >> 64n, 0);
  bytes.writeBigUInt64BE(address.value & 0xffff_ffff_ffff_ffffn, 8);
  return bytes;
}

/** Canonical text of 4 or 16 bytes in network order. */
export function addressText(bytes: Buffer): string {
  return bytes.length === 4 ? formatIpv4(bytes.readUInt32BE(0)) : formatIpv6Bytes(bytes, 0);
}

/** The same of an attribute's value that is read where it lies. */
export function addressTextAt({ bytes, words }: ReceivedBytes, start: number, end: number): string {
  return end - start === 4 ? formatIpv4(bigEndian(words, start)) : formatIpv6Bytes(bytes, start);
}

/** `02:00:00:00:00:01` of six bytes. */
export function macText(bytes: Buffer): string {
  const hex = bytes.toString('hex', 0, 6);
  return `${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}:${hex.slice(8, 10)}:${hex.slice(10)}`;
}

/** Six bytes of a MAC address; null when the text is none. */
export function macBytes(text: string): Buffer | null {
  return /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text) ? Buffer.from(text.replaceAll(':', ''), 'hex') : null;
}

/** A request: its type, flags besides REQUEST and ACK, and what follows the netlink header. */
export interface RtnetlinkRequest {
  readonly type: number;
  readonly flags: number;
  body(writer: MessageWriter): void;
}

/** Writes requests of one batch and matches the answers by sequence number. */
export class RtnetlinkSocket {
  readonly #socket: NetlinkSocket;

  constructor(library: NativeLibrary) {
    this.#socket = new NetlinkSocket(library, NETLINK.route, { strictDumps: true });
  }

  /** Every message of a dump; `header` writes what follows the netlink header. */
  dump(type: number, header: (writer: MessageWriter) => void, onMessage: (message: ReceivedMessage) => void): void {
    const writer = new MessageWriter(256).begin(type, FLAG.request | FLAG.dump, this.#socket.takeSequences(1));
    header(writer);
    this.#socket.dump(writer.end().finish(), onMessage);
  }

  /** The same for messages that are read where they lie. */
  scan(type: number, header: (writer: MessageWriter) => void, visit: MessageVisitor): void {
    const writer = new MessageWriter(256).begin(type, FLAG.request | FLAG.dump, this.#socket.takeSequences(1));
    header(writer);
    this.#socket.scan(writer.end().finish(), visit);
  }

  /** One request whose answer is read where it lies, `flags` besides its own. What the kernel refuses has no answer. */
  ask(type: number, body: (writer: MessageWriter) => void, visit: MessageVisitor, flags = 0): void {
    const writer = new MessageWriter(256).begin(type, FLAG.request | FLAG.ack | flags, this.#socket.takeSequences(1));
    body(writer);
    this.#socket.ask(writer.end().finish(), visit);
  }

  /** Sends requests in order, in one system call for up to 64 KiB; one acknowledgement each, in order. */
  apply(requests: readonly RtnetlinkRequest[]): Acknowledgement[] {
    const results: Acknowledgement[] = [];
    for (let start = 0; start < requests.length; start += REQUESTS_PER_SEND) {
      const part = requests.slice(start, start + REQUESTS_PER_SEND);
      const first = this.#socket.takeSequences(part.length);
      const writer = new MessageWriter(Math.max(512, part.length * 256));
      for (const [index, request] of part.entries()) {
        writer.begin(request.type, FLAG.request | FLAG.ack | request.flags, first + index);
        request.body(writer);
        writer.end();
      }
      const bySequence = new Map(this.#socket.exchange(writer.finish(), part.length).map((ack) => [ack.sequence, ack]));
      for (let index = 0; index < part.length; index++) {
        results.push(
          bySequence.get(first + index) ?? { sequence: first + index, errno: EIO, detail: 'no acknowledgement' },
        );
      }
    }
    return results;
  }

  close(): void {
    this.#socket.close();
  }
}

const EIO = 5;
const REQUESTS_PER_SEND = 256;
