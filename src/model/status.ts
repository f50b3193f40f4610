// Endpoint status as managers report it; v4 and v6 are combined by the driver (1.7).
import type { Family } from './family.js';

/** `error` beats `down` beats `up`; null = unknown, to be removed. */
export type EndpointStatus = 'up' | 'down' | 'error';

/** Key of an endpoint as one string: `orchestrator/workload/endpoint`, each part path-escaped; or a host endpoint id. */
export type EndpointKey = string;

/** Where managers report endpoint status. Each call queues a message even if the status stays the same (1.7). */
export interface StatusSink<WorkloadId, Workload, HostId> {
  setWorkloadStatus(family: Family, id: WorkloadId, status: EndpointStatus | null, endpoint: Workload | null): void;
  setHostStatus(family: Family, id: HostId, status: EndpointStatus | null): void;
  setWireguardKey(family: Family, publicKey: string): void;
}
