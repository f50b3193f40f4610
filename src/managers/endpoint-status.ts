// Which endpoints' statuses are due, and handing them to the sink (dataplane.md 1.7).
import type { Family } from '../model/family.js';
import type { EndpointStatus, StatusSink } from '../model/status.js';
import type { HostEndpointID, WorkloadEndpoint, WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import { workloadEndpointKey } from './endpoint-keys.js';

/** The sink of endpoint managers. */
export type EndpointStatusSink = StatusSink<WorkloadEndpointID, WorkloadEndpoint, HostEndpointID>;

/** A status as it is now. */
export interface StatusVerdict {
  /** Null = no such endpoint. */
  readonly status: EndpointStatus | null;
  /** False = it may change without any news; look again after the next apply. */
  readonly isSettled: boolean;
}

/** How statuses are found out. */
export interface StatusSource {
  workload(id: WorkloadEndpointID): StatusVerdict & { readonly endpoint: WorkloadEndpoint | null };
  host(id: HostEndpointID): StatusVerdict;
}

/** One kind of endpoint: what is due, what to look at again, what was said last. */
class Due<Id> {
  readonly marked = new Map<string, Id>();
  /** Those of `marked` that a message removed: their end is told even if nothing was told of them before. */
  readonly removed = new Set<string>();
  readonly rechecks = new Map<string, Id>();
  readonly last = new Map<string, EndpointStatus>();

  /** Calls `send` for what is marked, and for rechecks whose status changed. */
  flush<Verdict extends StatusVerdict>(evaluate: (id: Id) => Verdict, send: (id: Id, verdict: Verdict) => void): void {
    const marked = new Map(this.marked);
    const rechecks = new Map(this.rechecks);
    const removed = new Set(this.removed);
    this.marked.clear();
    this.removed.clear();
    this.rechecks.clear();
    for (const [key, id] of new Map([...rechecks, ...marked])) {
      const verdict = evaluate(id);
      if (!verdict.isSettled) this.rechecks.set(key, id);
      const last = this.last.get(key) ?? null;
      if (!marked.has(key) && verdict.status === last) continue;
      if (verdict.status === null && last === null && !removed.has(key)) continue;
      if (verdict.status === null) this.last.delete(key);
      else this.last.set(key, verdict.status);
      send(id, verdict);
    }
  }
}

/**
 * Endpoints that are marked are reported at the next `report` even if the status stays the same; those to be rechecked
 * only if it changed.
 */
export class EndpointStatuses {
  readonly #workloads = new Due<WorkloadEndpointID>();
  readonly #hosts = new Due<HostEndpointID>();

  markWorkload(id: WorkloadEndpointID): void {
    this.#workloads.marked.set(workloadEndpointKey(id), id);
  }

  /** A message removed the endpoint: Felix reports that for every such message. */
  removeWorkload(id: WorkloadEndpointID): void {
    this.markWorkload(id);
    this.#workloads.removed.add(workloadEndpointKey(id));
  }

  recheckWorkload(id: WorkloadEndpointID): void {
    this.#workloads.rechecks.set(workloadEndpointKey(id), id);
  }

  markHost(id: HostEndpointID): void {
    this.#hosts.marked.set(id.endpointId, id);
  }

  /** As `removeWorkload`. */
  removeHost(id: HostEndpointID): void {
    this.markHost(id);
    this.#hosts.removed.add(id.endpointId);
  }

  recheckHost(id: HostEndpointID): void {
    this.#hosts.rechecks.set(id.endpointId, id);
  }

  /** Hands over what is due. */
  report(family: Family, source: StatusSource, sink: EndpointStatusSink): void {
    this.#workloads.flush(
      (id) => source.workload(id),
      (id, { status, endpoint }) => sink.setWorkloadStatus(family, id, status, endpoint),
    );
    this.#hosts.flush(
      (id) => source.host(id),
      (id, { status }) => sink.setHostStatus(family, id, status),
    );
  }
}
