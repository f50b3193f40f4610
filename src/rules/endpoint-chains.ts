// The chains of workload and host endpoints (dataplane.md 3.6).
import { RefusedError } from '../base/errors.js';
import type { Action } from '../model/action.js';
import type { Chain, Rule } from '../model/chain.js';
import type { TableName } from '../model/family.js';
import type { Match } from '../model/match.js';
import { CHAIN, ENDPOINT_CHAIN_PREFIX, endpointChainName, profileChainName } from '../model/names.js';
import type { QoSControls } from '../protocol/gen/felix/felixbackend_pb.js';
import {
  clearMark,
  denyAction,
  denyVerb,
  jump,
  markClear,
  markSet,
  onePort,
  PROTOCOL,
  type RenderContext,
  RETURN,
  rule,
  setMark,
} from './context.js';
import { nflogAction, profileNflogPrefix, tierNflogPrefix } from './nflog.js';
import { closedChain } from './policy-chains.js';
import { groupTargets, isEnforcedGroup } from './policy-groups.js';
import { connectionLimitRules, packetRateRules } from './qos.js';
import type { Direction, HostChainsInput, TierPolicyGroups, WorkloadChainsInput } from './renderer.js';

/** What tells one endpoint chain from another. */
interface ChainSpec {
  readonly prefix: string;
  readonly interfaceName: string;
  readonly table: TableName;
  readonly type: 'normal' | 'untracked' | 'pre-dnat' | 'forward';
  /** Which policies apply: ingress is toward the endpoint. */
  readonly direction: Direction;
  readonly tiers: readonly TierPolicyGroups[];
  readonly profileIds: readonly string[];
  readonly failsafe?: string;
  /** What happens to packets of known connections; not for untracked chains. */
  readonly established: Action;
  /** Drop tunnel packets that a workload made itself. */
  readonly blocksEncapsulation?: boolean;
  readonly qosControls?: QoSControls | undefined;
}

const ESTABLISHED: Match = { kind: 'conntrack-state', states: ['RELATED', 'ESTABLISHED'] };
const INVALID: Match = { kind: 'conntrack-state', states: ['INVALID'] };

/** `cali-tw-…`, `cali-fw-…`, and in IPVS mode `cali-sm-…`. */
export function renderWorkloadChains(ctx: RenderContext, input: WorkloadChainsInput): Chain[] {
  const common = {
    interfaceName: input.interfaceName,
    table: 'filter',
    type: 'normal',
    tiers: input.tiers,
    profileIds: input.profileIds,
    established: ctx.filterAllow,
    qosControls: input.qosControls,
  } as const;
  const specs: ChainSpec[] = [
    { ...common, prefix: ENDPOINT_CHAIN_PREFIX.toWorkload, direction: 'ingress' },
    { ...common, prefix: ENDPOINT_CHAIN_PREFIX.fromWorkload, direction: 'egress', blocksEncapsulation: true },
  ];
  const chains = specs.map((spec) => (input.adminUp ? renderChain(ctx, spec) : disabledChain(ctx, spec)));
  return [...chains, ...setMarkChains(ctx, input.interfaceName)];
}

/** `cali-th-…`, `cali-fh-…`, `cali-thfw-…`, `cali-fhfw-…`, and in IPVS mode `cali-sm-…`. */
export function renderHostFilterChains(ctx: RenderContext, input: HostChainsInput): Chain[] {
  const common = { interfaceName: input.interfaceName, table: 'filter', established: ctx.filterAllow } as const;
  const normal = { ...common, type: 'normal', tiers: input.tiers, profileIds: input.profileIds } as const;
  const forward = { ...common, type: 'forward', tiers: input.forwardTiers, profileIds: [] } as const;
  const { toHost, fromHost, toHostForward, fromHostForward } = ENDPOINT_CHAIN_PREFIX;
  return [
    renderChain(ctx, { ...normal, prefix: toHost, direction: 'egress', failsafe: CHAIN.failsafeOut }),
    renderChain(ctx, { ...normal, prefix: fromHost, direction: 'ingress', failsafe: CHAIN.failsafeIn }),
    renderChain(ctx, { ...forward, prefix: toHostForward, direction: 'egress' }),
    renderChain(ctx, { ...forward, prefix: fromHostForward, direction: 'ingress' }),
    ...setMarkChains(ctx, input.interfaceName),
  ];
}

