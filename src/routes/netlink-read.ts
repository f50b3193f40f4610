// Reads rtnetlink's binary messages into the types of `route-kernel`. Pure; messages without what they must have are
// left out.
import type { Family } from '../model/family.js';
import { ATTRIBUTE_HEADER_LENGTH, parseAttributes } from '../kernel/netlink/message.js';
import { AF, addressText, addressTextAt, macText } from '../kernel/netlink/rtnetlink.js';
import { attributeEnd, attributeType, findAttribute, type ReceivedBytes } from '../kernel/netlink/scan.js';
import type {
  KernelAddress,
  KernelFdbEntry,
  KernelNeighbour,
  KernelNextHop,
  KernelRoute,
  KernelRouteType,
  KernelRule,
} from './route-kernel.js';

/** Interface index → name. */
export type InterfaceNames = (ifindex: number) => string | null;

const IFA = { address: 1, local: 2 } as const;

/** An RTM_NEWADDR payload. */
export function readNetlinkAddress(payload: Buffer, names: InterfaceNames): KernelAddress | null {
  const attributes = parseAttributes(payload.subarray(8));
  const bytes = attributes.get(IFA.local) ?? attributes.get(IFA.address);
  const interfaceName = names(payload.readUInt32LE(4));
  if (bytes === undefined || interfaceName === null) return null;
  return {
    interfaceName,
    family: payload.readUInt8(0) === AF.inet6 ? 6 : 4,
    address: addressText(bytes),
    length: payload.readUInt8(1),
    scope: payload.readUInt8(3),
  };
}

/** Attributes of a route, RTA_… of linux/rtnetlink.h. */
export const RTA = {
  dst: 1,
  outInterface: 4,
  gateway: 5,
  priority: 6,
  source: 7,
  metrics: 8,
  multipath: 9,
  table: 15,
  via: 18,
} as const;
/** The MTU among the metrics of a route. */
export const RTAX_MTU = 2;
/** Flag of a hop whose gateway need not be on the link's networks. */
export const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;
const ROUTE_TYPES: Readonly<Record<number, KernelRouteType>> = {
  1: 'unicast',
  2: 'local',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
  9: 'throw',
};

/** struct rtmsg. */
const ROUTE_HEADER_LENGTH = 12;

/** An RTM_NEWROUTE message, read where it lies; null for a route of another table and for cache entries. */
export function readNetlinkRoute(
  received: ReceivedBytes,
  start: number,
  end: number,
  wantedTable: number,
  names: InterfaceNames,
): KernelRoute | null {
  const { bytes, words } = received;
  const flags = words[(start >>> 2) + 2] ?? 0;
  if ((flags & RTM_F_CLONED) !== 0) return null;
  const isV6 = bytes[start] === AF.inet6;
  let table = bytes[start + 4] ?? 0;
  let dst = isV6 ? '::' : '0.0.0.0';
  let priority = 0;
  let outInterface = 0;
  let mtu = 0;
  let src: string | null = null;
  let gateway: string | null = null;
  let nextHops: readonly KernelNextHop[] = [];
  for (let at = start + ROUTE_HEADER_LENGTH, next = attributeEnd(words, at, end); next > at; ) {
    const from = at + ATTRIBUTE_HEADER_LENGTH;
    const word = words[from >>> 2] ?? 0;
    switch (attributeType(words, at)) {
      case RTA.dst:
        dst = addressTextAt(received, from, next);
        break;
      case RTA.outInterface:
        outInterface = word;
        break;
      case RTA.gateway:
        gateway = addressTextAt(received, from, next);
        break;
      case RTA.via:
        // Address family, then the address.
        gateway ??= addressText(bytes.subarray(from + 2, next));
        break;
      case RTA.priority:
        priority = word >>> 0;
        break;
      case RTA.source:
        src = addressTextAt(received, from, next);
        break;
      case RTA.metrics: {
        const metric = findAttribute(words, from, next, RTAX_MTU);
        mtu = metric < 0 ? 0 : (words[metric >>> 2] ?? 0) >>> 0;
        break;
      }
      case RTA.multipath:
        nextHops = readNextHops(bytes.subarray(from, next), names);
        break;
      case RTA.table:
        table = word >>> 0;
    }
    at = (next + 3) & ~3;
    next = attributeEnd(words, at, end);
  }
  if (table !== wantedTable) return null;
  const type = ROUTE_TYPES[bytes[start + 7] ?? 0] ?? 'other';
  const hasInterface = type === 'unicast' || type === 'local' || type === 'other';
  return {
    dst: `${dst}/${bytes[start + 1]}`,
    tos: bytes[start + 3] ?? 0,
    priority,
    type,
    scope: isV6 ? 0 : (bytes[start + 6] ?? 0),
    protocol: bytes[start + 5] ?? 0,
    gateway,
    src,
    onlink: (flags & RTNH_F_ONLINK) !== 0 || nextHops.some((hop) => hop.onlink),
    mtu,
    interfaceName: hasInterface && outInterface !== 0 && nextHops.length === 0 ? names(outInterface) : null,
    nextHops,
  };
}

