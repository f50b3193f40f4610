// A netlink socket that answers requests synchronously: the kernel has queued its replies when send() returns, so a
// request costs microseconds and no waiting. Dumps are read to their end.
import { NetlinkError } from '../../base/errors.js';
import { errnoName } from './errno.js';
import type { NativeLibrary } from './library.js';
import {
  attributeText,
  CONTROL,
  FLAG,
  HEADER_LENGTH,
  parseAttributes,
  parseMessages,
  type ReceivedMessage,
} from './message.js';
import { createReceivedBytes, type MessageVisitor, type ReceivedBytes, scanMessages } from './scan.js';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
/** Attribute of an extended acknowledgement that holds the kernel's own words. */
const NLMSGERR_ATTR_MSG = 1;
/** With capped acks, the error code and the offending header come before the attributes. */
const ERROR_PREFIX_LENGTH = 20;

/** Netlink protocol numbers. */
export const NETLINK = { route: 0, netfilter: 12, generic: 16 } as const;

const BUFFER_BYTES = 8 * 1024 * 1024;
const RECEIVE_BYTES = 1024 * 1024;

/** An acknowledgement: which request (by sequence), and how it ended. `errno` 0 = done. */
export interface Acknowledgement {
  readonly sequence: number;
  readonly errno: number;
  /** The kernel's explanation, if it gave one. */
  readonly detail: string;
}

/** The error of a failed request. */
export function netlinkError(what: string, ack: Acknowledgement): NetlinkError {
  const code = errnoName(ack.errno);
  const detail = ack.detail === '' ? '' : `: ${ack.detail}`;
  return new NetlinkError(`${what} failed with ${code}${detail}`, ack.errno, code);
}

/**
 * Throws what the kernel refused; also when it did not answer at all, which must not pass for success.
 * @throws NetlinkError
 */
export function throwFailure(what: string, acks: readonly Acknowledgement[]): void {
  const failed = acks.find((ack) => ack.errno !== 0);
  if (failed !== undefined) throw netlinkError(what, failed);
  if (acks.length === 0) throw netlinkError(what, { sequence: 0, errno: EIO, detail: 'no acknowledgement' });
}

/** Raised when a dump changed while it was read, or the receive buffer overflowed: read again. */
export const RETRY_ERRNOS = { interrupted: 4, overrun: 105 } as const;

const EAGAIN = 11;
const EIO = 5;

/** When to hand the event loop back; see `base/time-slices.ts`. */
export interface Slices {
  isOver(): boolean;
  pause(): Promise<void>;
}

/** One open socket. Not shared between users: replies belong to the request that was sent last. */
export class NetlinkSocket {
  readonly #library: NativeLibrary;
  readonly #fd: number;
  readonly #received = createReceivedBytes(RECEIVE_BYTES);
  #sequence = 1;
  #poll: { stop(): void } | null = null;
  #closed = false;
  /** Nothing can wait to be read: all that the last request can be answered with was read. */
  #isDrained = false;

