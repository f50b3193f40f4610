// Puts the rendering functions together behind the RuleRenderer contract: the only file of this room that managers
// and the composition root need besides renderer.ts.
import { renderArpTable } from './arp.js';
import { createRenderContext } from './context.js';
import { WorkloadDispatchTree } from './dispatch-tree.js';
import {
  renderEndpointMarkDispatch,
  renderHostFilterDispatch,
  renderHostMangleDispatch,
  renderHostRawDispatch,
  renderWorkloadDispatch,
} from './dispatch.js';
import {
  renderHostFilterChains,
  renderHostMangleChains,
  renderHostRawChains,
  renderWorkloadChains,
} from './endpoint-chains.js';
import {
  renderCidrBlockChain,
  renderDscpChain,
  renderFloatingIpChains,
  renderNatOutgoingChain,
  renderRpfSkipChain,
} from './endpoint-data-chains.js';
import { policyChainsInTable, renderPolicyChains, renderProfileChains } from './policy-chains.js';
import { groupChainName, groupNeedsChain, renderGroupChain } from './policy-groups.js';
import type { RenderOptions, RuleRenderer } from './renderer.js';
import { renderStaticFilter } from './static-filter.js';
import { renderStaticMangle } from './static-mangle.js';
import { renderStaticNat } from './static-nat.js';
import { renderStaticRaw } from './static-raw.js';

const STATIC_TABLES = {
  raw: renderStaticRaw,
  mangle: renderStaticMangle,
  nat: renderStaticNat,
  filter: renderStaticFilter,
} as const;

/**
 * The renderer of one family and back end. Keeps nothing but, in IPVS mode, the ids of the interfaces it was last
 * given. Throws ConfigError if the mark mask is too small; its methods don't throw for bad messages but return closed
 * chains with `refused` set.
 */
export function createRuleRenderer(options: RenderOptions): RuleRenderer {
  const ctx = createRenderContext(options);
  return {
    options,
    staticTable: (table) => STATIC_TABLES[table](ctx),
    policyChains: (id, policy) => renderPolicyChains(ctx, id, policy),
    inTable: (table, chains) => policyChainsInTable(ctx, table, chains),
    profileChains: (name, profile) => renderProfileChains(ctx, name, profile),
    groupNeedsChain,
    groupChainName,
    groupChain: (group) => renderGroupChain(ctx, group),
    workloadChains: (input) => renderWorkloadChains(ctx, input),
    hostFilterChains: (input) => renderHostFilterChains(ctx, input),
    hostMangleChains: (input) => renderHostMangleChains(ctx, input),
    hostRawChains: (input) => renderHostRawChains(ctx, input),
    workloadDispatch: (names) => renderWorkloadDispatch(ctx, names),
    createWorkloadDispatchTree: () => new WorkloadDispatchTree(ctx),
    hostFilterDispatch: (names) => renderHostFilterDispatch(ctx, names),
    hostMangleDispatch: (all, withPreDnat) => renderHostMangleDispatch(ctx, all, withPreDnat),
    hostRawDispatch: (names) => renderHostRawDispatch(ctx, names),
    endpointMarkDispatch: (workloads, hosts) => renderEndpointMarkDispatch(ctx, workloads, hosts),
    takeMarked: () => ctx.endpointMarks.takeServed(),
    rpfSkipChain: renderRpfSkipChain,
    natOutgoingChain: (active) => renderNatOutgoingChain(ctx, active),
    floatingIpChains: renderFloatingIpChains,
    cidrBlockChain: (cidrs) => renderCidrBlockChain(ctx, cidrs),
    dscpChain: renderDscpChain,
    arpTable: (addressesByInterface) => renderArpTable(ctx, addressesByInterface),
  };
}
