// A raw socket on one interface for frames of one EtherType (packet(7)). Where netlink ends and frames begin: the
// proxy for neighbours and the watch for announcements live on these.
import { NetlinkError } from '../../base/errors.js';
import { errnoName } from './errno.js';
import type { NativeLibrary } from './library.js';
import { macBytes, macText } from './rtnetlink.js';

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_DROP_MEMBERSHIP = 2;
const PACKET_MR_MULTICAST = 0;
/** struct sockaddr_ll: family, protocol, index, hardware type, packet type, address length, address. */
const SOCKADDR_LL = { bytes: 20, protocol: 2, index: 4, addressLength: 11, address: 12 } as const;
const MAC_BYTES = 6;
const MSG_PEEK = 0x02;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
const EINTR = 4;
const ENODEV = 19;
const ENOBUFS = 105;
/** All that is looked at is in the first bytes; longer frames are cut. */
const FRAME_BYTES = 2048;
/** A flood of frames must not hold up everything else: the rest comes with the next turn of the event loop. */
const FRAMES_PER_TURN = 64;

/** What a socket is opened with. */
export interface PacketSocketOptions {
  readonly interfaceName: string;
  readonly etherType: number;
  /** Classic BPF that says which frames are wanted, in force before the first arrives; null = all. */
  readonly filter: Buffer | null;
  /** At most the first 2,048 bytes; valid during the call only. */
  readonly onFrame: (frame: Buffer) => void;
  /** The socket is of no use any more, because the interface went down or away; called once. */
  readonly onError: (reason: string) => void;
}

/** An open socket. Frames that this machine sends are not delivered. */
export class PacketSocket {
  readonly #library: NativeLibrary;
  readonly #options: PacketSocketOptions;
  readonly #fd: number;
  readonly #ifindex: number;
  readonly #buffer = Buffer.alloc(FRAME_BYTES);
  readonly #memberships = new Set<string>();
  #poll: { stop(): void } | null = null;
  #mac = '';
  #state: 'open' | 'failed' | 'closed' = 'open';

  /** @throws NetlinkError when there is no such interface, when it is down, or without CAP_NET_RAW. */
  constructor(library: NativeLibrary, options: PacketSocketOptions) {
    this.#library = library;
    this.#options = options;
    this.#ifindex = library.ifNameToIndex(options.interfaceName);
    if (this.#ifindex === 0) {
      throw new NetlinkError(`Interface ${options.interfaceName} does not exist`, ENODEV, 'ENODEV');
    }
    // With protocol 0 nothing arrives before the filter and the interface are set.
    this.#fd = library.socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0);
    if (this.#fd < 0) throw this.#systemError('socket(AF_PACKET)', library.errno());
    try {
      this.#bind();
    } catch (error) {
      library.close(this.#fd);
      throw error;
    }
    this.#poll = library.poll(this.#fd, () => this.#onReadable());
  }

  /** The interface's address as it is now, `02:00:00:00:00:01`; the last one known once the interface is gone. */
  get mac(): string {
    if (this.#state !== 'open') return this.#mac;
    const address = Buffer.alloc(SOCKADDR_LL.bytes);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(address.length);
    if (this.#library.getsockname(this.#fd, address, length) < 0) return this.#mac;
    if (address.readUInt8(SOCKADDR_LL.addressLength) !== MAC_BYTES) return this.#mac;
    this.#mac = macText(address.subarray(SOCKADDR_LL.address, SOCKADDR_LL.address + MAC_BYTES));
    return this.#mac;
  }

  /** Sends a whole Ethernet frame. One that finds the queue full is lost, as on the wire. */
  send(frame: Buffer): void {
    if (this.#state !== 'open') return;
    if (this.#library.send(this.#fd, frame, frame.length, MSG_DONTWAIT) >= 0) return;
    const errno = this.#library.errno();
    if (errno === EAGAIN || errno === ENOBUFS || errno === EINTR) return;
    this.#fail(this.#systemError('send', errno).message);
  }

  /** Ethernet multicast groups to hear. Groups of before that are not among them are left. */
  setMulticast(macs: ReadonlySet<string>): void {
    for (const mac of [...this.#memberships]) if (!macs.has(mac)) this.#changeMembership(PACKET_DROP_MEMBERSHIP, mac);
    for (const mac of macs) if (!this.#memberships.has(mac)) this.#changeMembership(PACKET_ADD_MEMBERSHIP, mac);
  }

  /** Nothing is called afterwards. Idempotent. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#poll?.stop();
    this.#library.close(this.#fd);
  }

  #bind(): void {
    const { filter, etherType } = this.#options;
    if (filter !== null && this.#library.attachFilter(this.#fd, filter) < 0) {
      throw this.#systemError('setsockopt(SO_ATTACH_FILTER)', this.#library.errno());
    }
    const address = Buffer.alloc(SOCKADDR_LL.bytes);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(etherType, SOCKADDR_LL.protocol);
    address.writeInt32LE(this.#ifindex, SOCKADDR_LL.index);
    if (this.#library.bind(this.#fd, address, address.length) < 0) {
      throw this.#systemError('bind(AF_PACKET)', this.#library.errno());
    }
    // An interface that is down lets itself be bound, and says so at the first use only.
    const waiting = this.#library.recv(this.#fd, this.#buffer, 1, MSG_DONTWAIT | MSG_PEEK);
    const errno = waiting < 0 ? this.#library.errno() : 0;
    if (errno !== 0 && errno !== EAGAIN) throw this.#systemError('bind(AF_PACKET)', errno);
  }

  #onReadable(): void {
    for (let count = 0; count < FRAMES_PER_TURN && this.#state === 'open'; count++) {
      const length = this.#library.recv(this.#fd, this.#buffer, FRAME_BYTES, MSG_DONTWAIT);
      if (length < 0) {
        const errno = this.#library.errno();
        if (errno !== EAGAIN && errno !== EINTR) this.#fail(this.#systemError('recv', errno).message);
        return;
      }
      this.#options.onFrame(this.#buffer.subarray(0, length));
    }
  }

  #changeMembership(option: number, mac: string): void {
    const bytes = macBytes(mac);
    if (this.#state !== 'open' || bytes === null) return;
    // struct packet_mreq: index, type, address length, address.
    const request = Buffer.alloc(16);
    request.writeInt32LE(this.#ifindex, 0);
    request.writeUInt16LE(PACKET_MR_MULTICAST, 4);
    request.writeUInt16LE(MAC_BYTES, 6);
    bytes.copy(request, 8);
    if (this.#library.setsockopt(this.#fd, SOL_PACKET, option, request, request.length) < 0) {
      this.#fail(this.#systemError(`multicast group ${mac}`, this.#library.errno()).message);
      return;
    }
    if (option === PACKET_ADD_MEMBERSHIP) this.#memberships.add(mac);
    else this.#memberships.delete(mac);
  }

  #fail(reason: string): void {
    if (this.#state !== 'open') return;
    this.#state = 'failed';
    this.#poll?.stop();
    this.#options.onError(reason);
  }

  #systemError(what: string, errno: number): NetlinkError {
    const code = errnoName(errno);
    return new NetlinkError(`${what} on interface ${this.#options.interfaceName} failed with ${code}`, errno, code);
  }
}
