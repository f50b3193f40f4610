// Prints rules as nft text (dataplane.md 3.12, 3.13, 5.1). The text is hashed and the hash compared with what is in
// the kernel, so every character counts. Runs over all rules at start: plain concatenation, no arrays.
import type { Action } from '../../model/action.js';
import type { Rule } from '../../model/chain.js';
import type { TableName } from '../../model/family.js';
import type { Features } from '../../model/features.js';
import type { Match, PortRange } from '../../model/match.js';
import { BugError } from '../../base/errors.js';
import { safeComment } from '../comment.js';
import { interfaceText } from './interface-text.js';

/** What the text of a rule depends on besides the rule. `arp` is the table `arp calico-arp`. */
export interface NftTextContext {
  readonly family: 4 | 6 | 'arp';
  readonly features: Features;
  readonly layer: TableName;
}

/** NFTNL_UDATA_COMMENT_MAXLEN: longest comment of a rule. */
const MAX_COMMENT_LENGTH = 128;

/** NF_LOG_PREFIXLEN less the zero and the `: ` that follows. Longer ones are refused, and far longer ones crash nft 1.0.6. */
const MAX_LOG_PREFIX_LENGTH = 128 - 1 - 2;

/** Bytes of a packet that a log statement copies. */
const SNAPLEN = 80;

/** Name of a chain or map in the kernel: `<layer>-<name>`, unless it has that prefix. */
export function layerName(layer: TableName, name: string): string {
  return name.startsWith(`${layer}-`) ? name : `${layer}-${name}`;
}

/** Name of a set in the kernel: nft takes no colon. */
export function nftSetName(name: string): string {
  // One for each rule that uses a set: replaceAll costs several times this.
  let text = name;
  for (let at = text.indexOf(':'); at >= 0; at = text.indexOf(':', at))
    text = `${text.slice(0, at)}-${text.slice(at + 1)}`;
  return text;
}

/**
 * The rule as it stands after `add rule <table> <chain> `, without its comment: match, `counter` and action.
 * `continue` if the rule has neither; no `counter` without action.
 */
export function renderRuleText(rule: Rule, ctx: NftTextContext): string {
  let text = '';
  for (const match of rule.match) text += text === '' ? renderMatch(match, ctx) : ` ${renderMatch(match, ctx)}`;
  if (rule.action !== undefined) text += `${text === '' ? '' : ' '}counter ${renderAction(rule.action, ctx)}`;
  return text === '' ? 'continue' : text;
}

/** The comment, unquoted: `cali:HASH; first second`, at most 128 characters of plain ASCII. */
export function renderComment(rule: Rule, hash: string): string {
  let text = `cali:${hash};`;
  const comments = rule.comments;
  if (comments === undefined || comments.length === 0) return text;
  const maxEach = Math.floor((MAX_COMMENT_LENGTH - text.length) / comments.length);
  for (const comment of comments) text += ` ${safeComment(comment, maxEach)}`;
  return text.length > MAX_COMMENT_LENGTH ? text.slice(0, MAX_COMMENT_LENGTH) : text;
}

function renderMatch(match: Match, ctx: NftTextContext): string {
  switch (match.kind) {
    case 'mark-clear':
      return `meta mark & ${hex(match.mask)} == 0`;
    case 'mark-not-clear':
      return `meta mark & ${hex(match.mask)} != 0`;
    case 'mark-value':
      return `meta mark & ${hex(match.mask)} ${match.negated === true ? '!=' : '=='} ${hex(match.value)}`;
    case 'protocol':
      return `meta l4proto ${not(match)}${match.protocol}`;
    case 'in-interface':
      return `iifname ${interfaceText(match.name, match.wildcard === true)}`;
    case 'out-interface':
      return `oifname ${interfaceText(match.name, match.wildcard === true)}`;
    case 'source-net':
      return `${ip(ctx)} saddr ${not(match)}${match.net}`;
    case 'dest-net':
      return `${ip(ctx)} daddr ${not(match)}${match.net}`;
    case 'source-set':
      return `${ip(ctx)} saddr ${not(match)}@${nftSetName(match.set)}`;
    case 'dest-set':
      return `${ip(ctx)} daddr ${not(match)}@${nftSetName(match.set)}`;
    case 'source-port-set':
      return `${ip(ctx)} saddr . meta l4proto . th sport ${not(match)}@${nftSetName(match.set)}`;
    case 'dest-port-set':
      return `${ip(ctx)} daddr . meta l4proto . th dport ${not(match)}@${nftSetName(match.set)}`;
    case 'source-ports':
      return `${transport(match.protocol)} sport ${not(match)}${portList(match.ports)}`;
    case 'dest-ports':
      return `${transport(match.protocol)} dport ${not(match)}${portList(match.ports)}`;
    case 'dest-port':
      return `${transport(match.protocol)} dport ${match.port}`;
    case 'conntrack-state':
      return `ct state ${not(match)}${match.states.join(',').toLowerCase()}`;
    case 'conntrack-dnat':
      // `!=` would compare the whole status word; `!` tests the bit (differences.md row 2).
      return match.negated === true ? 'ct status ! dnat' : 'ct status dnat';
    case 'source-address-type':
      return `fib saddr ${match.limitInterfaceOut === true ? '. oif ' : ''}type ${not(match)}${match.type.toLowerCase()}`;
    case 'dest-address-type':
      return `fib daddr type ${match.type.toLowerCase()}`;
    case 'icmp-type':
      return `${icmp(ctx)} type ${not(match)}${match.type}`;
    case 'icmp-type-code':
      // Felix's `icmp type T code C` is no valid nft (differences.md row 3).
      return `${icmp(ctx)} type . ${icmp(ctx)} code ${not(match)}{ ${match.type} . ${match.code} }`;
    case 'limit':
      return `limit rate ${match.rate}${match.burst === 0 ? '' : ` burst ${match.burst} packets`}`;
    case 'rpf-failed':
      return 'fib saddr . mark . iif oif 0';
    case 'in-interface-map':
      return `iifname vmap @${layerName(ctx.layer, match.map)}`;
    case 'out-interface-map':
      return `oifname vmap @${layerName(ctx.layer, match.map)}`;
    case 'arp-reply-from':
      return `arp operation reply arp saddr ip ${match.address}`;
  }
}

