// Which policies and profiles are active: those that a local endpoint needs, and policies that ask to be everywhere
// (calc-graph.md section 7; Felix: felix/calc/active_rules_calculator.go).
import { isDeepStrictEqual } from 'node:util';
import { parseSelector } from '../selector/selector.js';
import type { Labels, PolicyId, PolicyModel, ProfileModel } from './entries.js';
import { MatchIndex } from './match-index.js';
import { MultiMap } from './multi-map.js';

/** A policy with its identity. */
export type IdentifiedPolicy = PolicyModel & { readonly id: PolicyId };

/** Told when rules come into use, change while in use, or go out of use; and which policy is for which endpoint. */
export interface ActiveRulesListener {
  onPolicyActive(key: string, policy: IdentifiedPolicy): void;
  onPolicyInactive(key: string): void;
  /** `profile` is undefined if an endpoint names a profile that does not exist. */
  onProfileActive(name: string, profile: ProfileModel | undefined): void;
  onProfileInactive(name: string): void;
  onPolicyMatch(policyKey: string, endpointKey: string): void;
  onPolicyMatchStopped(policyKey: string, endpointKey: string): void;
}

/** Stands for an endpoint that every policy with the hint AssumeNeededOnEveryNode matches. */
const EVERYWHERE = '(every node)';

function isForced(policy: PolicyModel | undefined): boolean {
  return policy?.performanceHints.includes('AssumeNeededOnEveryNode') ?? false;
}

/** Feeds on policies, profiles and the endpoints of this node. */
export class ActiveRules {
  readonly #listener: ActiveRulesListener;
  readonly #policies = new Map<string, IdentifiedPolicy>();
  readonly #profiles = new Map<string, ProfileModel>();
  readonly #policyUsers = new MultiMap<string, string>();
  readonly #profileUsers = new MultiMap<string, string>();
  readonly #profilesOf = new Map<string, ReadonlySet<string>>();
  readonly #index: MatchIndex;

  constructor(listener: ActiveRulesListener) {
    this.#listener = listener;
    this.#index = new MatchIndex(
      (policyKey, endpointKey) => {
        this.#addUser(policyKey, endpointKey);
        listener.onPolicyMatch(policyKey, endpointKey);
      },
      (policyKey, endpointKey) => {
        this.#removeUser(policyKey, endpointKey);
        listener.onPolicyMatchStopped(policyKey, endpointKey);
      },
    );
  }

  setPolicy(key: string, policy: IdentifiedPolicy): void {
    const before = this.#policies.get(key);
    if (isDeepStrictEqual(before, policy)) return;
    this.#policies.set(key, policy);
    if (!isForced(before) && isForced(policy)) this.#addUser(key, EVERYWHERE);
    this.#index.setSelector(key, parseSelector(policy.selector));
    if (isForced(before) && !isForced(policy)) this.#removeUser(key, EVERYWHERE);
    if (this.#policyUsers.has(key)) this.#listener.onPolicyActive(key, policy);
  }

  deletePolicy(key: string): void {
    const before = this.#policies.get(key);
    this.#policies.delete(key);
    if (isForced(before)) this.#removeUser(key, EVERYWHERE);
    this.#index.deleteSelector(key);
  }

  setProfile(name: string, profile: ProfileModel): void {
    const before = this.#profiles.get(name);
    this.#profiles.set(name, profile);
    if (!isDeepStrictEqual(before?.labels, profile.labels)) this.#index.setParent(name, profile.labels);
    const sameRules =
      before !== undefined && isDeepStrictEqual([before.inbound, before.outbound], [profile.inbound, profile.outbound]);
    if (!sameRules && this.#profileUsers.has(name)) this.#listener.onProfileActive(name, profile);
  }

  deleteProfile(name: string): void {
    this.#profiles.delete(name);
    this.#index.setParent(name, undefined);
    if (this.#profileUsers.has(name)) this.#listener.onProfileActive(name, undefined);
  }

  setEndpoint(key: string, labels: Labels, profiles: readonly string[]): void {
    this.#setProfilesOf(key, new Set(profiles));
    this.#index.setItem(key, labels, profiles);
  }

  deleteEndpoint(key: string): void {
    this.#setProfilesOf(key, new Set());
    this.#index.deleteItem(key);
  }

  #setProfilesOf(key: string, names: ReadonlySet<string>): void {
    const before = this.#profilesOf.get(key) ?? new Set<string>();
    if (names.size > 0) this.#profilesOf.set(key, names);
    else this.#profilesOf.delete(key);
    for (const name of names) {
      if (before.has(name)) continue;
      const wasActive = this.#profileUsers.has(name);
      this.#profileUsers.add(name, key);
      if (!wasActive) this.#listener.onProfileActive(name, this.#profiles.get(name));
    }
    for (const name of before) {
      if (names.has(name)) continue;
      this.#profileUsers.delete(name, key);
      if (!this.#profileUsers.has(name)) this.#listener.onProfileInactive(name);
    }
  }

  #addUser(policyKey: string, user: string): void {
    const wasActive = this.#policyUsers.has(policyKey);
    this.#policyUsers.add(policyKey, user);
    const policy = this.#policies.get(policyKey);
    if (!wasActive && policy !== undefined) this.#listener.onPolicyActive(policyKey, policy);
  }

  #removeUser(policyKey: string, user: string): void {
    this.#policyUsers.delete(policyKey, user);
    if (!this.#policyUsers.has(policyKey)) this.#listener.onPolicyInactive(policyKey);
  }
}
