// Keeps the set of addresses whose traffic must not take the flow-offload fast path (dataplane.md 5.6).
import type { Logger } from '../base/logger.js';
import type { IpSets } from '../ipsets/ip-sets.js';
import { OWN_SET_IDS } from '../model/ip-set.js';
import type { HostEndpoint, WorkloadEndpoint } from '../protocol/gen/felix/felixbackend_pb.js';
import { EndpointAddressIndex } from './endpoint-addresses.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** What the manager is built from. It is built only for nftables with flow offload on. */
export interface FlowtableExclusionManagerOptions {
  readonly ipSets: IpSets;
  readonly maxSize: number;
  readonly log: Logger;
}

/** DSCP and packet-rate or connection limits live in rules that offloaded packets never see; bandwidth lives in tc. */
function needsRules(endpoint: WorkloadEndpoint): boolean {
  if (endpoint.qosPolicies.length > 0) return true;
  const qos = endpoint.qosControls;
  if (qos === undefined) return false;
  return [qos.IngressMaxConnections, qos.EgressMaxConnections, qos.IngressPacketRate, qos.EgressPacketRate].some(
    (limit) => limit !== 0n,
  );
}

/** Replaces the set when the addresses of such endpoints changed. */
export class FlowtableExclusionManager implements Manager {
  readonly name: string;
  readonly #options: FlowtableExclusionManagerOptions;
  readonly #index: EndpointAddressIndex<true>;

  constructor(options: FlowtableExclusionManagerOptions) {
    this.#options = options;
    this.name = `flowtable-exclusion/${options.ipSets.family}`;
    const question = {
      workload: (endpoint: WorkloadEndpoint): true | null => (needsRules(endpoint) ? true : null),
      host: (endpoint: HostEndpoint): true | null => (endpoint.qosPolicies.length > 0 ? true : null),
    };
    this.#index = new EndpointAddressIndex(options.ipSets.family, question, options.log);
  }

  onMessage(message: DataplaneMessage): void {
    this.#index.onMessage(message);
  }

  completeDeferredWork(): boolean {
    const entries = this.#index.takeIfDirty();
    if (entries === null) return true;
    const { ipSets, maxSize } = this.#options;
    const members = new Set(entries.flatMap(({ addresses }) => addresses));
    ipSets.setSet({ id: OWN_SET_IDS.noFlowOffload, type: 'hash:ip', maxSize }, members);
    return true;
  }
}
