// The words of a rule's text, as iptables-restore splits it, and the small values in them. A value of another form than
// render.ts prints is null: then the rule is left to the tool.
import { addressBytes } from '../../kernel/netlink/address-bytes.js';
import { parseAddress, parseCidr } from '../../base/ip.js';

/** Words that were in quotes, too. */
const WORDS = /"([^"]*)"|([^" ]+)/gy;
/** What the tool takes for more than itself, or that is not ASCII. */
const UNUSUAL = /[^ !#-&(-[\]-~]/;

/** The words of a text whose words are one space apart; null where it holds what has a meaning to the tool. */
export function wordsOf(text: string): string[] | null {
  if (text === '') return [];
  const plain = text.includes('"') ? text.replaceAll('"', '') : text;
  if (UNUSUAL.test(plain)) return null;
  if (plain === text) return text.split(' ');
  const words: string[] = [];
  for (let at = 0; at <= text.length; at = WORDS.lastIndex + 1) {
    WORDS.lastIndex = at;
    const match = WORDS.exec(text);
    if (match === null) return null;
    words.push(match[1] ?? match[2] ?? '');
    if (WORDS.lastIndex < text.length && text.charCodeAt(WORDS.lastIndex) !== SPACE) return null;
  }
  return words;
}

const SPACE = 0x20;

/** A number in decimal, without zeros in front (they mean octal), from 0 to `max`. */
export function decimal(text: string, max: number): number | null {
  if (!/^(?:0|[1-9]\d{0,9})$/.test(text)) return null;
  const value = Number(text);
  return value <= max ? value : null;
}

/** `0x10000/0x30000`, or `0/0x30000`. */
export function valueAndMask(text: string): { readonly value: number; readonly mask: number } | null {
  const [, value = '', mask = ''] = /^(0x[0-9a-f]{1,8}|0)\/(0x[0-9a-f]{1,8}|0)$/.exec(text) ?? [];
  return mask === '' ? null : { value: Number(value), mask: Number(mask) };
}

/** `80` or `80-90`, with `separator` between the two. */
export function portRange(text: string, separator: '-' | ':'): readonly [number, number] | null {
  const parts = text.split(separator);
  const first = decimal(parts[0] ?? '', MAX_PORT);
  if (parts.length === 1) return first === null ? null : [first, first];
  const last = decimal(parts[1] ?? '', MAX_PORT);
  return parts.length > 2 || first === null || last === null || first >= last ? null : [first, last];
}

const MAX_PORT = 0xffff;

/** `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, `[fd00::1]:80-90`. */
export function addressAndPorts(
  family: 4 | 6,
  text: string,
): { readonly address: Buffer; readonly ports: readonly [number, number] | null } | null {
  const bracketed = /^\[([0-9a-f:]+)\]:([0-9-]+)$/.exec(text);
  const dotted = /^([0-9.]+)(?::([0-9-]+))?$/.exec(text);
  const [, addressText = text, portText] = bracketed ?? dotted ?? [];
  const address = parseAddress(addressText);
  if (address === null || address.family !== family) return null;
  const ports = portText === undefined ? null : portRange(portText, '-');
  if (portText !== undefined && ports === null) return null;
  return { address: addressBytes(family, address.value), ports };
}

const PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['icmp', 1],
  ['ipencap', 4],
  ['tcp', 6],
  ['udp', 17],
  ['icmpv6', 58],
  ['ipv6-icmp', 58],
  ['sctp', 132],
  ['udplite', 136],
]);
/** Headers that IPv6 packets have before their protocol: the tool warns of them. */
const EXTENSION_HEADERS: ReadonlySet<number> = new Set([0, 43, 44, 50, 51, 59, 60, 135]);
const MAX_PROTOCOL = 255;

/** The number of `-p`'s value. */
export function protocolNumber(family: 4 | 6, text: string): number | null {
  const number = /^[1-9]\d{0,2}$/.test(text) ? Number(text) : (PROTOCOLS.get(text) ?? 0);
  if (number === 0 || number > MAX_PROTOCOL || (family === 6 && EXTENSION_HEADERS.has(number))) return null;
  return number;
}

const MAX_INTERFACE_NAME = 15;

/** A name, or the beginning of names with a plus behind it. */
export function isInterfaceName(text: string): boolean {
  return text.length <= MAX_INTERFACE_NAME && /^[A-Za-z0-9_.-]+\+?$/.test(text);
}

/** An address or a prefix: its length, the mask, and the address without the bits behind the mask. */
export function addressTest(
  family: 4 | 6,
  text: string,
): { readonly length: number; readonly mask: bigint; readonly value: bigint } | null {
  const width = family === 4 ? 32 : 128;
  const cidr = parseCidr(text.includes('/') ? text : `${text}/${width}`);
  if (cidr === null || cidr.family !== family) return null;
  const bits = BigInt(width);
  const mask = (1n << bits) - (1n << (bits - BigInt(cidr.length)));
  return { length: cidr.length, mask, value: BigInt(cidr.value) & mask };
}
