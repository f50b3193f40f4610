// Groups the policies of a tier by selector, and keeps the chains of groups while an endpoint uses them
// (dataplane.md 2.4, 3.6).
import type { PolicyID, TierInfo } from '../protocol/gen/felix/felixbackend_pb.js';
import type { Direction, PolicyGroup, RuleRenderer, TierPolicyGroups } from '../rules/renderer.js';
import type { UnitKey } from './endpoint-keys.js';
import type { FamilyTables } from './static-rules.js';

/** Gives the selector of a policy; empty if it is not known. */
export type SelectorOf = (id: PolicyID) => string;

function groupPolicies(policies: readonly PolicyID[], direction: Direction, selectorOf: SelectorOf): PolicyGroup[] {
  const groups: { direction: Direction; selector: string; policies: PolicyID[] }[] = [];
  for (const id of policies) {
    const selector = selectorOf(id);
    const last = groups.at(-1);
    if (last !== undefined && last.selector === selector) last.policies.push(id);
    else groups.push({ direction, selector, policies: [id] });
  }
  return groups;
}

/** Groups consecutive policies with one selector, tier by tier, for the directions asked for (default both). */
export function groupTiers(
  tiers: readonly TierInfo[],
  selectorOf: SelectorOf,
  directions: readonly Direction[] = ['ingress', 'egress'],
): TierPolicyGroups[] {
  return tiers.map((tier) => ({
    name: tier.name,
    defaultAction: tier.defaultAction,
    ingress: directions.includes('ingress') ? groupPolicies(tier.ingressPolicies, 'ingress', selectorOf) : [],
    egress: directions.includes('egress') ? groupPolicies(tier.egressPolicies, 'egress', selectorOf) : [],
  }));
}

/** All groups of some tiers. */
export function groupsOf(tiers: readonly TierPolicyGroups[]): PolicyGroup[] {
  return tiers.flatMap((tier) => [...tier.ingress, ...tier.egress]);
}

/** All policies of some groups. */
export function policiesOf(groups: readonly PolicyGroup[]): PolicyID[] {
  return groups.flatMap((group) => group.policies);
}

/** The chains of groups, in filter, mangle and raw, for as long as some unit uses them. */
export class GroupChains {
  readonly #renderer: RuleRenderer;
  readonly #tables: FamilyTables;
  readonly #users = new Map<string, Set<UnitKey>>();
  readonly #chainsOf = new Map<UnitKey, ReadonlySet<string>>();

  constructor(renderer: RuleRenderer, tables: FamilyTables) {
    this.#renderer = renderer;
    this.#tables = tables;
  }

  /** Replaces the groups that a unit uses. New ones come before old ones go, so that a chain in use never flaps. */
  setGroups(unit: UnitKey, groups: readonly PolicyGroup[]): void {
    const old = this.#chainsOf.get(unit) ?? new Set<string>();
    const names = new Set<string>();
    for (const group of groups) {
      if (!this.#renderer.groupNeedsChain(group)) continue;
      const name = this.#renderer.groupChainName(group);
      names.add(name);
      if (!this.#users.has(name)) this.#add(group);
      const users = this.#users.get(name) ?? new Set();
      users.add(unit);
      this.#users.set(name, users);
    }
    for (const name of old) if (!names.has(name)) this.#drop(name, unit);
    if (names.size > 0) this.#chainsOf.set(unit, names);
    else this.#chainsOf.delete(unit);
  }

  /** Units whose chains jump to this group chain. */
  users(chainName: string): ReadonlySet<UnitKey> {
    return this.#users.get(chainName) ?? new Set();
  }

  // The name is a digest of the group's content, so a group chain never changes.
  #add(group: PolicyGroup): void {
    const chain = this.#renderer.groupChain(group);
    for (const name of ['filter', 'mangle', 'raw'] as const) this.#tables[name].setChain(chain);
  }

  #drop(chainName: string, unit: UnitKey): void {
    const users = this.#users.get(chainName);
    users?.delete(unit);
    if (users === undefined || users.size > 0) return;
    this.#users.delete(chainName);
    for (const name of ['filter', 'mangle', 'raw'] as const) this.#tables[name].deleteChain(chainName);
  }
}
