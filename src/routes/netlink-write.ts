// Turns operations into rtnetlink requests. Pure: an operation and the interface indexes in, bytes out.
import { FLAG, type MessageWriter } from '../kernel/netlink/message.js';
import { parseCidr } from '../base/ip.js';
import { AF, addressBytes, afOf, macBytes, RTM, type RtnetlinkRequest } from '../kernel/netlink/rtnetlink.js';
import { RTA, RTAX_MTU, RTNH_F_ONLINK } from './netlink-read.js';
import type { KernelNextHop, KernelOperation, KernelRoute, KernelRule, NewLink } from './route-kernel.js';
import type { RouteType } from '../model/route.js';

/** A request, or why the operation cannot be one. */
export type EncodedOperation =
  | RtnetlinkRequest
  | { readonly problem: 'interface-missing' | 'invalid'; readonly message: string };

/** Interface name → index. */
export type InterfaceIndexes = (name: string) => number | null;

/** Operations of traffic control, which this encoder leaves to the tools. */
export type TrafficControlOperation = Extract<
  KernelOperation,
  { readonly op: 'replace-tbf' | 'delete-tbf' | 'add-ingress' | 'delete-ingress' | 'delete-filters' | 'add-redirect' }
>;
/** Operations that {@link encodeOperation} encodes. */
export type RtnetlinkOperation = Exclude<KernelOperation, TrafficControlOperation>;

class InvalidValue extends Error {}
class MissingInterface extends Error {}

/** Encodes one operation; bad values and unknown interfaces are problems, never exceptions. */
export function encodeOperation(operation: RtnetlinkOperation, indexes: InterfaceIndexes): EncodedOperation {
  try {
    return encode(operation, indexes);
  } catch (error) {
    if (error instanceof MissingInterface)
      return { problem: 'interface-missing', message: `Interface ${error.message} does not exist` };
    if (error instanceof InvalidValue) return { problem: 'invalid', message: error.message };
    throw error;
  }
}

function encode(operation: RtnetlinkOperation, indexes: InterfaceIndexes): EncodedOperation {
  const index = (name: string): number => {
    const found = indexes(name);
    if (found === null) throw new MissingInterface(name);
    return found;
  };
  switch (operation.op) {
    case 'replace-route':
    case 'delete-route':
      return encodeRoute(operation.op === 'delete-route', operation.family, operation.table, operation.route, index);
    case 'replace-neighbour':
    case 'delete-neighbour': {
      const { family, interfaceName, address, mac } = operation.neighbour;
      return encodeNeighbour(operation.op === 'delete-neighbour', afOf(family), index(interfaceName), address, mac, 0);
    }
    case 'replace-fdb':
    case 'delete-fdb': {
      const { interfaceName, mac, remote } = operation.entry;
      return encodeNeighbour(operation.op === 'delete-fdb', AF.bridge, index(interfaceName), remote, mac, NTF_SELF);
    }
    case 'add-rule':
      return encodeRule(RTM.newRule, FLAG.create | FLAG.exclusive, operation.rule);
    case 'delete-rule':
      return encodeRule(RTM.deleteRule, 0, operation.rule);
    case 'add-link':
      return encodeNewLink(operation.link, index);
    case 'delete-link': {
      const own = index(operation.name);
      return { type: RTM.deleteLink, flags: 0, body: (writer) => linkHeader(writer, own, 0, 0) };
    }
    case 'set-link-up': {
      const own = index(operation.name);
      return { type: RTM.newLink, flags: 0, body: (writer) => linkHeader(writer, own, IFF_UP, IFF_UP) };
    }
    case 'set-link-mtu': {
      const own = index(operation.name);
      return {
        type: RTM.newLink,
        flags: 0,
        body: (writer) => void linkHeader(writer, own, 0, 0).attributeU32(IFLA.mtu, operation.mtu),
      };
    }
    case 'set-link-mac': {
      const own = index(operation.name);
      const mac = requireMac(operation.mac);
      return {
        type: RTM.newLink,
        flags: 0,
        body: (writer) => void linkHeader(writer, own, 0, 0).attribute(IFLA.address, mac),
      };
    }
    case 'add-address':
    case 'delete-address': {
      const { family, interfaceName, address, length, scope } = operation.address;
      const own = index(interfaceName);
      const bytes = requireAddress(address);
      const isAdd = operation.op === 'add-address';
      return {
        type: isAdd ? RTM.newAddress : RTM.deleteAddress,
        flags: isAdd ? FLAG.create | FLAG.replace : 0,
        body: (writer) =>
          void writer
            .u8(afOf(family))
            .u8(length)
            .u8(0)
            .u8(scope)
            .u32(own)
            .attribute(IFA.local, bytes)
            .attribute(IFA.address, bytes),
      };
    }
  }
}

