// Chains of the mangle table that depend on configuration alone (dataplane.md 3.3, 3.14).
import type { Chain, Rule } from '../model/chain.js';
import type { Match } from '../model/match.js';
import { CHAIN } from '../model/names.js';
import {
  clearMark,
  jump,
  markNotClear,
  markSet,
  ownSet,
  type RenderContext,
  RETURN,
  rule,
  workloadInterfaces,
} from './context.js';
import { renderFailsafeChains } from './failsafes.js';
import { allPolicyBits } from './mark-bits.js';
import type { StaticTable } from './renderer.js';

const HOST_ENDPOINT_ACCEPTED = 'Host endpoint policy accepted packet.';

/** `cali-egress-dscp` and the dispatch chains are not here: they depend on endpoints. */
export function renderStaticMangle(ctx: RenderContext): StaticTable {
  return {
    chains: [preroutingChain(ctx), postroutingChain(ctx), ...renderFailsafeChains(ctx, 'mangle')],
    inserted: new Map([
      ['PREROUTING', [rule([], jump(CHAIN.prerouting))]],
      ['POSTROUTING', [rule([], jump(CHAIN.postrouting))]],
    ]),
    appended: new Map(),
  };
}

function preroutingChain(ctx: RenderContext): Chain {
  const accepted = [markSet(ctx.marks.accept)];
  const rules = [
    rule([{ kind: 'conntrack-state', states: ['RELATED', 'ESTABLISHED'] }], ctx.mangleAllow),
    rule(accepted, ctx.mangleAllow),
    rule([], jump(CHAIN.fromHostEndpoint)),
    rule(accepted, ctx.mangleAllow, HOST_ENDPOINT_ACCEPTED),
  ];
  return { name: CHAIN.prerouting, rules };
}

function postroutingChain(ctx: RenderContext): Chain {
  const accepted = [markSet(ctx.marks.accept)];
  const rules = [
    ...istioRules(ctx),
    rule(leavingCluster(ctx), jump(CHAIN.egressDscp), 'set dscp for traffic leaving cluster.'),
    rule(accepted, RETURN),
  ];
  if (ctx.environment.ipvs) rules.push(rule([markNotClear(ctx.marks.endpoint)], RETURN));
  // Filter OUTPUT leaves DNATed packets of the host to this place: only here is their outgoing interface known.
  rules.push(
    rule([], clearMark(allPolicyBits(ctx.marks))),
    rule([{ kind: 'conntrack-dnat' }], jump(CHAIN.toHostEndpoint)),
    rule(accepted, RETURN, HOST_ENDPOINT_ACCEPTED),
  );
  return { name: CHAIN.postrouting, rules };
}

function leavingCluster(ctx: RenderContext): Match[] {
  return [
    { kind: 'source-set', set: ownSet(ctx, 'dscpSources') },
    { kind: 'dest-set', set: ownSet(ctx, 'networkPools'), negated: true },
    { kind: 'dest-set', set: ownSet(ctx, 'thisHost'), negated: true },
  ];
}

function istioRules(ctx: RenderContext): Rule[] {
  if (!ctx.config.istioAmbientMode) return [];
  const set = ownSet(ctx, 'istioWorkloads');
  return workloadInterfaces(ctx, 'out-interface').map((toWorkload) => {
    const match: Match[] = [
      { kind: 'protocol', protocol: 'tcp' },
      { kind: 'conntrack-state', states: ['NEW'] },
      toWorkload,
      { kind: 'dest-set', set },
      { kind: 'source-set', set },
    ];
    return rule(match, { kind: 'dscp', value: ctx.config.istioDSCPMark });
  });
}
