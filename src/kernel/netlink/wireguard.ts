// The messages of the kernel's generic netlink family "wireguard" (include/uapi/linux/wireguard.h): changes to bytes,
// and the dump of a device to its state. Pure but for the making of a key.
import { randomBytes } from 'node:crypto';
import { parseCidr } from '../../base/ip.js';
import { NetlinkError } from '../../base/errors.js';
import type { GenericRequest } from './genetlink.js';
import { forEachAttribute, type MessageWriter, parseAttributes } from './message.js';
import { addressBytes, addressText, AF } from './rtnetlink.js';

/** Name of the family, and the version that its requests carry. */
export const WIREGUARD_FAMILY = 'wireguard';
const VERSION = 1;
const COMMAND = { getDevice: 0, setDevice: 1 } as const;
const DEVICE = { ifname: 2, privateKey: 3, publicKey: 4, flags: 5, listenPort: 6, mark: 7, peers: 8 } as const;
const PEER = {
  publicKey: 1,
  flags: 3,
  endpoint: 4,
  keepalive: 5,
  lastHandshake: 6,
  receivedBytes: 7,
  sentBytes: 8,
  allowedIps: 9,
} as const;
const ALLOWED_IP = { family: 1, address: 2, length: 3 } as const;
const PEER_FLAG = { remove: 1, replaceAllowedIps: 2 } as const;
/** Kind of a list's members: the kernel does not look at it. */
const LIST_MEMBER = 0;
const KEY_BYTES = 32;
const KEY_TEXT = /^[A-Za-z0-9+/]{43}=$/;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const MAX_KEEPALIVE_SECONDS = 0xffff;
const MAX_PORT = 0xffff;

/** A list is one attribute with a 16-bit length; half of that leaves room for everything around it. */
const BYTES_PER_MESSAGE = 32 * 1024;
/** No more than this many bytes: a peer without its prefixes; one prefix. */
const PEER_BYTES = 96;
const ALLOWED_IP_BYTES = 44;

/** A peer as the kernel has it or should have it. */
export interface WireguardPeerMessage {
  /** Base64, 44 characters. */
  readonly publicKey: string;
  readonly endpoint: { readonly address: string; readonly port: number } | null;
  /** Prefixes with their length. */
  readonly allowedIps: readonly string[];
  /** 0 = off. The kernel counts in seconds. */
  readonly keepaliveMs: number;
}

/** What went to and came from a peer since it was made. */
export interface WireguardPeerTraffic {
  readonly publicKey: string;
  readonly endpoint: WireguardPeerMessage['endpoint'];
  readonly sentBytes: bigint;
  readonly receivedBytes: bigint;
  /** Seconds since 1970; null = there was none yet. */
  readonly lastHandshake: bigint | null;
}

/** A device as a dump tells of it; its private key is never read out of the message. */
export interface WireguardDeviceMessage {
  /** Empty while the device has no private key. */
  readonly publicKey: string;
  readonly listenPort: number;
  readonly mark: number;
  readonly peers: readonly WireguardPeerMessage[];
}

/** What to change. What is left out stays. */
export interface WireguardDeviceChange {
  readonly deviceName: string;
  readonly privateKey?: Buffer;
  readonly listenPort?: number;
  readonly mark?: number;
  /** In the order in which the kernel takes them; `remove` of a peer that is gone is fine. */
  readonly peers: readonly (
    | { readonly op: 'set'; readonly peer: WireguardPeerMessage }
    | { readonly op: 'remove'; readonly publicKey: string }
  )[];
}

/** 32 bytes of a key in base64. @throws NetlinkError (EINVAL) for anything else. */
export function wireguardKeyBytes(text: string): Buffer {
  const bytes = KEY_TEXT.test(text) ? Buffer.from(text, 'base64') : null;
  if (bytes?.length !== KEY_BYTES) throw invalid(`"${text}" is not a Wireguard key`);
  return bytes;
}

/** A new private key: random, with the bits of Curve25519 that must be set and cleared (RFC 7748 section 5). */
export function generatePrivateKey(): Buffer {
  const key = randomBytes(KEY_BYTES);
  key.writeUInt8(key.readUInt8(0) & 0xf8, 0);
  key.writeUInt8((key.readUInt8(KEY_BYTES - 1) & 0x7f) | 0x40, KEY_BYTES - 1);
  return key;
}