function requireAddress(text: string): Buffer {
  const bytes = addressBytes(text);
  if (bytes === null) throw new InvalidValue(`"${text}" is not an address`);
  return bytes;
}

function requireMac(text: string): Buffer {
  const bytes = macBytes(text);
  if (bytes === null) throw new InvalidValue(`"${text}" is not a MAC address`);
  return bytes;
}

const ROUTE_TYPES: Readonly<Record<RouteType, number>> = { unicast: 1, blackhole: 6, prohibit: 8, throw: 9 };
const SCOPE_NOWHERE = 255;
const TABLE_IN_ATTRIBUTE = 252;

function encodeRoute(
  isDelete: boolean,
  family: 4 | 6,
  table: number,
  route: KernelRoute,
  index: (name: string) => number,
): EncodedOperation {
  const cidr = parseCidr(route.dst);
  if (cidr === null || cidr.family !== family) throw new InvalidValue(`"${route.dst}" is not an IPv${family} prefix`);
  const dst = requireAddress(route.dst.slice(0, route.dst.indexOf('/')));
  const type = ROUTE_TYPES[route.type as RouteType];
  if (type === undefined && !isDelete) throw new InvalidValue(`Routes of type ${route.type} are not written`);
  const gateway = route.gateway === null || isDelete ? null : requireAddress(route.gateway);
  const source = route.src === null || isDelete ? null : requireAddress(route.src);
  const own = route.interfaceName === null ? null : index(route.interfaceName);
  const hops = isDelete ? [] : route.nextHops.map((hop) => encodeNextHop(hop, index));
  return {
    type: isDelete ? RTM.deleteRoute : RTM.newRoute,
    flags: isDelete ? 0 : FLAG.create | FLAG.replace,
    body: (writer) => {
      writer
        .u8(afOf(family))
        .u8(cidr.length)
        .u8(0)
        .u8(route.tos)
        .u8(table < 256 ? table : TABLE_IN_ATTRIBUTE);
      // Protocol, type and interface go along with a deletion too: what somebody else put in the place of ours is spared.
      writer
        .u8(route.protocol)
        .u8(isDelete ? SCOPE_NOWHERE : route.scope)
        .u8(type ?? 0)
        .u32(route.onlink && !isDelete && hops.length === 0 ? RTNH_F_ONLINK : 0);
      writer.attribute(RTA.dst, dst).attributeU32(RTA.table, table);
      if (route.priority !== 0) writer.attributeU32(RTA.priority, route.priority);
      if (own !== null) writer.attributeU32(RTA.outInterface, own);
      if (gateway !== null) writer.attribute(RTA.gateway, gateway);
      if (source !== null) writer.attribute(RTA.source, source);
      if (!isDelete && route.mtu !== 0)
        writer.nested(RTA.metrics, (metrics) => metrics.attributeU32(RTAX_MTU, route.mtu));
      if (hops.length > 0) writer.attribute(RTA.multipath, Buffer.concat(hops));
    },
  };
}

/** struct rtnexthop (length, flags, hops, ifindex) with the gateway as its only attribute. */
function encodeNextHop(hop: KernelNextHop, index: (name: string) => number): Buffer {
  if (hop.interfaceName === null) throw new InvalidValue('A hop of a multi-path route has no interface');
  const gateway = hop.gateway === null ? null : requireAddress(hop.gateway);
  const bytes = Buffer.alloc(gateway === null ? 8 : 12 + gateway.length);
  bytes.writeUInt16LE(bytes.length, 0);
  bytes.writeUInt8(hop.onlink ? RTNH_F_ONLINK : 0, 2);
  bytes.writeInt32LE(index(hop.interfaceName), 4);
  if (gateway !== null) {
    bytes.writeUInt16LE(4 + gateway.length, 8);
    bytes.writeUInt16LE(RTA.gateway, 10);
    gateway.copy(bytes, 12);
  }
  return bytes;
}

