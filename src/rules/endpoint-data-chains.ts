// Chains that hold data of endpoints, pools and services: NAT, service loops, DSCP, spoofing exceptions
// (dataplane.md 2.2 to 2.5, 3.4).
import type { Action } from '../model/action.js';
import type { Chain, Rule } from '../model/chain.js';
import type { Match } from '../model/match.js';
import { CHAIN } from '../model/names.js';
import { ACCEPT, DROP, ownSet, REJECT, type RenderContext, RETURN, rule } from './context.js';

/** `cali-nat-outgoing`: masquerade for pool addresses that leave the pools; empty unless `active`. */
export function renderNatOutgoingChain(ctx: RenderContext, active: boolean): Chain {
  return { name: CHAIN.natOutgoing, rules: active ? natOutgoingRules(ctx) : [] };
}

function natOutgoingRules(ctx: RenderContext): Rule[] {
  const range = ctx.config.natPortRange;
  if (range === null) return [natOutgoingRule(ctx, null, natAction(ctx))];
  // Ports need a protocol match, so what has no ports comes last; RETURN keeps TCP and UDP from falling through to it.
  const ports = `${range.first}-${range.last}`;
  return [
    natOutgoingRule(ctx, 'tcp', natAction(ctx, ports)),
    natOutgoingRule(ctx, 'tcp', RETURN),
    natOutgoingRule(ctx, 'udp', natAction(ctx, ports)),
    natOutgoingRule(ctx, 'udp', RETURN),
    natOutgoingRule(ctx, null, natAction(ctx)),
  ];
}

function natOutgoingRule(ctx: RenderContext, protocol: string | null, action: Action): Rule {
  const match: Match[] = [
    { kind: 'source-set', set: ownSet(ctx, 'masqueradePools') },
    { kind: 'dest-set', set: ownSet(ctx, 'networkPools'), negated: true },
  ];
  if (ctx.config.natOutgoingExclusions === 'IPPoolsAndHostIPs') {
    match.push({ kind: 'dest-set', set: ownSet(ctx, 'allHosts'), negated: true });
  }
  if (protocol !== null) match.push({ kind: 'protocol', protocol });
  const filter = ctx.config.iptablesNATOutgoingInterfaceFilter;
  if (filter.endsWith('+')) {
    // As a wildcard match, so that nft gets its `*` (differences.md row 4).
    match.push({ kind: 'out-interface', name: filter.slice(0, -1), wildcard: true });
  } else if (filter !== '') {
    match.push({ kind: 'out-interface', name: filter });
  }
  return rule(match, action);
}

// NATOutgoingAddress is an IPv4 address (differences.md row 9).
function natAction(ctx: RenderContext, ports?: string): Action {
  const address = ctx.family === 4 ? ctx.config.natOutgoingAddress : null;
  const withPorts = ports === undefined ? {} : { ports };
  return address === null ? { kind: 'masquerade', ...withPorts } : { kind: 'snat', address, ...withPorts };
}

/** `cali-fip-dnat` (external → internal) and `cali-fip-snat` (internal → external, for hairpin traffic only). */
export function renderFloatingIpChains(
  dnats: ReadonlyMap<string, string>,
  snats: ReadonlyMap<string, string>,
): Chain[] {
  const dnatRules = sortedEntries(dnats).map(([external, internal]) =>
    rule([{ kind: 'dest-net', net: external }], { kind: 'dnat', address: internal }),
  );
  const snatRules = sortedEntries(snats).map(([internal, external]) => {
    const match: Match[] = [
      { kind: 'dest-net', net: internal },
      { kind: 'source-net', net: internal },
    ];
    return rule(match, { kind: 'snat', address: external });
  });
  return [
    { name: CHAIN.floatingIpDnat, rules: dnatRules },
    { name: CHAIN.floatingIpSnat, rules: snatRules },
  ];
}

/** `cali-cidr-block`: packets to service addresses that nothing has handled by then would loop. */
export function renderCidrBlockChain(ctx: RenderContext, cidrs: readonly string[]): Chain {
  const mode = ctx.config.serviceLoopPrevention;
  if (mode === 'Disabled') return { name: CHAIN.cidrBlock, rules: [] };
  const action = mode === 'Drop' ? DROP : REJECT;
  const rules = [...cidrs].sort().map((net) => rule([{ kind: 'dest-net', net }], action));
  return { name: CHAIN.cidrBlock, rules };
}

/** `cali-egress-dscp`: one rule per address; a comma list would become rules with equal hashes, or be refused. */
export function renderDscpChain(values: readonly { readonly address: string; readonly dscp: number }[]): Chain {
  const sorted = [...values].sort((a, b) => compareText(a.address, b.address) || a.dscp - b.dscp);
  const rules = sorted.map(({ address, dscp }) =>
    rule([{ kind: 'source-net', net: address }], { kind: 'dscp', value: dscp }),
  );
  return { name: CHAIN.egressDscp, rules };
}

/** `cali-rpf-skip`: sources that a workload may use although they are not its own. */
export function renderRpfSkipChain(prefixesByInterface: ReadonlyMap<string, readonly string[]>): Chain {
  const rules = sortedEntries(prefixesByInterface).flatMap(([name, prefixes]) =>
    prefixes.map((net) =>
      rule(
        [
          { kind: 'in-interface', name },
          { kind: 'source-net', net },
        ],
        ACCEPT,
      ),
    ),
  );
  return { name: CHAIN.rpfSkip, rules };
}

function sortedEntries<Value>(map: ReadonlyMap<string, Value>): [string, Value][] {
  return [...map].sort(([a], [b]) => compareText(a, b));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
