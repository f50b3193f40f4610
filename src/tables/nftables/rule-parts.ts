// Expressions that very many rules have in common, with their bytes made once, and where things stand in packets.
import { constant, type Expression, FIRST_REGISTER, HEADER, META } from '../../kernel/netlink/nf-expressions.js';

const ARP_REPLY_OPERATION = 2;

/** A number in host order, as marks and states are compared. */
export function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

/** A number in network order, as ports are compared. */
export function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** Where something stands in a packet. */
export interface Place {
  readonly base: number;
  readonly offset: number;
  readonly length: number;
}

/** Loads what stands there into the first register. */
export function payload({ base, offset, length }: Place): Extract<Expression, { kind: 'payload' }> {
  return { kind: 'payload', base, offset, length, register: FIRST_REGISTER };
}

/** An address, and how all of it is loaded. */
export interface AddressPlace extends Place {
  readonly load: Expression;
}

function address(offset: number, length: number): AddressPlace {
  const place = { base: HEADER.network, offset, length };
  return { ...place, load: constant(payload(place)) };
}

/** Where things stand in the headers of a family. */
export const LAYOUT = {
  ip: { word: 'ip', length: 4, saddr: address(12, 4), daddr: address(16, 4) },
  ip6: { word: 'ip6', length: 16, saddr: address(8, 16), daddr: address(24, 16) },
  arp: { word: 'arp', length: 4, saddr: address(14, 4), daddr: address(24, 4) },
} as const;

/** Where ports stand, whatever the protocol. */
export const PORTS = {
  sport: { base: HEADER.transport, offset: 0, length: 2 },
  dport: { base: HEADER.transport, offset: 2, length: 2 },
} as const;

export const COUNTER = constant({ kind: 'counter' });
export const LOAD_MARK = constant({ kind: 'meta', key: META.mark, register: FIRST_REGISTER });
export const SET_MARK = constant({ kind: 'set-mark' });
export const LOAD_INTERFACE = {
  iifname: constant({ kind: 'meta', key: META.iifname, register: FIRST_REGISTER }),
  oifname: constant({ kind: 'meta', key: META.oifname, register: FIRST_REGISTER }),
} as const;
export const LOAD_PORT = { sport: constant(payload(PORTS.sport)), dport: constant(payload(PORTS.dport)) } as const;
/** Whether an ARP packet is a reply. */
export const ARP_REPLY = constant(payload({ base: HEADER.network, offset: 6, length: 2 }), {
  kind: 'compare',
  negated: false,
  value: u16(ARP_REPLY_OPERATION),
});

const LOAD_PROTOCOL = constant({ kind: 'meta', key: META.protocol, register: FIRST_REGISTER });
/** Protocol, or -1 less it for a negated test → the test. */
const PROTOCOL_TESTS = new Map<number, Expression>();

/** The test of l4proto for a number up to 255. */
export function protocolTest(protocol: number, negated: boolean): Expression {
  const key = negated ? -1 - protocol : protocol;
  let test = PROTOCOL_TESTS.get(key);
  if (test === undefined) {
    test = constant(LOAD_PROTOCOL, { kind: 'compare', negated, value: Buffer.from([protocol]) });
    PROTOCOL_TESTS.set(key, test);
  }
  return test;
}
