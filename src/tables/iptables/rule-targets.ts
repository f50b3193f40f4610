// What iptables-nft 1.8.9 makes of the target of a rule, in the forms of render.ts. Null is left to the tool.
import type { Family, TableName } from '../../model/family.js';
import { type Expression, VERDICT_CODE } from '../../kernel/netlink/nf-expressions.js';
import {
  dnatTarget,
  dscpTarget,
  logTarget,
  markTarget,
  NAT_RANGE,
  notrackTarget,
  rejectTarget,
  sourceNatTarget,
} from '../../kernel/netlink/xt-structs.js';
import { addressAndPorts, decimal, portRange, valueAndMask } from './rule-words.js';
import type { WordReader } from '../word-reader.js';

/** The rule that a target ends. */
export interface RuleContext {
  readonly family: Family;
  readonly table: TableName;
  /** The rule is only for packets with ports. */
  readonly hasPorts: boolean;
  /** The rule is only for TCP. */
  readonly isTcp: boolean;
}

/** iptables(8): names of chains have fewer than 29 characters. */
const MAX_CHAIN_NAME = 28;
const MAX_LOG_PREFIX = 29;
const MAX_LOG_GROUP = 0xffff;
const MAX_NFLOG_PREFIX = 63;
const MAX_DSCP = 63;
const SYSLOG_LEVELS = 7;

/** A chain of Calico's with a name that the tool takes; no extension can have such a name. */
export function isChainName(name: string): boolean {
  return name.startsWith('cali-') && name.length <= MAX_CHAIN_NAME;
}

/** The one expression of a target whose words are the rest of the rule. */
export function compileTarget(context: RuleContext, verb: 'jump' | 'goto', words: WordReader): Expression | null {
  const name = words.next();
  if (isChainName(name)) return words.isAtEnd ? { kind: 'verdict', code: VERDICT_CODE[verb], chain: name } : null;
  const target = verb === 'goto' ? null : compileNamed(context, name, words);
  return target !== null && words.isAtEnd ? target : null;
}

function compileNamed(context: RuleContext, name: string, words: WordReader): Expression | null {
  switch (name) {
    case 'ACCEPT':
      return { kind: 'verdict', code: VERDICT_CODE.accept };
    case 'DROP':
      // The tool refuses to filter in nat, the kernel does not.
      return context.table === 'nat' ? null : { kind: 'verdict', code: VERDICT_CODE.drop };
    case 'RETURN':
      return { kind: 'verdict', code: VERDICT_CODE.return };
    case 'MARK':
      return compileMark(words);
    case 'NOTRACK':
      return notrackTarget();
    case 'REJECT':
      return compileReject(context, words);
    case 'LOG':
      return compileLog(words);
    case 'NFLOG':
      return compileNflog(words);
    case 'DSCP':
      return compileDscp(words);
    default:
      return compileNat(context, name, words);
  }
}

function compileMark(words: WordReader): Expression | null {
  const bits = words.take('--set-mark') ? valueAndMask(words.next()) : null;
  return bits === null ? null : markTarget(bits.value, (bits.value | bits.mask) >>> 0);
}

function compileReject(context: RuleContext, words: WordReader): Expression | null {
  if (words.isAtEnd) return rejectTarget(context.family, false);
  const isReset = words.take('--reject-with') && words.take('tcp-reset') && context.isTcp;
  return isReset ? rejectTarget(context.family, true) : null;
}

function compileLog(words: WordReader): Expression | null {
  const prefix = words.take('--log-prefix') ? words.next() : '';
  const level = words.take('--log-level') ? decimal(words.next(), SYSLOG_LEVELS) : null;
  return prefix === '' || prefix.length > MAX_LOG_PREFIX || level === null ? null : logTarget(prefix, level);
}

function compileNflog(words: WordReader): Expression | null {
  const group = words.take('--nflog-group') ? decimal(words.next(), MAX_LOG_GROUP) : null;
  const prefix = words.take('--nflog-prefix') ? words.next() : '';
  const bytes = words.take('--nflog-size') ? decimal(words.next(), Number.MAX_SAFE_INTEGER) : null;
  if (group === null || prefix === '' || prefix.length > MAX_NFLOG_PREFIX || bytes === null || bytes === 0) return null;
  return { kind: 'log', group, prefix, bytes };
}

function compileDscp(words: WordReader): Expression | null {
  const value = words.take('--set-dscp') ? decimal(words.next(), MAX_DSCP) : null;
  return value === null ? null : dscpTarget(value);
}

function compileNat(context: RuleContext, name: string, words: WordReader): Expression | null {
  switch (name) {
    case 'DNAT': {
      const to = words.take('--to-destination') ? addressAndPorts(context.family, words.next()) : null;
      if (to === null || (to.ports !== null && !context.hasPorts)) return null;
      // The tool has a third number for a shift between ranges of ports.
      if (to.ports !== null && to.ports[0] !== to.ports[1]) return null;
      const flags = NAT_RANGE.addresses | (to.ports === null ? 0 : NAT_RANGE.ports);
      return dnatTarget({ flags, address: to.address, ...(to.ports === null ? {} : { ports: to.ports }) });
    }
    case 'SNAT': {
      const to = words.take('--to-source') ? addressAndPorts(context.family, words.next()) : null;
      if (to === null || (to.ports !== null && !context.hasPorts)) return null;
      const flags = NAT_RANGE.addresses | (to.ports === null ? 0 : NAT_RANGE.ports) | randomly(words);
      return sourceNatTarget('SNAT', context.family, {
        flags,
        address: to.address,
        ...(to.ports === null ? {} : { ports: to.ports }),
      });
    }
    case 'MASQUERADE': {
      const ports = words.take('--to-ports') ? portRange(words.next(), '-') : undefined;
      if (ports === null || (ports !== undefined && !context.hasPorts)) return null;
      const flags = (ports === undefined ? 0 : NAT_RANGE.ports) | randomly(words);
      return sourceNatTarget('MASQUERADE', context.family, { flags, ...(ports === undefined ? {} : { ports }) });
    }
    default:
      return null;
  }
}

function randomly(words: WordReader): number {
  return words.take('--random-fully') ? NAT_RANGE.fullyRandom : 0;
}