function readGateway(gateway: Buffer | undefined, via: Buffer | undefined): string | null {
  if (gateway !== undefined) return addressText(gateway);
  // RTA_VIA: address family, then the address.
  return via === undefined ? null : addressText(via.subarray(2));
}

/** struct rtnexthop: length, flags, hops, ifindex; then attributes. */
function readNextHops(data: Buffer, names: InterfaceNames): KernelNextHop[] {
  const hops: KernelNextHop[] = [];
  for (let offset = 0; offset + 8 <= data.length; ) {
    const length = data.readUInt16LE(offset);
    if (length < 8 || offset + length > data.length) break;
    const attributes = parseAttributes(data.subarray(offset + 8, offset + length));
    hops.push({
      gateway: readGateway(attributes.get(RTA.gateway), attributes.get(RTA.via)),
      interfaceName: names(data.readInt32LE(offset + 4)),
      onlink: (data.readUInt8(offset + 2) & RTNH_F_ONLINK) !== 0,
    });
    offset += (length + 3) & ~3;
  }
  return hops;
}

const FRA = { source: 2, priority: 6, mark: 10, table: 15, mask: 16 } as const;
const FIB_RULE_INVERT = 2;

/** An RTM_NEWRULE payload. */
export function readNetlinkRule(payload: Buffer, family: Family): KernelRule {
  const attributes = parseAttributes(payload.subarray(12));
  const source = attributes.get(FRA.source);
  const mark = attributes.get(FRA.mark)?.readUInt32LE(0);
  return {
    family,
    priority: attributes.get(FRA.priority)?.readUInt32LE(0) ?? 0,
    table: attributes.get(FRA.table)?.readUInt32LE(0) ?? payload.readUInt8(4),
    mark: mark ?? 0,
    mask: attributes.get(FRA.mask)?.readUInt32LE(0) ?? (mark === undefined ? 0 : 0xffffffff),
    invert: (payload.readUInt32LE(8) & FIB_RULE_INVERT) !== 0,
    source: source === undefined ? null : `${addressText(source)}/${payload.readUInt8(2)}`,
  };
}

const NDA = { dst: 1, linkAddress: 2 } as const;
const NUD_PERMANENT = 0x80;

/** An RTM_NEWNEIGH payload: a permanent ARP or NDP entry with a MAC, or null. */
export function readNetlinkNeighbour(payload: Buffer, names: InterfaceNames): KernelNeighbour | null {
  const family = payload.readUInt8(0);
  if (family !== AF.inet && family !== AF.inet6) return null;
  const entry = readNeighbourEntry(payload, names);
  if (entry === null) return null;
  return { family: family === AF.inet6 ? 6 : 4, interfaceName: entry.name, address: entry.address, mac: entry.mac };
}

/** An RTM_NEWNEIGH payload of AF_BRIDGE: a permanent FDB entry with a remote, or null. */
export function readNetlinkFdbEntry(payload: Buffer, names: InterfaceNames): KernelFdbEntry | null {
  const entry = payload.readUInt8(0) === AF.bridge ? readNeighbourEntry(payload, names) : null;
  return entry === null ? null : { interfaceName: entry.name, mac: entry.mac, remote: entry.address };
}

function readNeighbourEntry(
  payload: Buffer,
  names: InterfaceNames,
): { name: string; address: string; mac: string } | null {
  if ((payload.readUInt16LE(8) & NUD_PERMANENT) === 0) return null;
  const attributes = parseAttributes(payload.subarray(12));
  const dst = attributes.get(NDA.dst);
  const mac = attributes.get(NDA.linkAddress);
  const name = names(payload.readInt32LE(4));
  if (dst === undefined || mac === undefined || mac.length !== 6 || name === null) return null;
  return { name, address: addressText(dst), mac: macText(mac) };
}
