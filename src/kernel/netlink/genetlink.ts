// Generic netlink: finds a family by name, and sends its commands (include/uapi/linux/genetlink.h). Used for what the
// kernel offers under a name only, such as Wireguard.
import { NetlinkError } from '../../base/errors.js';
import type { NativeLibrary } from './library.js';
import { FLAG, MessageWriter, parseAttributes, type ReceivedMessage } from './message.js';
import { NETLINK, netlinkError, NetlinkSocket } from './socket.js';

/** struct genlmsghdr: command, version, reserved. */
export const GENERIC_HEADER_LENGTH = 4;
/** nlmsg_type of the family that knows all families, its version, and what is asked of it. */
export const CONTROLLER = { family: 0x10, version: 2, getFamily: 3 } as const;
const CONTROLLER_ATTRIBUTE = { familyId: 1, familyName: 2 } as const;
const ENOENT = 2;
const EIO = 5;

/** What follows the netlink header: the command of a family, and its attributes. */
export interface GenericRequest {
  readonly family: number;
  readonly command: number;
  readonly version: number;
  attributes(writer: MessageWriter): void;
}

/** Adds one whole request. */
export function writeGenericRequest(
  writer: MessageWriter,
  request: GenericRequest,
  flags: number,
  sequence: number,
): void {
  writer
    .begin(request.family, FLAG.request | flags, sequence)
    .u8(request.command)
    .u8(request.version)
    .u16(0);
  request.attributes(writer);
  writer.end();
}

/** Attributes of a received message, which follow its generic header. */
export function genericAttributes(message: ReceivedMessage): Buffer {
  return message.payload.subarray(GENERIC_HEADER_LENGTH);
}

/** Generic netlink over one socket. Every call is synchronous. */
export class GenericNetlink {
  readonly #socket: NetlinkSocket;
  readonly #families = new Map<string, number>();

  /** @throws NetlinkError when the kernel gives no such socket. */
  constructor(library: NativeLibrary) {
    this.#socket = new NetlinkSocket(library, NETLINK.generic);
  }

  /**
   * The number of a family, or null while the kernel has none of that name: its module may yet be loaded, so only
   * numbers are remembered.
   */
  family(name: string): number | null {
    const known = this.#families.get(name);
    if (known !== undefined) return known;
    let found: number | null = null;
    const request: GenericRequest = {
      family: CONTROLLER.family,
      command: CONTROLLER.getFamily,
      version: CONTROLLER.version,
      attributes: (writer) => void writer.attributeString(CONTROLLER_ATTRIBUTE.familyName, name),
    };
    try {
      this.#exchange(`generic netlink family ${name}`, request, (message) => {
        const id = parseAttributes(genericAttributes(message)).get(CONTROLLER_ATTRIBUTE.familyId);
        if (id !== undefined && id.length >= 2) found = id.readUInt16LE(0);
      });
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ENOENT) return null;
      throw error;
    }
    if (found !== null) this.#families.set(name, found);
    return found;
  }

  /** One request and its acknowledgement. @throws NetlinkError that begins with `what`. */
  execute(what: string, request: GenericRequest): void {
    this.#exchange(what, request, () => undefined);
  }

  /** Every message of a dump. @throws NetlinkError; EINTR when a change interrupted it. */
  dump(request: GenericRequest, onMessage: (message: ReceivedMessage) => void): void {
    const writer = new MessageWriter(256);
    writeGenericRequest(writer, request, FLAG.dump, this.#socket.takeSequences(1));
    try {
      this.#socket.dump(writer.finish(), onMessage);
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ENOENT) this.#forget(request.family);
      throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }

  #exchange(what: string, request: GenericRequest, onMessage: (message: ReceivedMessage) => void): void {
    const writer = new MessageWriter();
    const sequence = this.#socket.takeSequences(1);
    writeGenericRequest(writer, request, FLAG.ack, sequence);
    const [ack] = this.#socket.exchange(writer.finish(), 1, onMessage);
    const ended = ack ?? { sequence, errno: EIO, detail: 'no acknowledgement' };
    if (ended.errno === ENOENT) this.#forget(request.family);
    if (ended.errno !== 0) throw netlinkError(what, ended);
  }

  /** A module that is loaded again may get another number: asked for anew by the next call. */
  #forget(family: number): void {
    for (const [name, number] of this.#families) if (number === family) this.#families.delete(name);
  }
}
