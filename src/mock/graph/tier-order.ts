// The order of tiers, and of the matched policies within them (calc-graph.md section 10; Felix:
// felix/calc/policy_sorter.go).
import { isDeepStrictEqual } from 'node:util';
import type { PolicyId, PolicyModel, TierModel } from './entries.js';
import { MultiMap } from './multi-map.js';

/** What of a policy decides where it stands and in which lists it appears. */
export interface PolicyPlacement {
  readonly id: PolicyId;
  readonly tier: string;
  readonly order: number;
  readonly ingress: boolean;
  readonly egress: boolean;
  readonly doNotTrack: boolean;
  readonly preDnat: boolean;
  readonly applyOnForward: boolean;
}

/** A tier and those of its policies that match one endpoint, in order. */
export interface OrderedTier {
  readonly name: string;
  /** `Deny`, `Pass`, or empty for a tier that never existed. */
  readonly defaultAction: string;
  readonly policies: readonly PolicyPlacement[];
}

interface TierState {
  readonly name: string;
  readonly exists: boolean;
  readonly order: number;
  readonly defaultAction: string;
}

/** The placement of a policy. */
export function placementOf(policy: PolicyModel & { readonly id: PolicyId }): PolicyPlacement {
  const { id, tier, order, ingress, egress, doNotTrack, preDnat, applyOnForward } = policy;
  return { id, tier, order, ingress, egress, doNotTrack, preDnat, applyOnForward };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareTiers(a: TierState, b: TierState): number {
  if (a.exists !== b.exists) return a.exists ? -1 : 1;
  return a.order === b.order ? compareText(a.name, b.name) : a.order - b.order;
}

/** Keeps tiers and the policies that match a local endpoint. */
export class TierOrder {
  readonly #tiers = new Map<string, TierState>();
  readonly #placements = new Map<string, PolicyPlacement>();
  readonly #policiesOf = new MultiMap<string, string>();

  setTier(name: string, tier: TierModel): void {
    const order = tier.order ?? Number.POSITIVE_INFINITY;
    this.#tiers.set(name, { name, exists: true, order, defaultAction: tier.defaultAction });
  }

  /** A tier that still has matched policies keeps its last default action until the last of them goes. */
  deleteTier(name: string): void {
    const before = this.#tiers.get(name);
    if (before === undefined) return;
    if (this.#policiesOf.has(name)) {
      this.#tiers.set(name, { ...before, exists: false, order: Number.POSITIVE_INFINITY });
    } else {
      this.#tiers.delete(name);
    }
  }

  /** Sets a matched policy; true if its place or its lists changed. `key` is `NAME/NAMESPACE/KIND`. */
  setPolicy(key: string, placement: PolicyPlacement): boolean {
    const before = this.#placements.get(key);
    if (isDeepStrictEqual(before, placement)) return false;
    if (before !== undefined && before.tier !== placement.tier) this.#leaveTier(key, before.tier);
    this.#placements.set(key, placement);
    this.#policiesOf.add(placement.tier, key);
    if (!this.#tiers.has(placement.tier)) {
      const order = Number.POSITIVE_INFINITY;
      this.#tiers.set(placement.tier, { name: placement.tier, exists: false, order, defaultAction: '' });
    }
    return true;
  }

  /** The policy matches no local endpoint any more. */
  deletePolicy(key: string): void {
    const before = this.#placements.get(key);
    if (before === undefined) return;
    this.#placements.delete(key);
    this.#leaveTier(key, before.tier);
  }

  /** The tiers of these policies, in order, each with its policies in order. Unknown keys are left out. */
  order(keys: Iterable<string>): OrderedTier[] {
    const byTier = new Map<string, string[]>();
    for (const key of keys) {
      const placement = this.#placements.get(key);
      if (placement === undefined) continue;
      const list = byTier.get(placement.tier);
      if (list === undefined) byTier.set(placement.tier, [key]);
      else list.push(key);
    }
    const tiers = [...byTier.keys()].map((name) => this.#tiers.get(name) as TierState).sort(compareTiers);
    return tiers.map(({ name, defaultAction }) => {
      const ordered = (byTier.get(name) ?? []).sort((a, b) => this.#comparePolicies(a, b));
      return { name, defaultAction, policies: ordered.map((key) => this.#placements.get(key) as PolicyPlacement) };
    });
  }

  #comparePolicies(a: string, b: string): number {
    const orderA = this.#placements.get(a)?.order ?? 0;
    const orderB = this.#placements.get(b)?.order ?? 0;
    return orderA === orderB ? compareText(a, b) : orderA < orderB ? -1 : 1;
  }

  #leaveTier(key: string, tier: string): void {
    this.#policiesOf.delete(tier, key);
    if (!this.#policiesOf.has(tier) && this.#tiers.get(tier)?.exists === false) this.#tiers.delete(tier);
  }
}
