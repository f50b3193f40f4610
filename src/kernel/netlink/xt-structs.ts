// The structs of iptables extensions as bytes, in the revisions that iptables 1.8.9 uses (include/uapi/linux/netfilter/
// xt_*.h, netfilter_ipv4/ip*_*.h). Fields that the kernel fills stay zero. Host order, unless a field is said to be of
// a packet.
import type { Expression } from './nf-expressions.js';

type Extension = Extract<Expression, { kind: 'match' | 'target' }>;

const COMMENT_LENGTH = 256;
/** Ports that one multiport match holds; a range takes two places. */
export const MULTIPORT_PLACES = 15;

/** NF_NAT_RANGE_*. */
export const NAT_RANGE = { addresses: 1, ports: 2, fullyRandom: 16 } as const;

/** Bits of conntrack's --ctstate. */
export const CONNTRACK_STATES: ReadonlyMap<string, number> = new Map([
  ['INVALID', 0x1],
  ['ESTABLISHED', 0x2],
  ['RELATED', 0x4],
  ['NEW', 0x8],
  ['SNAT', 0x40],
  ['DNAT', 0x80],
  ['UNTRACKED', 0x100],
]);

/** Kinds of addresses, by their bit in addrtype's masks. */
export const ADDRESS_TYPES: ReadonlyMap<string, number> = new Map([
  ['UNICAST', 1 << 1],
  ['LOCAL', 1 << 2],
  ['BROADCAST', 1 << 3],
  ['ANYCAST', 1 << 4],
  ['MULTICAST', 1 << 5],
]);

function match(name: string, revision: number, info: Buffer): Extension {
  return { kind: 'match', name, revision, info };
}

function target(name: string, revision: number, info: Buffer): Extension {
  return { kind: 'target', name, revision, info };
}

function info(length: number, write: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.alloc(length);
  write(bytes);
  return bytes;
}

/** `-m comment`; the text is plain ASCII of at most 255 characters. */
export function commentMatch(text: string): Extension {
  return match(
    'comment',
    0,
    info(COMMENT_LENGTH, (bytes) => bytes.write(text, 'latin1')),
  );
}

/** `-m multiport`: source or destination ports; a range is `[first, last]`. */
export function multiportMatch(
  side: 'source' | 'destination',
  ranges: readonly (readonly [number, number])[],
  isNegated: boolean,
): Extension {
  const bytes = Buffer.alloc(48);
  let place = 0;
  for (const [first, last] of ranges) {
    bytes.writeUInt16LE(first, 2 + 2 * place);
    if (last !== first) {
      bytes[32 + place] = 1;
      place += 1;
      bytes.writeUInt16LE(last, 2 + 2 * place);
    }
    place += 1;
  }
  bytes[0] = side === 'source' ? 0 : 1;
  bytes[1] = place;
  bytes[47] = isNegated ? 1 : 0;
  return match('multiport', 1, bytes);
}

/** `-m conntrack --ctstate`. */
export function conntrackStateMatch(states: number, isNegated: boolean): Extension {
  return match(
    'conntrack',
    3,
    info(168, (bytes) => {
      bytes.writeUInt16LE(1, 146);
      bytes.writeUInt16LE(isNegated ? 1 : 0, 148);
      bytes.writeUInt16LE(states, 150);
    }),
  );
}

/** `-m set --match-set`, with the kernel's number of the set; one direction for each dimension. */
export function setMatch(index: number, directions: readonly ('src' | 'dst')[], isNegated: boolean): Extension {
  return match(
    'set',
    4,
    info(48, (bytes) => {
      bytes.writeUInt16LE(index, 0);
      bytes[2] = directions.length;
      let flags = isNegated ? 1 : 0;
      for (const [dimension, direction] of directions.entries()) if (direction === 'src') flags |= 2 << dimension;
      bytes[3] = flags;
    }),
  );
}

/** `-m addrtype` of one side; masks of {@link ADDRESS_TYPES}. */
export function addressTypeMatch(
  side: 'source' | 'destination',
  types: number,
  isNegated: boolean,
  isOfOutInterface: boolean,
): Extension {
  return match(
    'addrtype',
    1,
    info(8, (bytes) => {
      bytes.writeUInt16LE(types, side === 'source' ? 0 : 2);
      const inverted = side === 'source' ? 1 : 2;
      bytes.writeUInt32LE((isNegated ? inverted : 0) | (isOfOutInterface ? 8 : 0), 4);
    }),
  );
}

