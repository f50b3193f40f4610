// The keys under which endpoints, policies and users of policies are kept in maps, and their order.
import type { EndpointKey } from '../model/status.js';
import type { PolicyID, WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';

/**
 * Whoever has chains of its own that refer to policies: `workload:cali1` or `host:eth0`. Keyed by interface, not by
 * endpoint, because that is what chains are named after: what is programmed for an interface then never depends on the
 * order in which endpoints came and went.
 */
export type UnitKey = `workload:${string}` | `host:${string}`;

/** Key of a workload endpoint: its three fields, each path-escaped, joined by `/`. */
export function workloadEndpointKey(id: WorkloadEndpointID): EndpointKey {
  return [id.orchestratorId, id.workloadId, id.endpointId].map(encodeURIComponent).join('/');
}

/** Key of a policy; the parts are joined by a character that no Kubernetes name has. */
export function policyKey(id: PolicyID): string {
  return `${id.kind}|${id.namespace}|${id.name}`;
}

/** Bytewise order, as Go compares strings. */
export function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** Order of workload endpoints that claim one interface: field by field; the lowest wins (1.2). */
export function compareWorkloadIds(left: WorkloadEndpointID, right: WorkloadEndpointID): number {
  return (
    compareBytes(left.orchestratorId, right.orchestratorId) ||
    compareBytes(left.workloadId, right.workloadId) ||
    compareBytes(left.endpointId, right.endpointId)
  );
}
