// Reads RTM_NEWLINK messages where they lie in the receive buffer: nodes have thousands of links, and a message has some
// fifty attributes and settings of which few are asked for. Pure.
import { ATTRIBUTE_HEADER_LENGTH, parseAttributes, textAt } from '../kernel/netlink/message.js';
import { addressText, macText } from '../kernel/netlink/rtnetlink.js';
import { attributeEnd, attributeType, findAttribute, type ReceivedBytes } from '../kernel/netlink/scan.js';
import type { InterfaceNames } from './netlink-read.js';
import type { KernelLink, LinkSysctls, VxlanSettings } from './route-kernel.js';

const IFF_UP = 0x1;
const IFF_RUNNING = 0x40;
/** struct ifinfomsg. */
const LINK_HEADER_LENGTH = 16;
const IFLA = { address: 1, name: 3, mtu: 4, linkInfo: 18, familySettings: 26 } as const;
const LINK_INFO = { kind: 1, data: 2 } as const;
const VXLAN = { id: 1, group: 2, link: 3, local: 4, learning: 7, port: 15, group6: 16, local6: 17 } as const;
const MAC_LENGTH = 6;

/** The link of a message, if it says a name. `names` is asked for the link that a vxlan link is on. */
export function readNetlinkLink(
  { bytes, words }: ReceivedBytes,
  start: number,
  end: number,
  names: InterfaceNames,
): KernelLink | null {
  const flags = words[(start >>> 2) + 2] ?? 0;
  let name = '';
  let mtu = 0;
  let mac: string | null = null;
  let kind: string | null = null;
  let data: Buffer | null = null;
  for (let at = start + LINK_HEADER_LENGTH, next = attributeEnd(words, at, end); next > at; ) {
    const from = at + ATTRIBUTE_HEADER_LENGTH;
    switch (attributeType(words, at)) {
      case IFLA.name:
        name = textAt(bytes, from, next);
        break;
      case IFLA.mtu:
        mtu = (words[from >>> 2] ?? 0) >>> 0;
        break;
      case IFLA.address:
        mac = next - from === MAC_LENGTH ? macText(bytes.subarray(from, next)) : null;
        break;
      case IFLA.linkInfo:
        kind = kindOf(bytes, words, from, next);
        if (kind === 'vxlan') data = dataOf(bytes, words, from, next);
    }
    at = (next + 3) & ~3;
    next = attributeEnd(words, at, end);
  }
  if (name === '') return null;
  return {
    ifindex: words[(start >>> 2) + 1] ?? 0,
    name,
    kind,
    isUp: (flags & IFF_UP) !== 0,
    isRunning: (flags & IFF_RUNNING) !== 0,
    mtu,
    mac,
    vxlan: data === null ? null : readVxlan(data, names),
  };
}

function kindOf(bytes: Buffer, words: Int32Array, start: number, end: number): string | null {
  const at = findAttribute(words, start, end, LINK_INFO.kind);
  if (at < 0) return null;
  const kind = textAt(bytes, at, attributeEnd(words, at - ATTRIBUTE_HEADER_LENGTH, end));
  return kind === '' ? null : kind;
}

function dataOf(bytes: Buffer, words: Int32Array, start: number, end: number): Buffer {
  const at = findAttribute(words, start, end, LINK_INFO.data);
  return at < 0 ? bytes.subarray(0, 0) : bytes.subarray(at, attributeEnd(words, at - ATTRIBUTE_HEADER_LENGTH, end));
}

function readVxlan(data: Buffer, names: InterfaceNames): VxlanSettings {
  const attributes = parseAttributes(data);
  const local = attributes.get(VXLAN.local) ?? attributes.get(VXLAN.local6);
  const group = attributes.get(VXLAN.group) ?? attributes.get(VXLAN.group6);
  const link = attributes.get(VXLAN.link)?.readUInt32LE(0) ?? 0;
  return {
    vni: attributes.get(VXLAN.id)?.readUInt32LE(0) ?? 0,
    port: attributes.get(VXLAN.port)?.readUInt16BE(0) ?? 0,
    local: local === undefined ? null : addressText(local),
    parent: link === 0 ? null : names(link),
    group: group === undefined ? null : addressText(group),
    learning: attributes.get(VXLAN.learning)?.readUInt8(0) === 1,
  };
}

