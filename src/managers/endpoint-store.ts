// The workload endpoints of the stream, by id and by interface, and which of several endpoints owns an interface.
import type { EndpointKey } from '../model/status.js';
import type { WorkloadEndpoint, WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import { compareWorkloadIds, workloadEndpointKey } from './endpoint-keys.js';
import { interfaceNameProblem } from './interface-name.js';

/** One endpoint as the stream has it. */
export interface WorkloadRecord {
  readonly key: EndpointKey;
  readonly id: WorkloadEndpointID;
  readonly endpoint: WorkloadEndpoint;
  /** Why it cannot be programmed at all, or null. Such a record owns no interface. */
  readonly problem: string | null;
}

/** Endpoints by id; of those that claim one interface the lowest id owns it, the others are shadowed (1.2). */
export class EndpointStore {
  readonly #records = new Map<EndpointKey, WorkloadRecord>();
  readonly #claims = new Map<string, Map<EndpointKey, WorkloadRecord>>();

  get(key: EndpointKey): WorkloadRecord | null {
    return this.#records.get(key) ?? null;
  }

  /** Adds or replaces an endpoint; returns the interfaces whose owner, or whose owner's content, may be another now. */
  update(id: WorkloadEndpointID, endpoint: WorkloadEndpoint): string[] {
    const key = workloadEndpointKey(id);
    const touched = this.remove(key);
    const record = { key, id, endpoint, problem: interfaceNameProblem(endpoint.name) };
    this.#records.set(key, record);
    if (record.problem !== null) return touched;
    const claims = this.#claims.get(endpoint.name) ?? new Map<EndpointKey, WorkloadRecord>();
    claims.set(key, record);
    this.#claims.set(endpoint.name, claims);
    return [...touched, endpoint.name];
  }

  /** Removes an endpoint; returns the interfaces touched, as `update` does. */
  remove(key: EndpointKey): string[] {
    const record = this.#records.get(key);
    if (record === undefined) return [];
    this.#records.delete(key);
    if (record.problem !== null) return [];
    const { name } = record.endpoint;
    const claims = this.#claims.get(name);
    claims?.delete(key);
    if (claims?.size === 0) this.#claims.delete(name);
    return [name];
  }

  /** The endpoint that owns the interface, or null. */
  ownerOf(interfaceName: string): WorkloadRecord | null {
    let best: WorkloadRecord | null = null;
    for (const record of this.#claims.get(interfaceName)?.values() ?? []) {
      if (best === null || compareWorkloadIds(record.id, best.id) < 0) best = record;
    }
    return best;
  }

  /** True if another endpoint owns the interface that this one claims. */
  isShadowed(record: WorkloadRecord): boolean {
    return record.problem === null && this.ownerOf(record.endpoint.name) !== record;
  }
}
