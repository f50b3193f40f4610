// What iptables-nft 1.8.9 makes of a rule's matches, in the forms of render.ts. Null is left to the tool.
import type { Family } from '../../model/family.js';
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import { type Expression, FIRST_REGISTER, HEADER, META } from '../../kernel/netlink/nf-expressions.js';
import {
  ADDRESS_TYPES,
  addressTypeMatch,
  commentMatch,
  CONNTRACK_STATES,
  connectionLimitMatch,
  conntrackStateMatch,
  failedReversePathMatch,
  icmpMatch,
  MULTIPORT_PLACES,
  multiportMatch,
  setMatch,
} from '../../kernel/netlink/xt-structs.js';
import { decimal, portRange, valueAndMask } from './rule-words.js';
import type { WordReader } from '../word-reader.js';

/** The rule that a match is part of. */
export interface MatchContext {
  readonly family: Family;
  /** The one protocol that the rule is for so far; 0 = more than one. */
  readonly protocol: number;
  findSet(name: string): IpsetNumber | null;
}

const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
const MAX_COMMENT = 255;
const MAX_PORT = 0xffff;
const FULL_MASK = 0xffff_ffff;
const DIRECTIONS = 3;
/** xt_limit counts in units of 0.1 ms; of other rates the tool makes something near. */
const LIMIT_SCALE = 10_000;
const DEFAULT_BURST = 5;
const MAX_BURST = 10_000;
/** `--tcp-flags FIN,SYN,RST,ACK SYN`: the first packet of a connection. */
const SYN = { offset: 13, mask: 0x17, value: 0x02 } as const;
const MAX_ICMP_TYPE = 254;

/** Whether ports may be named in a rule for this protocol. */
export function isPortProtocol(protocol: number): boolean {
  return protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp || protocol === PROTOCOL.sctp;
}

/** The expressions of `-m name`, whose options come next. */
export function compileMatch(rule: MatchContext, name: string, words: WordReader): readonly Expression[] | null {
  switch (name) {
    case 'comment':
      return commentOf(words);
    case 'mark':
      return markOf(words);
    case 'conntrack':
      return stateOf(words);
    case 'set':
      return setOf(rule, words);
    case 'multiport':
      return portsOf(rule, words);
    case 'addrtype':
      return addressTypeOf(words);
    case 'icmp':
    case 'icmp6':
      return icmpOf(rule, name, words);
    case 'tcp':
      return flagsOf(rule, words);
    case 'limit':
      return limitOf(words);
    case 'connlimit':
      return connectionLimitOf(words);
    case 'rpfilter':
      return words.take('--invert') && words.take('--validmark') ? [failedReversePathMatch()] : null;
    default:
      return null;
  }
}

/** The test that `--dport` is in a rule for TCP or UDP. */
export function portTest(rule: MatchContext, text: string): readonly Expression[] | null {
  const port = decimal(text, MAX_PORT);
  if (port === null || (rule.protocol !== PROTOCOL.tcp && rule.protocol !== PROTOCOL.udp)) return null;
  const value = Buffer.alloc(2);
  value.writeUInt16BE(port);
  return [
    { kind: 'payload', base: HEADER.transport, offset: 2, length: 2, register: FIRST_REGISTER },
    { kind: 'compare', negated: false, value },
  ];
}

/** The text of a comment can be any; the tool takes 255 characters. */
export function isComment(text: string): boolean {
  return text !== '' && text.length <= MAX_COMMENT;
}

function commentOf(words: WordReader): readonly Expression[] | null {
  if (!words.take('--comment')) return null;
  const text = words.next();
  return isComment(text) ? [commentMatch(text)] : null;
}

function markOf(words: WordReader): readonly Expression[] | null {
  const negated = words.take('!');
  const bits = words.take('--mark') ? valueAndMask(words.next()) : null;
  // With the whole mask the tool leaves out the masking.
  if (bits === null || bits.mask === FULL_MASK) return null;
  return [
    { kind: 'meta', key: META.mark, register: FIRST_REGISTER },
    { kind: 'bitwise', mask: u32(bits.mask), xor: u32(0) },
    { kind: 'compare', negated, value: u32(bits.value) },
  ];
}