  /** @throws NetlinkError when the kernel gives no such socket. */
  constructor(
    library: NativeLibrary,
    protocol: number,
    options: { readonly groups?: readonly number[]; readonly strictDumps?: boolean } = {},
  ) {
    this.#library = library;
    this.#fd = library.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
    if (this.#fd < 0) throw this.#systemError('socket(AF_NETLINK)');
    this.#setOption(SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES);
    this.#setOption(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES);
    this.#setOption(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    this.#setOption(SOL_NETLINK, NETLINK_EXT_ACK, 1);
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    if (library.bind(this.#fd, address, address.length) < 0) throw this.#systemError('bind(AF_NETLINK)');
    // The kernel then filters dumps by what the request says, instead of sending everything.
    if (options.strictDumps === true) this.#setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    for (const group of options.groups ?? []) this.#setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  /** The next `count` sequence numbers; returns the first. */
  takeSequences(count: number): number {
    const first = this.#sequence;
    this.#sequence = (this.#sequence + count) >>> 0 || 1;
    return first;
  }

  /**
   * Sends messages and collects what the kernel answers until `expectedAcks` acknowledgements are there.
   * @throws NetlinkError when the socket itself fails; failed requests are in the acknowledgements.
   */
  exchange(
    data: Buffer | readonly Buffer[],
    expectedAcks: number,
    onMessage: (message: ReceivedMessage) => void = () => undefined,
  ): Acknowledgement[] {
    this.#send(data);
    return this.#collect(expectedAcks, onMessage);
  }

  /** The same for data so large that the kernel's work would hold up everything else: it is sent in a thread. */
  async exchangeInThread(data: Buffer | readonly Buffer[], expectedAcks: number): Promise<Acknowledgement[]> {
    this.#drain();
    const length = lengthOf(data);
    if (length > BUFFER_BYTES) this.#setOption(SOL_SOCKET, SO_SNDBUFFORCE, length);
    const sent = await (Buffer.isBuffer(data)
      ? this.#library.sendInThread(this.#fd, data, length, 0)
      : this.#library.writePiecesInThread(this.#fd, data));
    if (sent !== length) throw new NetlinkError(`send of ${length} netlink bytes failed`, EIO, 'EIO');
    return this.#collect(expectedAcks, () => undefined);
  }

  #collect(expectedAcks: number, onMessage: (message: ReceivedMessage) => void): Acknowledgement[] {
    const acks: Acknowledgement[] = [];
    while (acks.length < expectedAcks) {
      const datagram = this.#receiveView();
      if (datagram === null) break;
      for (const message of parseMessages(datagram)) {
        if (message.type === CONTROL.error) acks.push(parseAck(message));
        else if (message.type !== CONTROL.noop) onMessage(message);
      }
    }
    // Of a batch that is refused, more than what was asked for may be answered.
    this.#isDrained = acks.length === expectedAcks && acks.every(({ errno }) => errno === 0);
    return acks;
  }

  /**
   * Sends one dump request and hands over every message of the answer.
   * @throws NetlinkError; EINTR when the dump was interrupted by a change and has to be read again.
   */
  dump(request: Buffer, onMessage: (message: ReceivedMessage) => void): void {
    this.scan(request, messageReader(onMessage));
  }

  /** The same for messages that are read where they lie. */
  scan(request: Buffer, visit: MessageVisitor): void {
    this.#send(request);
    const part = new DumpPart(this.#received, visit);
    while (!part.take(this.#receive()));
    this.#isDrained = true;
  }

  /** Sends one request and hands over what the kernel answers before it acknowledges, or refuses, the request. */
  ask(request: Buffer, visit: MessageVisitor): void {
    this.#send(request);
    for (let isAnswered = false; !isAnswered; ) {
      const length = this.#receive();
      if (length === null) return;
      isAnswered = scanMessages(this.#received, length, (type, _flags, start, end) => {
        if (type === CONTROL.error) return true;
        if (type !== CONTROL.noop) visit(this.#received, start, end);
        return false;
      });
    }
    this.#isDrained = true;
  }

  /**
   * Sends a request that wants no acknowledgement and hands over its answer, which is one message.
   * @throws NetlinkError about `what` when the kernel refuses it, or does not answer.
   */
  askOne(what: string, request: Buffer, visit: MessageVisitor): void {
    this.#send(request);
    const length = this.#receive();
    this.#isDrained = length !== null;
    const isAnswered = scanMessages(this.#received, length ?? 0, (type, _flags, start, end) => {
      if (type === CONTROL.error) {
        throw netlinkError(what, { sequence: 0, errno: errnoAt(this.#received, start, end), detail: '' });
      }
      visit(this.#received, start, end);
      return true;
    });
    if (!isAnswered) throw netlinkError(what, { sequence: 0, errno: EIO, detail: 'no answer' });
  }

  /**
   * {@link dump} for one that may be long: after each `sliceMs` of work it awaits `pause`. Nothing else may be asked of
   * this socket meanwhile.
   */
  dumpInSlices(
    request: Buffer,
    onMessage: (message: ReceivedMessage) => void,
    sliceMs: number,
    pause: () => Promise<unknown>,
  ): Promise<void> {
    let startMs = performance.now();
    const slices = {
      isOver: (): boolean => performance.now() - startMs >= sliceMs,
      pause: async (): Promise<void> => {
        await pause();
        startMs = performance.now();
      },
    };
    return this.scanInSlices(request, messageReader(onMessage), slices);
  }

  /** {@link scan} that pauses whenever a slice is over. Nothing else may be asked of this socket meanwhile. */
  async scanInSlices(request: Buffer, visit: MessageVisitor, slices: Slices): Promise<void> {
    this.#send(request);
    const part = new DumpPart(this.#received, visit);
    while (!part.take(this.#receive())) {
      if (slices.isOver()) await slices.pause();
    }
    this.#isDrained = true;
  }

  /**
   * Calls back for every message of the multicast groups. `onLost` says that messages were lost (ENOBUFS): read
   * everything again.
   */
  watch(onMessage: (message: ReceivedMessage) => void, onLost: () => void): void {
    this.#poll = this.#library.poll(this.#fd, () => {
      for (;;) {
        let datagram: Buffer | null;
        try {
          datagram = this.#receiveView();
        } catch (error) {
          // libuv stops watching a descriptor once it reports an error, and an overrun is one.
          this.#poll?.stop();
          this.#poll = null;
          if (error instanceof NetlinkError && error.errno === RETRY_ERRNOS.overrun) this.watch(onMessage, onLost);
          onLost();
          return;
        }
        if (datagram === null) return;
        for (const message of parseMessages(datagram)) onMessage(message);
      }
    });
  }

  /** Closes the socket; further use is a bug. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll?.stop();
    this.#library.close(this.#fd);
  }

  #send(data: Buffer | readonly Buffer[]): void {
    this.#drain();
    const length = lengthOf(data);
    const sent = Buffer.isBuffer(data)
      ? this.#library.send(this.#fd, data, length, 0)
      : this.#library.writePieces(this.#fd, data);
    if (sent !== length) throw this.#systemError(`send of ${length} netlink bytes`);
  }

  /** Replies of an earlier exchange that was given up must not be taken for those of the next. */
  #drain(): void {
    while (!this.#isDrained && this.#receive() !== null);
    this.#isDrained = false;
  }

  /** Length of the datagram that is now in the buffer, or null when nothing waits. */
  #receive(): number | null {
    const { bytes } = this.#received;
    const length = this.#library.recv(this.#fd, bytes, RECEIVE_BYTES, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0) {
      if (this.#library.errno() === EAGAIN) return null;
      throw this.#systemError('recv of netlink');
    }
    if (length > RECEIVE_BYTES) {
      throw new NetlinkError(
        `Netlink datagram of ${length} bytes is larger than the buffer`,
        RETRY_ERRNOS.overrun,
        'ENOBUFS',
      );
    }
    return length;
  }

  #receiveView(): Buffer | null {
    const length = this.#receive();
    return length === null ? null : this.#received.bytes.subarray(0, length);
  }

  #setOption(level: number, option: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    if (this.#library.setsockopt(this.#fd, level, option, bytes, 4) < 0 && level !== SOL_SOCKET) {
      throw this.#systemError(`setsockopt(${level}, ${option})`);
    }
  }

  #systemError(what: string): NetlinkError {
    const errno = this.#library.errno();
    return new NetlinkError(`${what} failed with ${errnoName(errno)}`, errno, errnoName(errno));
  }
}

/** Bytes of one piece or of many. */
export function lengthOf(data: Buffer | readonly Buffer[]): number {
  return Buffer.isBuffer(data) ? data.length : data.reduce((sum, piece) => sum + piece.length, 0);
}

/** A visitor that makes a message of what it is told of, without its header's numbers but the type. */
function messageReader(onMessage: (message: ReceivedMessage) => void): MessageVisitor {
  return ({ bytes, words }, start, end) => {
    const header = (start - HEADER_LENGTH) >>> 2;
    const typeAndFlags = words[header + 1] ?? 0;
    onMessage({
      type: typeAndFlags & 0xffff,
      flags: typeAndFlags >>> 16,
      sequence: (words[header + 2] ?? 0) >>> 0,
      payload: bytes.subarray(start, end),
    });
  };
}

/** Takes the datagrams of one dump, in order. */
class DumpPart {
  readonly #received: ReceivedBytes;
  readonly #visit: MessageVisitor;
  #isInterrupted = false;

  constructor(received: ReceivedBytes, visit: MessageVisitor) {
    this.#received = received;
    this.#visit = visit;
  }

  /** Hands over the messages of the datagram of this length; true at the end mark. @throws NetlinkError */
  take(length: number | null): boolean {
    if (length === null) throw interrupted('Netlink dump ended without its end mark');
    return scanMessages(this.#received, length, this.#take);
  }

  readonly #take = (type: number, flags: number, start: number, end: number): boolean => {
    if ((flags & FLAG.dumpInterrupted) !== 0) this.#isInterrupted = true;
    if (type !== CONTROL.done && type !== CONTROL.error) {
      this.#visit(this.#received, start, end);
      return false;
    }
    const errno = errnoAt(this.#received, start, end);
    if (errno !== 0) throw netlinkError('Netlink dump', { sequence: 0, errno, detail: '' });
    if (this.#isInterrupted) throw interrupted('Netlink dump was interrupted by a change');
    return true;
  };
}

/** What the payload of a message of type error or done begins with. */
function errnoAt({ words }: ReceivedBytes, start: number, end: number): number {
  return end - start >= 4 ? -(words[start >>> 2] ?? 0) : EIO;
}

/** The error of a listing during which something was changed: read again. */
export function interrupted(message: string): NetlinkError {
  return new NetlinkError(message, RETRY_ERRNOS.interrupted, 'EINTR');
}

function parseAck(message: ReceivedMessage): Acknowledgement {
  const attributes =
    message.payload.length > ERROR_PREFIX_LENGTH
      ? parseAttributes(message.payload.subarray(ERROR_PREFIX_LENGTH))
      : null;
  return {
    sequence: message.sequence,
    errno: -message.payload.readInt32LE(0),
    detail: attributeText(attributes?.get(NLMSGERR_ATTR_MSG)),
  };
}