function renderAction(action: Action, ctx: NftTextContext): string {
  switch (action.kind) {
    case 'accept':
    case 'drop':
    case 'return':
    case 'notrack':
      return action.kind;
    case 'reject':
      return action.with === undefined ? 'reject' : 'reject with tcp reset';
    case 'jump':
      return `jump ${layerName(ctx.layer, action.chain)}`;
    case 'goto':
      return `goto ${layerName(ctx.layer, action.chain)}`;
    case 'set-mark':
      return `meta mark set mark or ${hex(action.mask)}`;
    case 'clear-mark':
      return `meta mark set mark & ${hex(~action.mask >>> 0)}`;
    case 'set-masked-mark':
      return `meta mark set mark & ${hex(~action.mask >>> 0)} ^ ${hex(action.value)}`;
    case 'log':
      return `log prefix "${logPrefix(action.prefix)}: " level info`;
    case 'nflog':
      return `log prefix "${action.prefix}" snaplen ${SNAPLEN} group ${action.group}`;
    case 'dnat':
      return `dnat to ${hostPort(action.address, action.port)}`;
    case 'snat':
      return `snat to ${hostPort(action.address, action.ports)}${ctx.features.snatFullyRandom ? ' fully-random' : ''}`;
    case 'masquerade':
      return `masquerade${action.ports === undefined ? '' : ` to :${action.ports}`}${ctx.features.masqueradeFullyRandom ? ' fully-random' : ''}`;
    case 'dscp':
      return `${ip(ctx)} dscp set ${action.value}`;
    case 'limit-packet-rate':
      return `limit rate over ${action.perSecond}/second burst ${action.burst} packets drop`;
    case 'limit-connections':
      return `ct count over ${action.max} reject with tcp reset`;
    case 'flow-offload':
      return `flow offload @${action.flowtable}`;
  }
}

function logPrefix(prefix: string): string {
  if (Buffer.byteLength(prefix) <= MAX_LOG_PREFIX_LENGTH) return prefix;
  let text = prefix.slice(0, MAX_LOG_PREFIX_LENGTH);
  while (Buffer.byteLength(text) > MAX_LOG_PREFIX_LENGTH) text = text.slice(0, -1);
  return text;
}

function not(match: { readonly negated?: boolean }): string {
  return match.negated === true ? '!= ' : '';
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function ip(ctx: NftTextContext): string {
  return ctx.family === 6 ? 'ip6' : 'ip';
}

function icmp(ctx: NftTextContext): string {
  return ctx.family === 6 ? 'icmpv6' : 'icmp';
}

// nft knows ports only below a named transport header.
function transport(protocol: string | number): string {
  switch (protocol) {
    case 'tcp':
    case 6:
      return 'tcp';
    case 'udp':
    case 17:
      return 'udp';
    case 'sctp':
    case 132:
      return 'sctp';
    default:
      throw new BugError(
        `protocol ${protocol} has no ports in nft; the renderer must refuse the rule before it is printed`,
      );
  }
}

function portList(ports: readonly PortRange[]): string {
  let text = '{ ';
  for (const { first, last } of ports) {
    if (text.length > 2) text += ', ';
    text += first === last ? `${first}` : `${first}-${last}`;
  }
  return `${text} }`;
}

function hostPort(address: string, port: number | string | undefined): string {
  if (port === undefined) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