/** Mangle `cali-th-…`, and `cali-fh-…` when there are pre-DNAT tiers. */
export function renderHostMangleChains(ctx: RenderContext, input: HostChainsInput): Chain[] {
  const common = { interfaceName: input.interfaceName, table: 'mangle' } as const;
  const chains = [
    renderChain(ctx, {
      ...common,
      prefix: ENDPOINT_CHAIN_PREFIX.toHost,
      type: 'normal',
      direction: 'egress',
      tiers: input.tiers,
      profileIds: input.profileIds,
      failsafe: CHAIN.failsafeOut,
      established: RETURN,
    }),
  ];
  if (input.preDnatTiers.length === 0) return chains;
  chains.push(
    renderChain(ctx, {
      ...common,
      prefix: ENDPOINT_CHAIN_PREFIX.fromHost,
      type: 'pre-dnat',
      direction: 'ingress',
      tiers: input.preDnatTiers,
      profileIds: [],
      failsafe: CHAIN.failsafeIn,
      established: ctx.mangleAllow,
    }),
  );
  return chains;
}

/** Raw `cali-th-…` and `cali-fh-…`, none without untracked tiers. */
export function renderHostRawChains(ctx: RenderContext, input: HostChainsInput): Chain[] {
  if (input.untrackedTiers.length === 0) return [];
  const common = {
    interfaceName: input.interfaceName,
    table: 'raw',
    type: 'untracked',
    tiers: input.untrackedTiers,
    profileIds: [],
    established: RETURN,
  } as const;
  const { toHost, fromHost } = ENDPOINT_CHAIN_PREFIX;
  return [
    renderChain(ctx, { ...common, prefix: toHost, direction: 'egress', failsafe: CHAIN.failsafeOut }),
    renderChain(ctx, { ...common, prefix: fromHost, direction: 'ingress', failsafe: CHAIN.failsafeIn }),
  ];
}

function chainName(ctx: RenderContext, spec: ChainSpec): string {
  return endpointChainName(spec.prefix, spec.interfaceName, ctx.backend);
}

function disabledChain(ctx: RenderContext, spec: ChainSpec): Chain {
  const deny = denyAction(ctx, spec.table, spec.direction);
  return { name: chainName(ctx, spec), rules: [rule([], deny, 'Endpoint admin disabled')] };
}

function renderChain(ctx: RenderContext, spec: ChainSpec): Chain {
  const name = chainName(ctx, spec);
  try {
    return { name, rules: endpointRules(ctx, spec, name) };
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    return closedChain(name, error.message);
  }
}

function endpointRules(ctx: RenderContext, spec: ChainSpec, name: string): Rule[] {
  const qos = spec.type === 'normal' ? spec.qosControls : undefined;
  return [
    ...(qos === undefined ? [] : packetRateRules(ctx, qos, spec.direction, name)),
    ...conntrackRules(ctx, spec),
    ...(qos === undefined ? [] : connectionLimitRules(qos, spec.direction, name)),
    ...(spec.failsafe === undefined ? [] : [rule([], jump(spec.failsafe))]),
    rule([], clearMark((ctx.marks.accept | ctx.marks.pass) >>> 0)),
    ...(spec.blocksEncapsulation === true ? encapsulationRules(ctx, spec) : []),
    ...spec.tiers.flatMap((tier) => tierRules(ctx, spec, tier)),
    ...(spec.type === 'forward' && spec.tiers.length === 0 ? defaultForwardRules(ctx) : []),
    ...(spec.type === 'normal' ? profileRules(ctx, spec) : []),
  ];
}

function conntrackRules(ctx: RenderContext, spec: ChainSpec): Rule[] {
  if (spec.type === 'untracked') return [];
  const rules: Rule[] = [];
  // A verdict other than ACCEPT leaves the decision to later chains, which go by the mark.
  if (spec.established.kind !== 'accept') rules.push(rule([ESTABLISHED], setMark(ctx.marks.accept)));
  rules.push(rule([ESTABLISHED], spec.established));
  if (!ctx.config.disableConntrackInvalidCheck) {
    rules.push(rule([INVALID], denyAction(ctx, spec.table, spec.direction)));
  }
  return rules;
}