/** `-m icmp` and `-m icmp6`; without a code all codes. */
export function icmpMatch(family: 4 | 6, type: number, code: number | null, isNegated: boolean): Extension {
  const bytes = Buffer.from([type, code ?? 0, code ?? 0xff, isNegated ? 1 : 0, 0, 0, 0, 0]);
  return match(family === 4 ? 'icmp' : 'icmp6', 0, bytes);
}

/** `-m rpfilter --invert --validmark`. */
export function failedReversePathMatch(): Extension {
  return match('rpfilter', 0, Buffer.from([0x0a, 0, 0, 0, 0, 0, 0, 0]));
}

/** `-m connlimit --connlimit-above N --connlimit-mask 0`. */
export function connectionLimitMatch(above: number): Extension {
  return match(
    'connlimit',
    1,
    info(32, (bytes) => bytes.writeUInt32LE(above, 16)),
  );
}

/** `-j MARK`: the bits of `mask` are cleared, then those of `value` flipped. */
export function markTarget(value: number, mask: number): Extension {
  return target(
    'MARK',
    2,
    info(8, (bytes) => {
      bytes.writeUInt32LE(value >>> 0, 0);
      bytes.writeUInt32LE(mask >>> 0, 4);
    }),
  );
}

/** `-j NOTRACK`, which iptables writes as a form of CT. */
export function notrackTarget(): Extension {
  return target(
    'CT',
    2,
    info(72, (bytes) => bytes.writeUInt16LE(3, 0)),
  );
}

/** `-j REJECT`: with a reset of TCP, or with "port unreachable". */
export function rejectTarget(family: 4 | 6, withReset: boolean): Extension {
  const reset = family === 4 ? 7 : 6;
  const unreachable = family === 4 ? 3 : 4;
  return target(
    'REJECT',
    0,
    info(8, (bytes) => bytes.writeUInt32LE(withReset ? reset : unreachable, 0)),
  );
}

/** `-j LOG`; the prefix is ASCII of at most 29 characters. */
export function logTarget(prefix: string, level: number): Extension {
  return target(
    'LOG',
    0,
    info(32, (bytes) => {
      bytes[0] = level;
      bytes.write(prefix, 2, 'latin1');
    }),
  );
}

/** `-j DSCP --set-dscp`. */
export function dscpTarget(value: number): Extension {
  return target('DSCP', 0, Buffer.from([value, 0, 0, 0, 0, 0, 0, 0]));
}

/** What a packet's address and ports are translated to. `flags` are of {@link NAT_RANGE}. */
export interface NatRange {
  readonly flags: number;
  /** Bytes of the one address; left out: the kernel chooses. */
  readonly address?: Buffer;
  readonly ports?: readonly [number, number];
}

/** `-j DNAT`, in the form for both families. */
export function dnatTarget(range: NatRange): Extension {
  return target(
    'DNAT',
    2,
    info(48, (bytes) => writeRange(bytes, range)),
  );
}

/** `-j SNAT` and `-j MASQUERADE`, whose structs are the same, but of another form in each family. */
export function sourceNatTarget(name: 'SNAT' | 'MASQUERADE', family: 4 | 6, range: NatRange): Extension {
  if (family === 6) {
    return target(
      name,
      name === 'SNAT' ? 1 : 0,
      info(40, (bytes) => writeRange(bytes, range)),
    );
  }
  return target(
    name,
    0,
    info(24, (bytes) => {
      bytes.writeUInt32LE(1, 0);
      bytes.writeUInt32LE(range.flags, 4);
      range.address?.copy(bytes, 8);
      range.address?.copy(bytes, 12);
      bytes.writeUInt16BE(range.ports?.[0] ?? 0, 16);
      bytes.writeUInt16BE(range.ports?.[1] ?? 0, 18);
    }),
  );
}

/** struct nf_nat_range: flags, two addresses of 16 bytes, two ports. */
function writeRange(bytes: Buffer, range: NatRange): void {
  bytes.writeUInt32LE(range.flags, 0);
  range.address?.copy(bytes, 4);
  range.address?.copy(bytes, 20);
  bytes.writeUInt16BE(range.ports?.[0] ?? 0, 36);
  bytes.writeUInt16BE(range.ports?.[1] ?? 0, 38);
}
