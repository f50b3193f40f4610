// Chains of policy groups: consecutive policies with one selector share a chain, so that endpoints that share the
// policies share the rules too (dataplane.md 2.4, 3.6).
import type { Chain, Rule } from '../model/chain.js';
import { isStagedPolicy, policyChainName, policyGroupChainName } from '../model/names.js';
import { jump, markClear, markNotClear, type RenderContext, RETURN, rule } from './context.js';
import type { PolicyGroup } from './renderer.js';

/** A RETURN after so many jumps keeps the number of rules low and the way out short. */
const RETURN_STRIDE = 5;

/** True if at least one policy is enforced. */
export function isEnforcedGroup(group: PolicyGroup): boolean {
  return group.policies.some((policy) => !isStagedPolicy(policy));
}

/** True if more than one policy is enforced; such a group has a chain, any other is inlined. */
export function groupNeedsChain(group: PolicyGroup): boolean {
  let enforced = 0;
  for (const policy of group.policies) {
    if (!isStagedPolicy(policy) && ++enforced > 1) return true;
  }
  return false;
}

/** `cali-gi-…` or `cali-go-…`. */
export function groupChainName(group: PolicyGroup): string {
  return policyGroupChainName(group.direction, group.selector, group.policies);
}

/** The chains that an endpoint jumps to for a group, in order. */
export function groupTargets(ctx: RenderContext, group: PolicyGroup): string[] {
  if (groupNeedsChain(group)) return [groupChainName(group)];
  return enforcedChains(ctx, group);
}

/** The group's own chain. Once a policy gave a verdict, the following ones are skipped. */
export function renderGroupChain(ctx: RenderContext, group: PolicyGroup): Chain {
  const verdict = (ctx.marks.pass | ctx.marks.accept) >>> 0;
  const rules: Rule[] = [];
  enforcedChains(ctx, group).forEach((chain, index) => {
    const startsStride = index % RETURN_STRIDE === 0;
    if (startsStride && index > 0) rules.push(rule([markNotClear(verdict)], RETURN, 'Return on verdict'));
    rules.push(rule(startsStride ? [] : [markClear(verdict)], jump(chain)));
  });
  return { name: groupChainName(group), rules };
}

function enforcedChains(ctx: RenderContext, group: PolicyGroup): string[] {
  return group.policies
    .filter((policy) => !isStagedPolicy(policy))
    .map((policy) => policyChainName(group.direction, policy, ctx.backend));
}