/** struct sockaddr_in or sockaddr_in6. @throws NetlinkError (EINVAL) for a bad address or port. */
export function encodeEndpoint(address: string, port: number): Buffer {
  const ip = addressBytes(address);
  if (ip === null || !Number.isInteger(port) || port < 0 || port > MAX_PORT)
    throw invalid(`"${address}" port ${port} is not an endpoint`);
  const bytes = Buffer.alloc(ip.length === 4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  bytes.writeUInt16LE(ip.length === 4 ? AF.inet : AF.inet6, 0);
  bytes.writeUInt16BE(port, 2);
  // sockaddr_in6 has the flow label between port and address.
  ip.copy(bytes, ip.length === 4 ? 4 : 8);
  return bytes;
}

/** What {@link encodeEndpoint} made; null for a family that is neither, or too few bytes. */
export function decodeEndpoint(bytes: Buffer): { readonly address: string; readonly port: number } | null {
  if (bytes.length < SOCKADDR_IN_BYTES) return null;
  const family = bytes.readUInt16LE(0);
  const port = bytes.readUInt16BE(2);
  if (family === AF.inet) return { address: addressText(bytes.subarray(4, 8)), port };
  if (family === AF.inet6 && bytes.length >= SOCKADDR_IN6_BYTES)
    return { address: addressText(bytes.subarray(8, 24)), port };
  return null;
}

/** The request whose dump {@link WireguardDeviceReader} reads. */
export function readDeviceRequest(family: number, deviceName: string): GenericRequest {
  return {
    family,
    command: COMMAND.getDevice,
    version: VERSION,
    attributes: (writer) => void writer.attributeString(DEVICE.ifname, deviceName),
  };
}

/** A peer's share of one message. */
interface PeerPart {
  readonly publicKey: Buffer;
  readonly flags: number;
  readonly endpoint: Buffer | null;
  readonly keepaliveSeconds: number | null;
  readonly allowedIps: readonly AllowedIp[];
}

interface AllowedIp {
  readonly address: Buffer;
  readonly length: number;
}

/**
 * The requests that carry a change out, in order: one, or as many as its peers need. A peer with more prefixes than fit
 * goes on in the next message, which then adds to what the first replaced.
 * @throws NetlinkError (EINVAL) for a value that cannot be encoded, before anything is sent.
 */
export function changeDeviceRequests(
  family: number,
  change: WireguardDeviceChange,
  bytesPerMessage = BYTES_PER_MESSAGE,
): GenericRequest[] {
  const messages = splitPeers(change.peers, bytesPerMessage);
  if (messages.length === 0) messages.push([]);
  return messages.map((parts, index) => ({
    family,
    command: COMMAND.setDevice,
    version: VERSION,
    attributes: (writer) => {
      writer.attributeString(DEVICE.ifname, change.deviceName);
      if (index === 0) writeDevice(writer, change);
      if (parts.length > 0) writer.nested(DEVICE.peers, (list) => parts.forEach((part) => writePeer(list, part)));
    },
  }));
}

function writeDevice(writer: MessageWriter, { privateKey, listenPort, mark }: WireguardDeviceChange): void {
  if (privateKey !== undefined) writer.attribute(DEVICE.privateKey, privateKey);
  if (listenPort !== undefined) writer.attributeU16(DEVICE.listenPort, listenPort);
  if (mark !== undefined) writer.attributeU32(DEVICE.mark, mark);
}

function splitPeers(peers: WireguardDeviceChange['peers'], bytesPerMessage: number): PeerPart[][] {
  const messages: PeerPart[][] = [];
  let current: PeerPart[] = [];
  let room = bytesPerMessage;
  const push = (part: PeerPart): void => {
    if (current.length === 0) messages.push(current);
    current.push(part);
    room -= PEER_BYTES + part.allowedIps.length * ALLOWED_IP_BYTES;
  };
  const nextMessage = (): void => {
    current = [];
    room = bytesPerMessage;
  };
  for (const change of peers) {
    let whole = change.op === 'set' ? setPart(change.peer) : removePart(change.publicKey);
    for (;;) {
      if (room < PEER_BYTES + ALLOWED_IP_BYTES && current.length > 0) nextMessage();
      const fits = Math.max(1, Math.floor((room - PEER_BYTES) / ALLOWED_IP_BYTES));
      push({ ...whole, allowedIps: whole.allowedIps.slice(0, fits) });
      if (whole.allowedIps.length <= fits) break;
      const { publicKey } = whole;
      whole = { publicKey, flags: 0, endpoint: null, keepaliveSeconds: null, allowedIps: whole.allowedIps.slice(fits) };
      nextMessage();
    }
  }
  return messages;
}

function setPart({ publicKey, endpoint, allowedIps, keepaliveMs }: WireguardPeerMessage): PeerPart {
  return {
    publicKey: wireguardKeyBytes(publicKey),
    flags: PEER_FLAG.replaceAllowedIps,
    endpoint: endpoint === null ? null : encodeEndpoint(endpoint.address, endpoint.port),
    keepaliveSeconds: Math.min(Math.floor(keepaliveMs / 1000), MAX_KEEPALIVE_SECONDS),
    allowedIps: allowedIps.map(parseAllowedIp),
  };
}

function removePart(publicKey: string): PeerPart {
  const key = wireguardKeyBytes(publicKey);
  return { publicKey: key, flags: PEER_FLAG.remove, endpoint: null, keepaliveSeconds: null, allowedIps: [] };
}

function parseAllowedIp(text: string): AllowedIp {
  const cidr = parseCidr(text);
  const slash = text.indexOf('/');
  const address = addressBytes(slash < 0 ? text : text.slice(0, slash));
  if (cidr === null || address === null) throw invalid(`"${text}" is not a prefix`);
  return { address, length: cidr.length };
}

function writePeer(list: MessageWriter, part: PeerPart): void {
  list.nested(LIST_MEMBER, (peer) => {
    peer.attribute(PEER.publicKey, part.publicKey);
    if (part.flags !== 0) peer.attributeU32(PEER.flags, part.flags);
    if (part.endpoint !== null) peer.attribute(PEER.endpoint, part.endpoint);
    if (part.keepaliveSeconds !== null) peer.attributeU16(PEER.keepalive, part.keepaliveSeconds);
    if (part.allowedIps.length === 0) return;
    peer.nested(PEER.allowedIps, (prefixes) => {
      for (const { address, length } of part.allowedIps) {
        prefixes.nested(LIST_MEMBER, (prefix) =>
          prefix
            .attributeU16(ALLOWED_IP.family, address.length === 4 ? AF.inet : AF.inet6)
            .attribute(ALLOWED_IP.address, address)
            .attributeU8(ALLOWED_IP.length, length),
        );
      }
    });
  });
}

/** Puts the messages of one dump together: a peer that did not fit goes on in the next one. */
export class WireguardDeviceReader {
  #seen = false;
  #publicKey = '';
  #listenPort = 0;
  #mark = 0;
  readonly #peers: {
    publicKey: string;
    endpoint: WireguardPeerMessage['endpoint'];
    keepaliveMs: number;
    allowedIps: string[];
  }[] = [];

  readonly #traffic: WireguardPeerTraffic[] = [];

  /** Takes the attributes of one message. Ones that are not known, or too short for what they are, are left out. */
  read(data: Buffer): void {
    this.#seen = true;
    const device = parseAttributes(data);
    const key = device.get(DEVICE.publicKey);
    if (key?.length === KEY_BYTES) this.#publicKey = key.toString('base64');
    this.#listenPort = readU16(device.get(DEVICE.listenPort)) ?? this.#listenPort;
    const mark = device.get(DEVICE.mark);
    if (mark !== undefined && mark.length >= 4) this.#mark = mark.readUInt32LE(0);
    const peers = device.get(DEVICE.peers);
    if (peers !== undefined) forEachAttribute(peers, (_type, value) => this.#readPeer(value));
  }

  /** What was read; null when there was no message. */
  finish(): WireguardDeviceMessage | null {
    if (!this.#seen) return null;
    return { publicKey: this.#publicKey, listenPort: this.#listenPort, mark: this.#mark, peers: this.#peers };
  }

  /** Traffic of each peer that was read, in the order of the peers. */
  traffic(): readonly WireguardPeerTraffic[] {
    return this.#traffic;
  }

  #readPeer(data: Buffer): void {
    const attributes = parseAttributes(data);
    const key = attributes.get(PEER.publicKey);
    if (key?.length !== KEY_BYTES) return;
    const publicKey = key.toString('base64');
    let peer = this.#peers.at(-1);
    if (peer?.publicKey !== publicKey) {
      const endpoint = attributes.get(PEER.endpoint);
      const keepaliveMs = (readU16(attributes.get(PEER.keepalive)) ?? 0) * 1000;
      peer = {
        publicKey,
        endpoint: endpoint === undefined ? null : decodeEndpoint(endpoint),
        keepaliveMs,
        allowedIps: [],
      };
      this.#peers.push(peer);
      this.#traffic.push(readTraffic(publicKey, peer.endpoint, attributes));
    }
    const { allowedIps } = peer;
    const list = attributes.get(PEER.allowedIps);
    if (list === undefined) return;
    forEachAttribute(list, (_type, value) => {
      const prefix = readAllowedIp(value);
      if (prefix !== null) allowedIps.push(prefix);
    });
  }
}

function readTraffic(
  publicKey: string,
  endpoint: WireguardPeerMessage['endpoint'],
  attributes: ReadonlyMap<number, Buffer>,
): WireguardPeerTraffic {
  // struct __kernel_timespec begins with the seconds.
  const handshake = readU64(attributes.get(PEER.lastHandshake));
  return {
    publicKey,
    endpoint,
    sentBytes: readU64(attributes.get(PEER.sentBytes)),
    receivedBytes: readU64(attributes.get(PEER.receivedBytes)),
    lastHandshake: handshake === 0n ? null : handshake,
  };
}

function readU64(value: Buffer | undefined): bigint {
  return value === undefined || value.length < 8 ? 0n : value.readBigUInt64LE(0);
}

function readAllowedIp(data: Buffer): string | null {
  const attributes = parseAttributes(data);
  const address = attributes.get(ALLOWED_IP.address);
  const length = attributes.get(ALLOWED_IP.length);
  if (address === undefined || length === undefined || length.length < 1) return null;
  if (address.length !== 4 && address.length !== 16) return null;
  return `${addressText(address)}/${length.readUInt8(0)}`;
}

function readU16(value: Buffer | undefined): number | null {
  return value === undefined || value.length < 2 ? null : value.readUInt16LE(0);
}

function invalid(message: string): NetlinkError {
  return new NetlinkError(message, 22, 'EINVAL');
}
