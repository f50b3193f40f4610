// A status sink in memory.
import type { Family } from '../../src/model/family.js';
import type { EndpointStatus, StatusSink } from '../../src/model/status.js';
import type {
  HostEndpointID,
  WorkloadEndpoint,
  WorkloadEndpointID,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';

/** Keeps the last status per family and endpoint (`4 k8s/default/pod1/eth0`, `4 host h1`), and the calls. */
export class MemoryStatus implements StatusSink<WorkloadEndpointID, WorkloadEndpoint, HostEndpointID> {
  readonly statuses = new Map<string, EndpointStatus>();
  readonly endpoints = new Map<string, WorkloadEndpoint>();
  readonly wireguardKeys = new Map<Family, string>();
  /** `4 k8s/default/pod1/eth0 up`: what was reported since it was last emptied. */
  calls: string[] = [];

  setWorkloadStatus(
    family: Family,
    id: WorkloadEndpointID,
    status: EndpointStatus | null,
    endpoint: WorkloadEndpoint | null,
  ): void {
    const key = `${family} ${id.orchestratorId}/${id.workloadId}/${id.endpointId}`;
    this.#set(key, status);
    if (endpoint === null) this.endpoints.delete(key);
    else this.endpoints.set(key, endpoint);
  }

  setHostStatus(family: Family, id: HostEndpointID, status: EndpointStatus | null): void {
    this.#set(`${family} host ${id.endpointId}`, status);
  }

  setWireguardKey(family: Family, publicKey: string): void {
    this.wireguardKeys.set(family, publicKey);
  }

  #set(key: string, status: EndpointStatus | null): void {
    this.calls.push(`${key} ${status ?? 'gone'}`);
    if (status === null) this.statuses.delete(key);
    else this.statuses.set(key, status);
  }
}
