// Which ordered tiers and policies apply to each endpoint of this node; decides which endpoints are sent again
// (calc-graph.md sections 2 and 10; Felix: felix/calc/policy_resolver.go).
import type { IdentifiedPolicy } from './active-rules.js';
import { NO_EXTRAS, type WorkloadExtras } from './computed-data.js';
import type { HostEndpointModel, TierModel, WorkloadModel } from './entries.js';
import { hostEndpointRemove, hostEndpointUpdate, workloadRemove, workloadUpdate } from './endpoint-messages.js';
import type { EventSequencer } from './event-sequencer.js';
import { MultiMap } from './multi-map.js';
import { placementOf, TierOrder } from './tier-order.js';

/** An endpoint of this node. */
export type LocalEndpoint =
  | { readonly type: 'workload'; readonly value: WorkloadModel }
  | { readonly type: 'host-endpoint'; readonly value: HostEndpointModel };

/** Feeds on tiers, policies, matches and local endpoints; works at `flush`. */
export class PolicyResolver {
  readonly #sequencer: EventSequencer;
  readonly #tiers = new TierOrder();
  readonly #policies = new Map<string, IdentifiedPolicy>();
  readonly #endpoints = new Map<string, LocalEndpoint>();
  readonly #extras = new Map<string, WorkloadExtras>();
  readonly #gone = new Map<string, LocalEndpoint>();
  readonly #endpointsOf = new MultiMap<string, string>();
  readonly #policiesOf = new MultiMap<string, string>();
  readonly #dirty = new Set<string>();

  constructor(sequencer: EventSequencer) {
    this.#sequencer = sequencer;
  }

  setEndpoint(key: string, endpoint: LocalEndpoint): void {
    this.#endpoints.set(key, endpoint);
    this.#dirty.add(key);
  }

  /** Sets the computed part of a workload endpoint; it may come before the endpoint. */
  setExtras(key: string, extras: WorkloadExtras): void {
    this.#extras.set(key, extras);
    this.#dirty.add(key);
  }

  deleteEndpoint(key: string): void {
    this.#extras.delete(key);
    const before = this.#endpoints.get(key);
    if (before === undefined) return;
    this.#endpoints.delete(key);
    this.#gone.set(key, before);
    this.#dirty.add(key);
  }

  setTier(name: string, tier: TierModel): void {
    this.#tiers.setTier(name, tier);
    this.#markAllMatched();
  }

  deleteTier(name: string): void {
    this.#tiers.deleteTier(name);
    this.#markAllMatched();
  }

  /** To be called for every policy, matched or not, before its matches change. */
  setPolicy(key: string, policy: IdentifiedPolicy): void {
    this.#policies.set(key, policy);
    if (!this.#endpointsOf.has(key)) return;
    if (this.#tiers.setPolicy(key, placementOf(policy))) {
      for (const endpoint of this.#endpointsOf.get(key)) this.#dirty.add(endpoint);
    }
  }

  deletePolicy(key: string): void {
    this.#policies.delete(key);
  }

  onPolicyMatch(policyKey: string, endpointKey: string): void {
    this.#endpointsOf.add(policyKey, endpointKey);
    this.#policiesOf.add(endpointKey, policyKey);
    const policy = this.#policies.get(policyKey);
    if (policy !== undefined) this.#tiers.setPolicy(policyKey, placementOf(policy));
    this.#dirty.add(endpointKey);
  }

  onPolicyMatchStopped(policyKey: string, endpointKey: string): void {
    this.#endpointsOf.delete(policyKey, endpointKey);
    this.#policiesOf.delete(endpointKey, policyKey);
    if (!this.#endpointsOf.has(policyKey)) this.#tiers.deletePolicy(policyKey);
    this.#dirty.add(endpointKey);
  }

  /** Hands the endpoints that changed, or whose policies did, to the sequencer. */
  flush(): void {
    for (const key of this.#dirty) {
      const endpoint = this.#endpoints.get(key);
      if (endpoint === undefined) this.#sendRemoval(key);
      else this.#send(key, endpoint);
    }
    this.#dirty.clear();
    this.#gone.clear();
  }

  #send(key: string, endpoint: LocalEndpoint): void {
    const tiers = this.#tiers.order(this.#policiesOf.get(key));
    if (endpoint.type === 'workload')
      this.#sequencer.workloads.update(key, workloadUpdate(endpoint.value, this.#extras.get(key) ?? NO_EXTRAS, tiers));
    else this.#sequencer.hostEndpoints.update(key, hostEndpointUpdate(endpoint.value, tiers));
  }

  #sendRemoval(key: string): void {
    const gone = this.#gone.get(key);
    if (gone?.type === 'workload') this.#sequencer.workloads.remove(key, workloadRemove(gone.value));
    else if (gone !== undefined) this.#sequencer.hostEndpoints.remove(key, hostEndpointRemove(gone.value));
  }

  #markAllMatched(): void {
    for (const key of this.#policiesOf.keys()) this.#dirty.add(key);
  }
}
