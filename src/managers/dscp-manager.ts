// Keeps the DSCP marking of traffic that leaves the cluster (dataplane.md 2.5; differences.md row 6).
import type { Logger } from '../base/logger.js';
import type { IpSets } from '../ipsets/ip-sets.js';
import { OWN_SET_IDS } from '../model/ip-set.js';
import type { QoSPolicy } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import { EndpointAddressIndex } from './endpoint-addresses.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** What the manager is built from. */
export interface DscpManagerOptions {
  readonly renderer: RuleRenderer;
  readonly mangleTable: RuleTable;
  readonly ipSets: IpSets;
  readonly maxSize: number;
  readonly log: Logger;
}

const MAX_DSCP = 63;

/** One rule and one set member for each address of each endpoint that has a DSCP value; an invalid value counts as none. */
export class DscpManager implements Manager {
  readonly name: string;
  readonly #options: DscpManagerOptions;
  readonly #index: EndpointAddressIndex<number>;

  constructor(options: DscpManagerOptions) {
    this.#options = options;
    this.name = `dscp/${options.ipSets.family}`;
    const ask = (endpoint: { readonly name: string; readonly qosPolicies: readonly QoSPolicy[] }): number | null =>
      this.#dscp(endpoint.name, endpoint.qosPolicies);
    this.#index = new EndpointAddressIndex(options.ipSets.family, { workload: ask, host: ask }, options.log);
  }

  onMessage(message: DataplaneMessage): void {
    this.#index.onMessage(message);
  }

  completeDeferredWork(): boolean {
    const entries = this.#index.takeIfDirty();
    if (entries === null) return true;
    const { renderer, mangleTable, ipSets, maxSize } = this.#options;
    const values = entries.flatMap(({ addresses, value }) => addresses.map((address) => ({ address, dscp: value })));
    const members = new Set(values.map(({ address }) => address));
    ipSets.setSet({ id: OWN_SET_IDS.dscpSources, type: 'hash:net', maxSize }, members);
    mangleTable.setChain(renderer.dscpChain(values));
    return true;
  }

  #dscp(endpointName: string, policies: readonly QoSPolicy[]): number | null {
    const dscp = policies[0]?.dscp;
    if (dscp === undefined) return null;
    if (Number.isInteger(dscp) && dscp >= 0 && dscp <= MAX_DSCP) return dscp;
    this.#options.log.error('DSCP value is not between 0 and 63; traffic is not marked', { endpointName, dscp });
    return null;
  }
}