const AF_SPEC = { inet: 2, inet6: 10 } as const;
/** Arrays of all settings of a family, inside its own attribute: IFLA_INET_CONF, IFLA_INET6_CONF. */
const INET_CONF = 1;
const INET6_CONF = 2;
/** IPV4_DEVCONF_… of linux/ip.h, less one. */
const CONF4 = { forwarding: 0, proxyArp: 2, rpFilter: 7, routeLocalnet: 25 } as const;
/** DEVCONF_… of linux/ipv6.h. */
const CONF6 = { forwarding: 0, acceptRa: 3, proxyNdp: 22 } as const;

/** The sysctls of a link, from its message but for `proxyDelay`; `undefined` for those that it doesn't tell. */
export function readLinkSysctls(
  words: Int32Array,
  start: number,
  end: number,
  proxyDelay: number | undefined,
): LinkSysctls {
  const settings = findAttribute(words, start + LINK_HEADER_LENGTH, end, IFLA.familySettings);
  const settingsEnd = settings < 0 ? -1 : attributeEnd(words, settings - ATTRIBUTE_HEADER_LENGTH, end);
  const conf4 = confOf(words, settings, settingsEnd, AF_SPEC.inet, INET_CONF);
  const conf6 = confOf(words, settings, settingsEnd, AF_SPEC.inet6, INET6_CONF);
  return {
    'ipv4/conf/forwarding': settingAt(words, conf4, CONF4.forwarding),
    'ipv4/conf/proxy_arp': settingAt(words, conf4, CONF4.proxyArp),
    'ipv4/conf/rp_filter': settingAt(words, conf4, CONF4.rpFilter),
    'ipv4/conf/route_localnet': settingAt(words, conf4, CONF4.routeLocalnet),
    'ipv4/neigh/proxy_delay': proxyDelay,
    'ipv6/conf/forwarding': settingAt(words, conf6, CONF6.forwarding),
    'ipv6/conf/accept_ra': settingAt(words, conf6, CONF6.acceptRa),
    'ipv6/conf/proxy_ndp': settingAt(words, conf6, CONF6.proxyNdp),
  };
}

/** Place of the header of a family's array of settings, or -1. */
function confOf(words: Int32Array, start: number, end: number, family: number, type: number): number {
  if (start < 0) return -1;
  const at = findAttribute(words, start, end, family);
  if (at < 0) return -1;
  return (
    findAttribute(words, at, attributeEnd(words, at - ATTRIBUTE_HEADER_LENGTH, end), type) - ATTRIBUTE_HEADER_LENGTH
  );
}

function settingAt(words: Int32Array, conf: number, index: number): number | undefined {
  if (conf < 0) return undefined;
  const length = (words[conf >>> 2] ?? 0) & 0xffff;
  const at = ATTRIBUTE_HEADER_LENGTH * (index + 1);
  return at + 4 <= length ? words[(conf + at) >>> 2] : undefined;
}

const NDTA_PARAMETERS = 6;
const PARAMETERS = { ifindex: 1, proxyDelay: 13 } as const;
/** struct ndtmsg. */
const TABLE_HEADER_LENGTH = 4;

/** Of an RTM_NEWNEIGHTBL message: the link whose proxies answer without delay, or 0. */
export function readPromptProxy(words: Int32Array, start: number, end: number): number {
  const at = findAttribute(words, start + TABLE_HEADER_LENGTH, end, NDTA_PARAMETERS);
  if (at < 0) return 0;
  const parametersEnd = attributeEnd(words, at - ATTRIBUTE_HEADER_LENGTH, end);
  const ifindex = findAttribute(words, at, parametersEnd, PARAMETERS.ifindex);
  const delay = findAttribute(words, at, parametersEnd, PARAMETERS.proxyDelay);
  // 64 bits of milliseconds. The file counts in ticks of 10 ms: of all values, only 0 is surely the same there.
  if (ifindex < 0 || delay < 0 || words[delay >>> 2] !== 0 || words[(delay >>> 2) + 1] !== 0) return 0;
  return words[ifindex >>> 2] ?? 0;
}