const NDA = { dst: 1, linkAddress: 2 } as const;
const NUD_PERMANENT = 0x80;
const NUD_NOARP = 0x40;
const NTF_SELF = 0x02;

function encodeNeighbour(
  isDelete: boolean,
  addressFamily: number,
  ifindex: number,
  address: string,
  mac: string,
  flags: number,
): EncodedOperation {
  const dst = requireAddress(address);
  const linkAddress = requireMac(mac);
  // iproute2 marks FDB entries this way too; the bridge code looks at both bits.
  const state = addressFamily === AF.bridge ? NUD_PERMANENT | NUD_NOARP : NUD_PERMANENT;
  return {
    type: isDelete ? RTM.deleteNeighbour : RTM.newNeighbour,
    flags: isDelete ? 0 : FLAG.create | FLAG.replace,
    body: (writer) => {
      writer
        .u8(addressFamily)
        .u8(0)
        .u16(0)
        .i32(ifindex)
        .u16(isDelete ? 0 : state)
        .u8(flags)
        .u8(0);
      writer.attribute(NDA.dst, dst);
      if (!isDelete || addressFamily === AF.bridge) writer.attribute(NDA.linkAddress, linkAddress);
    },
  };
}

const FRA = { source: 2, priority: 6, mark: 10, table: 15, mask: 16 } as const;
const FIB_RULE_INVERT = 2;
const FR_ACT_TO_TBL = 1;

function encodeRule(type: number, flags: number, rule: KernelRule): EncodedOperation {
  const source = rule.source === null ? null : parseCidr(rule.source);
  if (rule.source !== null && source === null) throw new InvalidValue(`"${rule.source}" is not a prefix`);
  const sourceBytes = rule.source === null ? null : requireAddress(rule.source.slice(0, rule.source.indexOf('/')));
  return {
    type,
    flags,
    body: (writer) => {
      writer
        .u8(afOf(rule.family))
        .u8(0)
        .u8(source?.length ?? 0)
        .u8(0);
      writer
        .u8(rule.table < 256 ? rule.table : 0)
        .u8(0)
        .u8(0)
        .u8(FR_ACT_TO_TBL)
        .u32(rule.invert ? FIB_RULE_INVERT : 0);
      writer.attributeU32(FRA.priority, rule.priority).attributeU32(FRA.table, rule.table);
      if (rule.mask !== 0) writer.attributeU32(FRA.mark, rule.mark).attributeU32(FRA.mask, rule.mask);
      if (sourceBytes !== null) writer.attribute(FRA.source, sourceBytes);
    },
  };
}

const IFF_UP = 1;
const IFLA = { address: 1, name: 3, mtu: 4, linkInfo: 18 } as const;
const LINK_INFO = { kind: 1, data: 2 } as const;
const VXLAN = { id: 1, link: 3, local: 4, learning: 7, port: 15, local6: 17 } as const;
const IFA = { address: 1, local: 2 } as const;

function linkHeader(writer: MessageWriter, ifindex: number, flags: number, change: number): MessageWriter {
  return writer.u8(AF.unspec).u8(0).u16(0).i32(ifindex).u32(flags).u32(change);
}

function encodeNewLink(link: NewLink, index: (name: string) => number): EncodedOperation {
  const parent = link.kind === 'vxlan' ? index(link.parent) : 0;
  const mac = link.kind === 'vxlan' ? requireMac(link.mac) : null;
  const local = link.kind === 'vxlan' ? requireAddress(link.local) : null;
  return {
    type: RTM.newLink,
    flags: FLAG.create | FLAG.exclusive,
    body: (writer) => {
      linkHeader(writer, 0, 0, 0).attributeString(IFLA.name, link.name).attributeU32(IFLA.mtu, link.mtu);
      if (mac !== null) writer.attribute(IFLA.address, mac);
      writer.nested(IFLA.linkInfo, (info) => {
        info.attributeString(LINK_INFO.kind, link.kind);
        if (link.kind !== 'vxlan' || local === null) return;
        info.nested(LINK_INFO.data, (data) =>
          data
            .attributeU32(VXLAN.id, link.vni)
            .attributeU32(VXLAN.link, parent)
            .attribute(local.length === 4 ? VXLAN.local : VXLAN.local6, local)
            .attributeU8(VXLAN.learning, 0)
            .attributeU16Be(VXLAN.port, link.port),
        );
      });
    },
  };
}
