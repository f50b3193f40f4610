// Combines what the v4 and v6 managers say of an endpoint and queues the messages for the control plane (1.7).
import { create } from '@bufbuild/protobuf';
import type { Family } from '../model/family.js';
import type { EndpointStatus, StatusSink } from '../model/status.js';
import {
  HostEndpointStatusRemoveSchema,
  HostEndpointStatusUpdateSchema,
  IPVersion,
  WireguardStatusUpdateSchema,
  WorkloadEndpointStatusRemoveSchema,
  WorkloadEndpointStatusUpdateSchema,
  type HostEndpointID,
  type WorkloadEndpoint,
  type WorkloadEndpointID,
} from '../protocol/gen/felix/felixbackend_pb.js';
import type { FromDataplanePayload } from '../protocol/session.js';

interface Combined<Id> {
  readonly id: Id;
  readonly byFamily: Map<Family, EndpointStatus>;
  endpoint: WorkloadEndpoint | null;
}

const WORST_FIRST: readonly EndpointStatus[] = ['error', 'down', 'up'];

function worst(byFamily: ReadonlyMap<Family, EndpointStatus>): EndpointStatus | null {
  for (const status of WORST_FIRST) {
    for (const own of byFamily.values()) if (own === status) return status;
  }
  return null;
}

/** A workload endpoint's combined status, for the status files. `status` null = gone. */
export interface WorkloadStatus {
  readonly id: WorkloadEndpointID;
  readonly status: EndpointStatus | null;
  readonly endpoint: WorkloadEndpoint | null;
}

/** Key of a workload endpoint id; unique because the parts are joined by a character none of them may hold. */
export function workloadKey(id: WorkloadEndpointID): string {
  return `${id.orchestratorId}\u0000${id.workloadId}\u0000${id.endpointId}`;
}

/**
 * Takes statuses per family, worst wins (error, down, up). `drain` hands out one message for every endpoint that was
 * reported since, even if its status stayed the same, or if it went without one.
 */
export class StatusCombiner implements StatusSink<WorkloadEndpointID, WorkloadEndpoint, HostEndpointID> {
  readonly #workloads = new Map<string, Combined<WorkloadEndpointID>>();
  readonly #hosts = new Map<string, Combined<HostEndpointID>>();
  readonly #dirtyWorkloads = new Set<string>();
  readonly #dirtyHosts = new Set<string>();
  readonly #wireguardKeys = new Map<Family, string>();
  readonly #dirtyWireguard = new Set<Family>();

  setWorkloadStatus(
    family: Family,
    id: WorkloadEndpointID,
    status: EndpointStatus | null,
    endpoint: WorkloadEndpoint | null,
  ): void {
    const key = workloadKey(id);
    let combined = this.#workloads.get(key);
    if (combined === undefined) {
      combined = { id, byFamily: new Map(), endpoint: null };
      this.#workloads.set(key, combined);
    }
    if (status === null) combined.byFamily.delete(family);
    else {
      combined.byFamily.set(family, status);
      combined.endpoint = endpoint;
    }
    this.#dirtyWorkloads.add(key);
  }

  setHostStatus(family: Family, id: HostEndpointID, status: EndpointStatus | null): void {
    let combined = this.#hosts.get(id.endpointId);
    if (combined === undefined) {
      combined = { id, byFamily: new Map(), endpoint: null };
      this.#hosts.set(id.endpointId, combined);
    }
    if (status === null) combined.byFamily.delete(family);
    else combined.byFamily.set(family, status);
    this.#dirtyHosts.add(id.endpointId);
  }

  setWireguardKey(family: Family, publicKey: string): void {
    if (this.#wireguardKeys.get(family) === publicKey) return;
    this.#wireguardKeys.set(family, publicKey);
    this.#dirtyWireguard.add(family);
  }

  /** The messages due now, and the workload statuses among them; both lists empty the next time. */
  drain(): { readonly messages: FromDataplanePayload[]; readonly workloads: WorkloadStatus[] } {
    const messages: FromDataplanePayload[] = [];
    const workloads: WorkloadStatus[] = [];
    for (const key of this.#dirtyWorkloads) {
      const combined = this.#workloads.get(key);
      if (combined === undefined) continue;
      const status = worst(combined.byFamily);
      if (status === null) this.#workloads.delete(key);
      workloads.push({ id: combined.id, status, endpoint: combined.endpoint });
      messages.push(workloadMessage(combined, status));
    }
    for (const key of this.#dirtyHosts) {
      const combined = this.#hosts.get(key);
      if (combined === undefined) continue;
      const status = worst(combined.byFamily);
      if (status === null) this.#hosts.delete(key);
      messages.push(hostMessage(combined.id, status));
    }
    for (const family of this.#dirtyWireguard) {
      const publicKey = this.#wireguardKeys.get(family) ?? '';
      const ipVersion = family === 4 ? IPVersion.IPV4 : IPVersion.IPV6;
      messages.push({
        case: 'wireguardStatusUpdate',
        value: create(WireguardStatusUpdateSchema, { publicKey, ipVersion }),
      });
    }
    this.#dirtyWorkloads.clear();
    this.#dirtyHosts.clear();
    this.#dirtyWireguard.clear();
    return { messages, workloads };
  }
}

function workloadMessage(
  { id, endpoint }: Combined<WorkloadEndpointID>,
  status: EndpointStatus | null,
): FromDataplanePayload {
  if (status === null) {
    return { case: 'workloadEndpointStatusRemove', value: create(WorkloadEndpointStatusRemoveSchema, { id }) };
  }
  const value = create(WorkloadEndpointStatusUpdateSchema, { id, status: { status } });
  if (endpoint !== null) value.endpoint = endpoint;
  return { case: 'workloadEndpointStatusUpdate', value };
}

function hostMessage(id: HostEndpointID, status: EndpointStatus | null): FromDataplanePayload {
  return status === null
    ? { case: 'hostEndpointStatusRemove', value: create(HostEndpointStatusRemoveSchema, { id }) }
    : { case: 'hostEndpointStatusUpdate', value: create(HostEndpointStatusUpdateSchema, { id, status: { status } }) };
}
