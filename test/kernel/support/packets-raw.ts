// Hand-made packets (TCP without a connection, ICMP of any type and code), and counters that tell whether they arrived.
import { execa } from 'execa';
import { join } from 'node:path';
import ipaddr from 'ipaddr.js';
import type { PacketNode, Site } from './packets-node.js';

const SENDER = join(import.meta.dirname, 'packets-raw.mjs');
const PROTOCOLS = { tcp: 6, icmp: 1, icmpv6: 58 } as const;

/** A packet to send; TCP flags are the bits of the header: FIN 1, SYN 2, RST 4, ACK 16. */
export type RawPacket =
  | {
      readonly kind: 'tcp';
      readonly source: string;
      readonly target: string;
      readonly flags: number;
      readonly sourcePort: number;
      readonly targetPort: number;
    }
  | {
      readonly kind: 'icmp';
      readonly source: string;
      readonly target: string;
      readonly type: number;
      readonly code: number;
      readonly about?: string;
    };

function bytesOf(address: string): Buffer {
  return Buffer.from(ipaddr.parse(address).toByteArray());
}

function checksum(data: Buffer): number {
  let sum = 0;
  for (let index = 0; index < data.length; index += 2) sum += (data[index] ?? 0) * 256 + (data[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader(source: Buffer, target: Buffer, protocol: number, length: number): Buffer {
  const tail = Buffer.alloc(source.length === 4 ? 4 : 8);
  if (source.length === 4) {
    tail.writeUInt8(protocol, 1);
    tail.writeUInt16BE(length, 2);
  } else {
    tail.writeUInt32BE(length, 0);
    tail.writeUInt8(protocol, 7);
  }
  return Buffer.concat([source, target, tail]);
}

function tcpSegment(packet: Extract<RawPacket, { kind: 'tcp' }>): Buffer {
  const segment = Buffer.alloc(20);
  segment.writeUInt16BE(packet.sourcePort, 0);
  segment.writeUInt16BE(packet.targetPort, 2);
  segment.writeUInt32BE(1000, 4);
  segment.writeUInt32BE((packet.flags & 16) !== 0 ? 2000 : 0, 8);
  segment.writeUInt8(0x50, 12);
  segment.writeUInt8(packet.flags, 13);
  segment.writeUInt16BE(1024, 14);
  return segment;
}

/** An ICMP message; the body is nothing that belongs to a flow, or for a query an id and a number. */
function icmpMessage(packet: Extract<RawPacket, { kind: 'icmp' }>): Buffer {
  const message = Buffer.alloc(64);
  message.writeUInt8(packet.type, 0);
  message.writeUInt8(packet.code, 1);
  message.writeUInt16BE(0x1234, 4);
  return message;
}

/** The whole packet, with its IP header. */
export function packetBytes(packet: RawPacket): Buffer {
  const source = bytesOf(packet.source);
  const target = bytesOf(packet.target);
  const isV4 = source.length === 4;
  const protocol = packet.kind === 'tcp' ? PROTOCOLS.tcp : isV4 ? PROTOCOLS.icmp : PROTOCOLS.icmpv6;
  const payload = packet.kind === 'tcp' ? tcpSegment(packet) : icmpMessage(packet);
  const covered =
    protocol === PROTOCOLS.icmp
      ? payload
      : Buffer.concat([pseudoHeader(source, target, protocol, payload.length), payload]);
  payload.writeUInt16BE(checksum(covered), packet.kind === 'tcp' ? 16 : 2);
  const header = Buffer.alloc(isV4 ? 20 : 40);
  if (isV4) {
    header.writeUInt8(0x45, 0);
    header.writeUInt16BE(header.length + payload.length, 2);
    header.writeUInt8(64, 8);
    header.writeUInt8(protocol, 9);
    source.copy(header, 12);
    target.copy(header, 16);
    header.writeUInt16BE(checksum(header), 10);
  } else {
    header.writeUInt8(0x60, 0);
    header.writeUInt16BE(payload.length, 4);
    header.writeUInt8(protocol, 6);
    header.writeUInt8(64, 7);
    source.copy(header, 8);
    target.copy(header, 24);
  }
  return Buffer.concat([header, payload]);
}

/** Sends packets from a site; one that a hook of output drops is no error. */
export async function sendRaw(site: Site, packets: readonly RawPacket[]): Promise<void> {
  const orders = packets.map((packet) => ({
    family: packet.source.includes(':') ? 6 : 4,
    target: bytesOf(packet.target).toString('hex'),
    hex: packetBytes(packet).toString('hex'),
  }));
  const [program = 'ip', ...rest] = [...site.namespace.enter, process.execPath, SENDER, JSON.stringify(orders)];
  await execa(program, rest);
}

/** Counts what arrives at a site before anything there can drop it: name → nft match. Replaces earlier counters. */
export async function countArrivals(site: Site, matches: Readonly<Record<string, string>>): Promise<void> {
  const names = Object.keys(matches);
  await site.namespace.run(['nft', '-f', '-'], {
    input: `table inet seen
delete table inet seen
table inet seen {
${names.map((name) => `  counter ${name} { }`).join('\n')}
  chain arrived {
    type filter hook prerouting priority -450;
${names.map((name) => `    ${matches[name]} counter name ${name}`).join('\n')}
  }
}
`,
  });
}

/** The counters of `countArrivals`: name → packets so far. */
export async function arrivals(site: Site): Promise<Record<string, number>> {
  const listed = JSON.parse(await site.namespace.run(['nft', '-j', 'list', 'counters', 'table', 'inet', 'seen'])) as {
    nftables: { counter?: { name: string; packets: number } }[];
  };
  return Object.fromEntries(
    listed.nftables.flatMap(({ counter }) => (counter === undefined ? [] : [[counter.name, counter.packets] as const])),
  );
}

/** Both addresses of two sites, by family. */
export function pairs(
  node: PacketNode,
  from: string,
  to: string,
): readonly (readonly [source: string, target: string])[] {
  const [source, target] = [node.site(from), node.site(to)];
  return [
    [source.v4, target.v4],
    [source.v6, target.v6],
  ];
}
