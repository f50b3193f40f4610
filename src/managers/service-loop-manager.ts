// Keeps `cali-cidr-block`: traffic to service CIDRs that no service took must not go back out (dataplane.md 3.4).
import { isPlainEqual } from '../base/plain-equal.js';
import { addressFamily } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { Chain } from '../model/chain.js';
import type { GlobalBGPConfigUpdate } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** What the manager is built from. */
export interface ServiceLoopManagerOptions {
  readonly renderer: RuleRenderer;
  readonly filterTable: RuleTable;
  readonly log: Logger;
}

/** The chain always exists, and is empty until the BGP configuration names CIDRs of the family. */
export class ServiceLoopManager implements Manager {
  readonly name: string;
  readonly #options: ServiceLoopManagerOptions;
  #config: GlobalBGPConfigUpdate | null = null;
  #isDirty = true;
  #chain: Chain | null = null;

  constructor(options: ServiceLoopManagerOptions) {
    this.#options = options;
    this.name = `service-loop/${options.filterTable.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case !== 'globalBgpConfigUpdate') return;
    this.#config = message.value;
    this.#isDirty = true;
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    const { renderer, filterTable } = this.#options;
    const chain = renderer.cidrBlockChain(this.#ownCidrs());
    if (!isPlainEqual(chain, this.#chain)) filterTable.setChain(chain);
    this.#chain = chain;
    return true;
  }

  #ownCidrs(): string[] {
    const config = this.#config;
    if (config === null) return [];
    const all = [...config.serviceClusterCidrs, ...config.serviceExternalCidrs, ...config.serviceLoadbalancerCidrs];
    return all.filter((cidr) => {
      const family = addressFamily(cidr);
      if (family === null) this.#options.log.error('service CIDR is not a CIDR; it is not blocked', { cidr });
      return family === this.#options.filterTable.family;
    });
  }
}
