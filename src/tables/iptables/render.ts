// Prints rules as iptables-restore text (dataplane.md 3.12 and 3.13). The text is hashed and compared with what is
// in the kernel, so every character counts. Runs over all rules at start: plain concatenation, no arrays.
import type { Action } from '../../model/action.js';
import type { Rule } from '../../model/chain.js';
import type { Family } from '../../model/family.js';
import type { Features } from '../../model/features.js';
import type { Match, PortRange } from '../../model/match.js';
import { BugError } from '../../base/errors.js';
import { safeComment } from '../comment.js';

/** What the text of a rule depends on besides the rule. */
export interface TextContext {
  readonly family: Family;
  readonly features: Features;
}

/** Longest comment iptables takes (xt_comment: 256 with the terminating zero, which Felix does not count). */
const MAX_COMMENT_LENGTH = 256;

/** Bytes of a packet that NFLOG copies. */
const NFLOG_SIZE = 80;

/**
 * The rule as it stands after `-A <chain> `, hash comment first: `-m comment --comment "cali:HASH" …`. With an empty
 * `hash` there is no hash comment.
 */
export function renderRuleText(rule: Rule, hash: string, ctx: TextContext): string {
  const body = renderBody(rule, ctx);
  return hash === '' ? body.trimStart() : hashComment(hash) + body;
}

/** The hash comment as iptables option, without spaces around it. */
export function hashComment(hash: string): string {
  return `-m comment --comment "cali:${hash}"`;
}

/** Comments, match and action, each with one leading space; empty for an empty rule. */
export function renderBody(rule: Rule, ctx: TextContext): string {
  let text = '';
  if (rule.comments !== undefined) {
    for (const comment of rule.comments) text += ` -m comment --comment "${safeComment(comment, MAX_COMMENT_LENGTH)}"`;
  }
  for (const match of rule.match) text += ` ${renderMatch(match, ctx)}`;
  if (rule.action !== undefined) text += ` ${renderAction(rule.action, ctx)}`;
  return text;
}

function renderMatch(match: Match, ctx: TextContext): string {
  switch (match.kind) {
    case 'mark-clear':
      return `-m mark --mark 0/${hex(match.mask)}`;
    case 'mark-not-clear':
      return `-m mark ! --mark 0/${hex(match.mask)}`;
    case 'mark-value':
      return `-m mark ${not(match)}--mark ${hex(match.value)}/${hex(match.mask)}`;
    case 'protocol':
      return `${not(match)}-p ${match.protocol}`;
    case 'in-interface':
      return `--in-interface ${match.name}${match.wildcard === true ? '+' : ''}`;
    case 'out-interface':
      return `--out-interface ${match.name}${match.wildcard === true ? '+' : ''}`;
    case 'source-net':
      return `${not(match)}--source ${match.net}`;
    case 'dest-net':
      return `${not(match)}--destination ${match.net}`;
    case 'source-set':
      return `-m set ${not(match)}--match-set ${match.set} src`;
    case 'dest-set':
      return `-m set ${not(match)}--match-set ${match.set} dst`;
    case 'source-port-set':
      return `-m set ${not(match)}--match-set ${match.set} src,src`;
    case 'dest-port-set':
      return `-m set ${not(match)}--match-set ${match.set} dst,dst`;
    case 'source-ports':
      return `-m multiport ${not(match)}--source-ports ${portList(match.ports)}`;
    case 'dest-ports':
      return `-m multiport ${not(match)}--destination-ports ${portList(match.ports)}`;
    case 'dest-port':
      return `--dport ${match.port}`;
    case 'conntrack-state':
      return `-m conntrack ${not(match)}--ctstate ${match.states.join(',')}`;
    case 'conntrack-dnat':
      return `-m conntrack ${not(match)}--ctstate DNAT`;
    case 'source-address-type':
      return `-m addrtype ${not(match)}--src-type ${match.type}${match.limitInterfaceOut === true ? ' --limit-iface-out' : ''}`;
    case 'dest-address-type':
      return `-m addrtype --dst-type ${match.type}`;
    case 'icmp-type':
      return icmpMatch(ctx.family, not(match), `${match.type}`);
    case 'icmp-type-code':
      return icmpMatch(ctx.family, not(match), `${match.type}/${match.code}`);
    case 'limit':
      return `-m limit --limit ${match.rate}${match.burst === 0 ? '' : ` --limit-burst ${match.burst}`}`;
    case 'rpf-failed':
      return '-m rpfilter --invert --validmark';
    case 'in-interface-map':
    case 'out-interface-map':
    case 'arp-reply-from':
      throw new BugError(`match ${match.kind} has no iptables form; it must not reach the iptables printer`);
  }
}

function renderAction(action: Action, ctx: TextContext): string {
  switch (action.kind) {
    case 'accept':
      return '--jump ACCEPT';
    case 'drop':
      return '--jump DROP';
    case 'return':
      return '--jump RETURN';
    case 'notrack':
      return '--jump NOTRACK';
    case 'reject':
      return action.with === undefined ? '--jump REJECT' : `--jump REJECT --reject-with ${action.with}`;
    case 'jump':
      return `--jump ${action.chain}`;
    case 'goto':
      return `--goto ${action.chain}`;
    case 'set-mark':
      return `--jump MARK --set-mark ${hex(action.mask)}/${hex(action.mask)}`;
    case 'clear-mark':
      return `--jump MARK --set-mark 0/${hex(action.mask)}`;
    case 'set-masked-mark':
      return `--jump MARK --set-mark ${hex(action.value)}/${hex(action.mask)}`;
    case 'log':
      return `--jump LOG --log-prefix "${action.prefix}: " --log-level 5`;
    case 'nflog':
      return `--jump NFLOG --nflog-group ${action.group} --nflog-prefix ${action.prefix} ${ctx.features.nflogSize ? '--nflog-size' : '--nflog-range'} ${NFLOG_SIZE}`;
    case 'dnat':
      return `--jump DNAT --to-destination ${hostPort(action.address, action.port)}`;
    case 'snat':
      return `--jump SNAT --to-source ${hostPort(action.address, action.ports)}${ctx.features.snatFullyRandom ? ' --random-fully' : ''}`;
    case 'masquerade':
      return `--jump MASQUERADE${action.ports === undefined ? '' : ` --to-ports ${action.ports}`}${ctx.features.masqueradeFullyRandom ? ' --random-fully' : ''}`;
    case 'dscp':
      return `--jump DSCP --set-dscp ${action.value}`;
    case 'limit-packet-rate':
      return `-m limit --limit ${action.perSecond}/sec --limit-burst ${action.burst} --jump MARK --set-mark ${hex(action.mark)}/${hex(action.mark)}`;
    case 'limit-connections':
      return `-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit --connlimit-above ${action.max} --connlimit-mask 0 -j REJECT --reject-with tcp-reset`;
    case 'flow-offload':
      throw new BugError('flow offload has no iptables form; it must not reach the iptables printer');
  }
}

function not(match: { readonly negated?: boolean }): string {
  return match.negated === true ? '! ' : '';
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function icmpMatch(family: Family, negation: string, type: string): string {
  return family === 4 ? `-m icmp ${negation}--icmp-type ${type}` : `-m icmp6 ${negation}--icmpv6-type ${type}`;
}

function portList(ports: readonly PortRange[]): string {
  let text = '';
  for (const { first, last } of ports) {
    if (text !== '') text += ',';
    text += first === last ? `${first}` : `${first}:${last}`;
  }
  return text;
}

function hostPort(address: string, port: number | string | undefined): string {
  if (port === undefined) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
