// Chains of policies and profiles: one rule message becomes the rules that mark, log and act
// (dataplane.md 3.5 steps 9 to 11).
import { RefusedError } from '../base/errors.js';
import type { Action } from '../model/action.js';
import type { Chain, Rule } from '../model/chain.js';
import type { TableName } from '../model/family.js';
import { isStagedPolicy, policyChainName, policyIdText, profileChainName, shortPolicyKind } from '../model/names.js';
import type { Match } from '../model/match.js';
import type { Policy, PolicyID, Profile, Rule as ProtoRule } from '../protocol/gen/felix/felixbackend_pb.js';
import { acceptsReject, denyAction, DROP, markSet, type RenderContext, RETURN, rule, setMark } from './context.js';
import { nflogAction, type NflogVerdict, ruleNflogPrefix } from './nflog.js';
import { matchProtoRule } from './policy-match.js';
import type { Direction } from './renderer.js';
import { refuse } from './rule-checks.js';

/** Whose rules are rendered; everything that log texts need. */
interface Owner {
  readonly type: 'policy' | 'profile';
  /** Id in NFLOG prefixes: `np/ns/name` or a profile's name. */
  readonly id: string;
  /** First words of the chain comment, and how refusals name it: `NetworkPolicy ns/name`. */
  readonly title: string;
  readonly shortKind: string;
  readonly namespace: string;
  readonly name: string;
  readonly tier: string;
  /** Rules send no flow logs: untracked policies sit in the raw table, where speed is the point. */
  readonly quiet: boolean;
}

/** Both chains of a policy, none for staged kinds. A chain that can't be rendered drops everything. */
export function renderPolicyChains(ctx: RenderContext, id: PolicyID, policy: Policy): Chain[] {
  if (isStagedPolicy(id)) return [];
  const path = id.namespace === '' ? id.name : `${id.namespace}/${id.name}`;
  const owner: Owner = {
    type: 'policy',
    id: policyIdText(id),
    title: `${id.kind} ${path}`,
    shortKind: shortPolicyKind(id.kind),
    namespace: id.namespace,
    name: id.name,
    tier: policy.tier,
    quiet: policy.untracked,
  };
  return (['ingress', 'egress'] as const).map((direction) => {
    const rules = direction === 'ingress' ? policy.inboundRules : policy.outboundRules;
    return renderChain(ctx, policyChainName(direction, id, ctx.backend), owner, direction, rules);
  });
}

/** Both chains of a profile; see {@link renderPolicyChains}. */
export function renderProfileChains(
  ctx: RenderContext,
  name: string,
  profile: Profile,
): { inbound: Chain; outbound: Chain } {
  const owner: Owner = {
    type: 'profile',
    id: name,
    title: `Profile ${name}`,
    shortKind: 'pro',
    namespace: '',
    name,
    tier: '',
    quiet: false,
  };
  const chainName = (direction: Direction): string => profileChainName(direction, name, ctx.backend);
  return {
    inbound: renderChain(ctx, chainName('ingress'), owner, 'ingress', profile.inboundRules),
    outbound: renderChain(ctx, chainName('egress'), owner, 'egress', profile.outboundRules),
  };
}

/**
 * Chains of policies and profiles as one table takes them: REJECT becomes DROP where it is refused. The very same
 * array when that changes nothing.
 */
export function policyChainsInTable(ctx: RenderContext, table: TableName, chains: readonly Chain[]): readonly Chain[] {
  if (ctx.config.filterDenyAction[ctx.backend] === 'DROP') return chains;
  const adapted = chains.map((chain) => {
    const direction = /^cali-p(?:i|ri)-/.test(chain.name) ? 'ingress' : 'egress';
    if (acceptsReject(ctx.backend, table, direction)) return chain;
    return { ...chain, rules: chain.rules.map(withoutReject) };
  });
  return adapted.some((chain, index) => chain !== chains[index]) ? adapted : chains;
}

function withoutReject(each: Rule): Rule {
  return each.action?.kind === 'reject' ? { ...each, action: DROP } : each;
}

