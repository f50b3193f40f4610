// Raw Ethernet sockets over the native library: one descriptor for each EtherType, so that the kernel hands over
// nothing else, and hears nothing of what leaves the interface.
import type { NativeLibrary } from '../kernel/netlink/library.js';
import { PacketSocket } from '../kernel/netlink/packet-socket.js';
import { ETHERTYPE, type FrameSocket, type FrameSocketOptions, type OpenFrameSocket } from './frame-socket.js';

/** Opens sockets in the network namespace of the process. */
export function createFrameSocketOpener(library: NativeLibrary): OpenFrameSocket {
  return (options) => openFrameSocket(library, options);
}

function openFrameSocket(library: NativeLibrary, options: FrameSocketOptions): FrameSocket {
  const { interfaceName, etherTypes, onFrame, onError, icmpv6Types } = options;
  const sockets: PacketSocket[] = [];
  let isLost = false;
  const close = (): void => {
    for (const socket of sockets) socket.close();
  };
  const lose = (reason: string): void => {
    if (isLost) return;
    isLost = true;
    onError(reason);
  };
  try {
    for (const etherType of etherTypes) {
      const filter = etherType === ETHERTYPE.ipv6 && icmpv6Types !== undefined ? icmpv6Filter(icmpv6Types) : null;
      sockets.push(new PacketSocket(library, { interfaceName, etherType, filter, onFrame, onError: lose }));
    }
  } catch (error) {
    close();
    throw error;
  }
  const [first] = sockets;
  if (first === undefined) throw new Error(`No EtherType to hear on interface ${interfaceName}`);
  return {
    get mac(): string {
      return first.mac;
    },
    send: (frame) => first.send(frame),
    setMulticast: (macs) => first.setMulticast(macs),
    close,
  };
}

/** Byte offsets in an Ethernet frame with IPv6: the next header, and the type of an ICMPv6 message after it. */
const IPV6_NEXT_HEADER = 20;
const ICMPV6_TYPE = 54;
const ICMPV6 = 58;
/** Codes of classic BPF (linux/filter.h). */
const BPF = { loadByte: 0x30, jumpEqual: 0x15, return: 0x06 } as const;
const WHOLE_FRAME = 0xffff;

/** Classic BPF: ICMPv6 right after the IPv6 header, of one of these types. */
function icmpv6Filter(types: readonly number[]): Buffer {
  const count = types.length;
  return Buffer.concat([
    instruction(BPF.loadByte, 0, 0, IPV6_NEXT_HEADER),
    instruction(BPF.jumpEqual, 0, count + 1, ICMPV6),
    instruction(BPF.loadByte, 0, 0, ICMPV6_TYPE),
    ...types.map((type, index) => instruction(BPF.jumpEqual, count - index, 0, type)),
    instruction(BPF.return, 0, 0, 0),
    instruction(BPF.return, 0, 0, WHOLE_FRAME),
  ]);
}

/** struct sock_filter: code, jumps if true and if false, operand. */
function instruction(code: number, ifTrue: number, ifFalse: number, operand: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(operand, 4);
  return bytes;
}
