// ARP and neighbour discovery frames: what is asked, and the answers and announcements of a proxy (dataplane.md 2.11;
// RFC 826, RFC 4861 sections 4.3, 4.4 and 7.2). Pure functions on bytes.
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../base/ip.js';
import { ETHERTYPE } from './frame-socket.js';

const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const ALL_NODES_MAC = '33:33:00:00:00:01';
const ALL_NODES = 'ff02::1';
const ETHERNET_BYTES = 14;
const ARP_BYTES = 28;
const IPV6_HEADER_BYTES = 40;
const ICMPV6 = 58;
/** ICMPv6 type of a neighbour solicitation. */
export const SOLICITATION = 135;
const ADVERTISEMENT = 136;
/** Routers do not forward it: a packet that still has it was sent on this link (RFC 4861 section 7.1). */
const LINK_HOP_LIMIT = 255;

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

function macText(bytes: Buffer): string {
  return (bytes.toString('hex').match(/../g) ?? []).join(':');
}

function ipv6Bytes(address: string): Buffer {
  return Buffer.from((parseIpv6(address) ?? 0n).toString(16).padStart(32, '0'), 'hex');
}

function ipv6Text(bytes: Buffer): string {
  return formatIpv6(BigInt(`0x${bytes.toString('hex')}`));
}

function ethernet(destination: string, source: string, etherType: number, payload: Buffer): Buffer {
  const type = Buffer.from([etherType >> 8, etherType & 255]);
  return Buffer.concat([macBytes(destination), macBytes(source), type, payload]);
}

interface ArpFields {
  readonly operation: 1 | 2;
  readonly senderMac: string;
  readonly senderIp: number;
  readonly targetMac: string;
  readonly targetIp: number;
}

function arp(fields: ArpFields): Buffer {
  const packet = Buffer.alloc(ARP_BYTES);
  packet.writeUInt16BE(1, 0);
  packet.writeUInt16BE(ETHERTYPE.ipv4, 2);
  packet[4] = 6;
  packet[5] = 4;
  packet.writeUInt16BE(fields.operation, 6);
  macBytes(fields.senderMac).copy(packet, 8);
  packet.writeUInt32BE(fields.senderIp, 14);
  macBytes(fields.targetMac).copy(packet, 18);
  packet.writeUInt32BE(fields.targetIp, 24);
  return packet;
}

/** A gratuitous ARP request for an IPv4 address. */
export function gratuitousArp(address: string, mac: string): Buffer {
  const ip = parseIpv4(address) ?? 0;
  const fields = { operation: 1, senderMac: mac, senderIp: ip, targetMac: BROADCAST, targetIp: ip } as const;
  return ethernet(BROADCAST, mac, ETHERTYPE.arp, arp(fields));
}

/** The answer to an ARP request for an address that `wants` takes, or null. */
export function answerArp(frame: Buffer, mac: string, wants: (address: string) => boolean): Buffer | null {
  if (frame.length < ETHERNET_BYTES + ARP_BYTES || frame.readUInt16BE(12) !== ETHERTYPE.arp) return null;
  const packet = frame.subarray(ETHERNET_BYTES);
  const isIpv4Request =
    packet.readUInt16BE(0) === 1 &&
    packet.readUInt16BE(2) === ETHERTYPE.ipv4 &&
    packet[4] === 6 &&
    packet[5] === 4 &&
    packet.readUInt16BE(6) === 1;
  const asker = macText(packet.subarray(8, 14));
  const target = packet.readUInt32BE(24);
  // Our own announcement is a request too.
  if (!isIpv4Request || asker === mac || !wants(formatIpv4(target))) return null;
  const senderIp = target;
  const targetIp = packet.readUInt32BE(14);
  const reply = arp({ operation: 2, senderMac: mac, senderIp, targetMac: asker, targetIp });
  return ethernet(asker, mac, ETHERTYPE.arp, reply);
}

/** Internet checksum over the pseudo header and the message (RFC 8200 section 8.1). */
function icmpChecksum(source: Buffer, destination: Buffer, message: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(message.length, 0);
  pseudo[7] = ICMPV6;
  const data = Buffer.concat([source, destination, pseudo, message]);
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += data.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

interface AdvertisementFields {
  readonly target: string;
  readonly mac: string;
  /** Our address on the link. */
  readonly source: string;
  readonly destination: string;
  readonly destinationMac: string;
  readonly solicited: boolean;
}

function advertisement(fields: AdvertisementFields): Buffer {
  const message = Buffer.alloc(32);
  message[0] = ADVERTISEMENT;
  // Override always; solicited when somebody asked.
  message[4] = fields.solicited ? 0x60 : 0x20;
  ipv6Bytes(fields.target).copy(message, 8);
  // Option: target link-layer address, one unit of eight bytes.
  message[24] = 2;
  message[25] = 1;
  macBytes(fields.mac).copy(message, 26);
  const source = ipv6Bytes(fields.source);
  const destination = ipv6Bytes(fields.destination);
  message.writeUInt16BE(icmpChecksum(source, destination, message), 2);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(message.length, 4);
  header[6] = ICMPV6;
  header[7] = LINK_HOP_LIMIT;
  const packet = Buffer.concat([header, source, destination, message]);
  return ethernet(fields.destinationMac, fields.mac, ETHERTYPE.ipv6, packet);
}

/** An unsolicited neighbour advertisement for an IPv6 address. */
export function unsolicitedAdvertisement(address: string, mac: string, source: string): Buffer {
  const destination = { destination: ALL_NODES, destinationMac: ALL_NODES_MAC };
  return advertisement({ target: address, mac, source, ...destination, solicited: false });
}

/**
 * The answer to a neighbour solicitation for an address that `wants` takes, or null. A probe for duplicates, which has no
 * source, is answered to all nodes.
 */
export function answerSolicitation(
  frame: Buffer,
  mac: string,
  source: string,
  wants: (address: string) => boolean,
): Buffer | null {
  const icmp = ETHERNET_BYTES + IPV6_HEADER_BYTES;
  if (frame.length < icmp + 24 || frame.readUInt16BE(12) !== ETHERTYPE.ipv6) return null;
  const isSolicitation = frame[20] === ICMPV6 && frame[21] === LINK_HOP_LIMIT && frame[icmp] === SOLICITATION;
  const target = ipv6Text(frame.subarray(icmp + 8, icmp + 24));
  const askerMac = macText(frame.subarray(6, 12));
  if (!isSolicitation || askerMac === mac || !wants(target)) return null;
  const asker = ipv6Text(frame.subarray(22, 38));
  const isProbe = asker === '::';
  return advertisement({
    target,
    mac,
    source,
    destination: isProbe ? ALL_NODES : asker,
    destinationMac: isProbe ? ALL_NODES_MAC : askerMac,
    solicited: !isProbe,
  });
}

/** Ethernet address of the solicited-node group of an IPv6 address (RFC 4291 section 2.7.1, RFC 2464 section 7). */
export function solicitedNodeMac(address: string): string {
  return `33:33:ff:${macText(ipv6Bytes(address).subarray(13))}`;
}