function renderChain(
  ctx: RenderContext,
  name: string,
  owner: Owner,
  direction: Direction,
  protoRules: readonly ProtoRule[],
): Chain {
  try {
    return { name, rules: renderRules(ctx, owner, direction, protoRules) };
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    return closedChain(name, error.message, `${owner.title} ${direction}`);
  }
}

/** What stands in the place of a chain that can't be rendered. DROP is the one action that every table takes. */
export function closedChain(name: string, reason: string, ...comments: readonly string[]): Chain {
  return { name, rules: [rule([], DROP, ...comments, 'Refused')], refused: reason };
}

function renderRules(
  ctx: RenderContext,
  owner: Owner,
  direction: Direction,
  protoRules: readonly ProtoRule[],
): readonly Rule[] {
  const rules = protoRules.flatMap((proto, index) => renderRule(ctx, owner, direction, proto, index));
  // A return at the end of a chain does what the end of the chain does.
  while (rules.at(-1)?.action?.kind === 'return') rules.pop();
  const [first = { match: [] }, ...others] = rules;
  return [{ ...first, comments: [...(first.comments ?? []), `${owner.title} ${direction}`] }, ...others];
}

function renderRule(ctx: RenderContext, owner: Owner, direction: Direction, proto: ProtoRule, index: number): Rule[] {
  const object = `${owner.title} ${direction} rule ${index}`;
  const matched = matchProtoRule(ctx, proto, object);
  if (matched === null) return [];
  const rules = [...matched.blocks, ...renderActions(ctx, owner, direction, proto, index, matched.match)];
  const comments = annotationComments(proto);
  return comments.length === 0 ? rules : rules.map((each) => ({ ...each, comments }));
}

// Sorted: the map of the message has no order, and comments are part of the hash (differences.md row 8).
function annotationComments(proto: ProtoRule): string[] {
  return Object.entries(proto.metadata?.annotations ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .sort();
}

function renderActions(
  ctx: RenderContext,
  owner: Owner,
  direction: Direction,
  proto: ProtoRule,
  index: number,
  match: readonly Match[],
): Rule[] {
  const verdict = (mark: number, letter: NflogVerdict, action: Action): Rule[] => {
    const marked = [markSet(mark)];
    const rules = [rule(match, setMark(mark))];
    if (ctx.config.flowLogsEnabled && !owner.quiet) {
      const prefix = ruleNflogPrefix(letter, owner.type, direction, index, owner.id);
      rules.push(rule(marked, nflogAction(direction, prefix)));
    }
    rules.push(rule(marked, action));
    return rules;
  };
  switch (proto.action) {
    case '':
    case 'allow':
      return verdict(ctx.marks.accept, 'A', RETURN);
    case 'pass':
    case 'next-tier':
      return verdict(ctx.marks.pass, 'P', RETURN);
    case 'deny':
      return verdict(ctx.marks.drop, 'D', denyAction(ctx, 'filter', direction));
    case 'log':
      return [rule([...logLimit(ctx), ...match], { kind: 'log', prefix: logPrefix(ctx, owner) })];
    default:
      return refuse(`${owner.title} ${direction} rule ${index}`, `"${proto.action}" is no action`);
  }
}

// Before the rule's own matches, as Felix has it: packets that don't match use up tokens too.
function logLimit(ctx: RenderContext): Match[] {
  const { logActionRateLimit: rate, logActionRateLimitBurst: burst } = ctx.config;
  return rate === '' ? [] : [{ kind: 'limit', rate, burst }];
}

function logPrefix(ctx: RenderContext, owner: Owner): string {
  const template = ctx.config.logPrefix === '' ? 'calico-packet' : ctx.config.logPrefix;
  const text = template.replace(/%[tknp]/g, (specifier) => {
    switch (specifier) {
      case '%t':
        return owner.tier;
      case '%k':
        return owner.shortKind;
      case '%n':
        return owner.name;
      default:
        return owner.namespace === '' ? owner.name : `${owner.namespace}/${owner.name}`;
    }
  });
  // A quote or line break would end the string that the printers put it in.
  return text.replace(/["\p{Cc}]/gu, '_');
}