function encapsulationRules(ctx: RenderContext, spec: ChainSpec): Rule[] {
  const deny = denyAction(ctx, spec.table, spec.direction);
  const verb = denyVerb(deny);
  const rules: Rule[] = [];
  if (!ctx.config.allowVXLANPacketsFromWorkloads) {
    const match: Match[] = [
      { kind: 'protocol', protocol: PROTOCOL.udp },
      onePort('dest-ports', PROTOCOL.udp, ctx.config.vxlanPort),
    ];
    rules.push(rule(match, deny, `${verb} VXLAN encapped packets originating in workloads`));
  }
  if (!ctx.config.allowIPIPPacketsFromWorkloads) {
    const match: Match[] = [{ kind: 'protocol', protocol: PROTOCOL.ipip }];
    rules.push(rule(match, deny, `${verb} IPinIP encapped packets originating in workloads`));
  }
  return rules;
}

function tierRules(ctx: RenderContext, spec: ChainSpec, tier: TierPolicyGroups): Rule[] {
  const groups = spec.direction === 'ingress' ? tier.ingress : tier.egress;
  if (groups.length === 0) return [];
  const { accept, pass } = ctx.marks;
  const rules = [rule([], clearMark(pass), `Start of tier ${tier.name}`)];
  for (const target of groups.flatMap((group) => groupTargets(ctx, group))) {
    rules.push(rule([markClear(pass)], jump(target)));
    if (spec.type === 'untracked') rules.push(rule([markSet(accept)], { kind: 'notrack' }));
    rules.push(rule([markSet(accept)], RETURN, 'Return if policy accepted'));
  }
  // Untracked and pre-DNAT policy decides nothing at the end of a tier: the filter table comes after it.
  if (spec.type === 'normal' || spec.type === 'forward') {
    rules.push(...endOfTierRules(ctx, spec, tier, groups.some(isEnforcedGroup)));
  }
  return rules;
}

function endOfTierRules(ctx: RenderContext, spec: ChainSpec, tier: TierPolicyGroups, enforced: boolean): Rule[] {
  const drops = enforced && tier.defaultAction !== 'Pass';
  const unpassed = [markClear(ctx.marks.pass)];
  const rules: Rule[] = [];
  if (ctx.config.flowLogsEnabled) {
    const prefix = tierNflogPrefix(drops ? 'D' : 'P', spec.direction, tier.name);
    rules.push(rule(unpassed, nflogAction(spec.direction, prefix)));
  }
  if (drops) {
    const deny = denyAction(ctx, spec.table, spec.direction);
    rules.push(rule(unpassed, deny, `End of tier ${tier.name}. ${denyVerb(deny)} if no policies passed packet`));
  }
  return rules;
}

function defaultForwardRules(ctx: RenderContext): Rule[] {
  return [
    rule([], setMark(ctx.marks.accept), 'Allow forwarded traffic by default'),
    rule([], RETURN, 'Return for accepted forward traffic'),
  ];
}

function profileRules(ctx: RenderContext, spec: ChainSpec): Rule[] {
  const rules: Rule[] = [];
  for (const profile of spec.profileIds) {
    rules.push(
      rule([], jump(profileChainName(spec.direction, profile, ctx.backend))),
      rule([markSet(ctx.marks.accept)], RETURN, 'Return if profile accepted'),
    );
  }
  if (ctx.config.flowLogsEnabled) rules.push(rule([], nflogAction(spec.direction, profileNflogPrefix(spec.direction))));
  const deny = denyAction(ctx, spec.table, spec.direction);
  rules.push(rule([], deny, `${denyVerb(deny)} if no profiles matched`));
  return rules;
}

function setMarkChains(ctx: RenderContext, interfaceName: string): Chain[] {
  if (!ctx.environment.ipvs) return [];
  const name = endpointChainName(ENDPOINT_CHAIN_PREFIX.setMark, interfaceName, ctx.backend);
  const value = ctx.endpointMarks.markOf(interfaceName);
  if (value === null) return [closedChain(name, `${name}: all endpoint marks are taken; widen the mark mask`)];
  return [{ name, rules: [rule([], { kind: 'set-masked-mark', value, mask: ctx.endpointMarks.mask })] }];
}