function stateOf(words: WordReader): readonly Expression[] | null {
  const isNegated = words.take('!');
  if (!words.take('--ctstate')) return null;
  let states = 0;
  for (const name of words.next().split(',')) {
    const state = CONNTRACK_STATES.get(name);
    if (state === undefined) return null;
    states |= state;
  }
  return [conntrackStateMatch(states, isNegated)];
}

function setOf(rule: MatchContext, words: WordReader): readonly Expression[] | null {
  const isNegated = words.take('!');
  if (!words.take('--match-set')) return null;
  const set = rule.findSet(words.next());
  const directions = words.next().split(',');
  if (set === null || directions.length > DIRECTIONS || !directions.every(isDirection)) return null;
  return set.family === rule.family ? [setMatch(set.index, directions, isNegated)] : null;
}

function isDirection(text: string): text is 'src' | 'dst' {
  return text === 'src' || text === 'dst';
}

function portsOf(rule: MatchContext, words: WordReader): readonly Expression[] | null {
  if (!isPortProtocol(rule.protocol)) return null;
  const isNegated = words.take('!');
  const side = words.take('--source-ports') ? 'source' : words.take('--destination-ports') ? 'destination' : null;
  if (side === null) return null;
  const ranges: (readonly [number, number])[] = [];
  let places = 0;
  for (const text of words.next().split(',')) {
    const range = portRange(text, ':');
    if (range === null) return null;
    places += range[0] === range[1] ? 1 : 2;
    ranges.push(range);
  }
  return places > MULTIPORT_PLACES ? null : [multiportMatch(side, ranges, isNegated)];
}

function addressTypeOf(words: WordReader): readonly Expression[] | null {
  const isNegated = words.take('!');
  const side = words.take('--src-type') ? 'source' : words.take('--dst-type') ? 'destination' : null;
  const types = ADDRESS_TYPES.get(side === null ? '' : words.next());
  if (side === null || types === undefined) return null;
  return [addressTypeMatch(side, types, isNegated, words.take('--limit-iface-out'))];
}

function icmpOf(rule: MatchContext, name: 'icmp' | 'icmp6', words: WordReader): readonly Expression[] | null {
  const isOfFamily = rule.family === 4 ? name === 'icmp' : name === 'icmp6';
  if (!isOfFamily || rule.protocol !== (rule.family === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6)) return null;
  const isNegated = words.take('!');
  if (!words.take(rule.family === 4 ? '--icmp-type' : '--icmpv6-type')) return null;
  const [typeText = '', codeText, ...rest] = words.next().split('/');
  const type = decimal(typeText, MAX_ICMP_TYPE);
  const code = codeText === undefined ? undefined : decimal(codeText, 0xff);
  if (type === null || code === null || rest.length > 0) return null;
  return [icmpMatch(rule.family, type, code ?? null, isNegated)];
}

function flagsOf(rule: MatchContext, words: WordReader): readonly Expression[] | null {
  const isSyn = words.take('--tcp-flags') && words.take('FIN,SYN,RST,ACK') && words.take('SYN');
  if (!isSyn || rule.protocol !== PROTOCOL.tcp) return null;
  return [
    { kind: 'payload', base: HEADER.transport, offset: SYN.offset, length: 1, register: FIRST_REGISTER },
    { kind: 'bitwise', mask: Buffer.from([SYN.mask]), xor: Buffer.alloc(1) },
    { kind: 'compare', negated: false, value: Buffer.from([SYN.value]) },
  ];
}

function limitOf(words: WordReader): readonly Expression[] | null {
  const [, rateText = ''] = (words.take('--limit') ? /^(\d+)\/sec$/.exec(words.next()) : null) ?? [];
  const rate = decimal(rateText, LIMIT_SCALE);
  const burst = words.take('--limit-burst') ? decimal(words.next(), MAX_BURST) : DEFAULT_BURST;
  if (rate === null || rate === 0 || LIMIT_SCALE % rate !== 0 || burst === null || burst === 0) return null;
  return [{ kind: 'limit', rate, seconds: 1, burst }];
}

function connectionLimitOf(words: WordReader): readonly Expression[] | null {
  const above = words.take('--connlimit-above') ? decimal(words.next(), FULL_MASK) : null;
  return above !== null && words.take('--connlimit-mask') && words.take('0') ? [connectionLimitMatch(above)] : null;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}
