// Keeps the pool sets and the NAT-outgoing chain of one family (dataplane.md 2.2).
import type { IpSets } from '../ipsets/ip-sets.js';
import { OWN_SET_IDS } from '../model/ip-set.js';
import type { IPAMPool } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** What the manager is built from. */
export interface MasqueradeManagerOptions {
  readonly renderer: RuleRenderer;
  readonly natTable: RuleTable;
  readonly ipSets: IpSets;
  readonly maxSize: number;
}

/** The pool holds no workload or tunnel addresses, so traffic to it is still masqueraded. */
function isLoadBalancerOnly(pool: IPAMPool): boolean {
  return pool.allowedUses.length === 1 && pool.allowedUses[0] === 'LoadBalancer';
}

/** Writes both sets whole when a pool of the family changed: a cluster has few pools, and two may share a CIDR. */
export class MasqueradeManager implements Manager {
  readonly name: string;
  readonly #options: MasqueradeManagerOptions;
  readonly #pools = new Map<string, IPAMPool>();
  #isActive: boolean | null = null;
  #isDirty = true;

  constructor(options: MasqueradeManagerOptions) {
    this.#options = options;
    this.name = `masquerade/${options.ipSets.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'ipamPoolUpdate') this.#update(message.value.id, message.value.pool);
    else if (message.case === 'ipamPoolRemove') this.#update(message.value.id, undefined);
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    const { renderer, natTable, ipSets, maxSize } = this.#options;
    const pools = [...this.#pools.values()];
    const all = pools.filter((pool) => !isLoadBalancerOnly(pool)).map((pool) => pool.cidr);
    const masqueraded = pools.filter((pool) => pool.masquerade).map((pool) => pool.cidr);
    ipSets.setSet({ id: OWN_SET_IDS.networkPools, type: 'hash:net', maxSize }, new Set(all));
    ipSets.setSet({ id: OWN_SET_IDS.masqueradePools, type: 'hash:net', maxSize }, new Set(masqueraded));
    const isActive = masqueraded.length > 0;
    if (isActive !== this.#isActive) natTable.setChain(renderer.natOutgoingChain(isActive));
    this.#isActive = isActive;
    return true;
  }

  #update(id: string, pool: IPAMPool | undefined): void {
    const isOurs = pool !== undefined && pool.cidr.includes(':') === (this.#options.ipSets.family === 6);
    if (isOurs) this.#pools.set(id, pool);
    else if (!this.#pools.delete(id)) return;
    this.#isDirty = true;
  }
}
