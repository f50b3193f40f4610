// News of links and local addresses straight from the kernel's multicast groups: no child process, and the kernel
// itself says when news were lost.
import type { NativeLibrary } from '../kernel/netlink/library.js';
import { attributeText, parseAttributes, type ReceivedMessage } from '../kernel/netlink/message.js';
import { addressText, GROUP, RTM } from '../kernel/netlink/rtnetlink.js';
import { NETLINK, NetlinkSocket } from '../kernel/netlink/socket.js';
import { LOCAL_TABLE } from './link-kernel.js';
import type { LinkEvent, LinkEventSource } from './link-events.js';

const IFF_RUNNING = 0x40;
const IFLA_NAME = 3;
const RTA = { dst: 1, outInterface: 4, table: 15 } as const;
const ROUTE_TYPE_LOCAL = 2;
const AF_BRIDGE = 7;

/** News by rtnetlink. Begins with `lost`, so that whoever listens lists everything once it is subscribed. */
export class NetlinkEventSource implements LinkEventSource {
  readonly #socket: NetlinkSocket;

  constructor(library: NativeLibrary) {
    this.#socket = new NetlinkSocket(library, NETLINK.route, {
      groups: [GROUP.link, GROUP.ipv4Route, GROUP.ipv6Route],
    });
  }

  start(onEvent: (event: LinkEvent) => void): void {
    this.#socket.watch(
      (message) => {
        const event = this.#read(message);
        if (event !== null) onEvent(event);
      },
      () => onEvent({ kind: 'lost' }),
    );
    onEvent({ kind: 'lost' });
  }

  stop(): void {
    this.#socket.close();
  }

  #read({ type, payload }: ReceivedMessage): LinkEvent | null {
    switch (type) {
      case RTM.newLink:
      case RTM.deleteLink:
        return this.#readLink(payload, type === RTM.deleteLink);
      case RTM.newRoute:
      case RTM.deleteRoute:
        return this.#readAddress(payload, type === RTM.deleteRoute);
      default:
        return null;
    }
  }

  #readLink(payload: Buffer, isGone: boolean): LinkEvent | null {
    // A bridge tells of its ports in the same group; those are no news of the link itself.
    if (payload.readUInt8(0) === AF_BRIDGE) return null;
    const ifindex = payload.readInt32LE(4);
    const name = attributeText(parseAttributes(payload.subarray(16)).get(IFLA_NAME));
    if (name === '') return null;
    if (isGone) return { kind: 'link-gone', ifindex, name };
    return { kind: 'link', ifindex, name, isRunning: (payload.readUInt32LE(8) & IFF_RUNNING) !== 0 };
  }

  /** A route of type local in the local table is an address of the node. */
  #readAddress(payload: Buffer, isGone: boolean): LinkEvent | null {
    if (payload.readUInt8(7) !== ROUTE_TYPE_LOCAL) return null;
    const attributes = parseAttributes(payload.subarray(12));
    const table = attributes.get(RTA.table)?.readUInt32LE(0) ?? payload.readUInt8(4);
    const dst = attributes.get(RTA.dst);
    const ifindex = attributes.get(RTA.outInterface)?.readUInt32LE(0);
    if (table !== LOCAL_TABLE || dst === undefined || ifindex === undefined) return null;
    return { kind: 'address', ifindex, dst: `${addressText(dst)}/${payload.readUInt8(1)}`, isGone };
  }
}
