// Keeps the set `all-hosts-net`: the address of every node of one family (dataplane.md 2.1 hostsIPSetManager).
import { withoutLength } from './addresses.js';
import type { IpSets } from '../ipsets/ip-sets.js';
import { OWN_SET_IDS } from '../model/ip-set.js';
import type { DataplaneMessage, Manager } from './manager.js';

/** What the manager is built from. It is built only where the set is wanted: IPIP (v4), or host exclusions from NAT. */
export interface HostsIpSetManagerOptions {
  readonly ipSets: IpSets;
  readonly maxSize: number;
  /** ExternalNodesCIDRList; IPv4 only, as IPIP is. */
  readonly externalNodes: readonly string[];
}

/** Rewrites the whole set when a node changed: nodes seldom change, and two may share an address for a while. */
export class HostsIpSetManager implements Manager {
  readonly name: string;
  readonly #options: HostsIpSetManagerOptions;
  readonly #addresses = new Map<string, string>();
  #isDirty = true;

  constructor(options: HostsIpSetManagerOptions) {
    this.#options = options;
    this.name = `hosts-ip-set/${options.ipSets.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'hostMetadataUpdate') {
      const { hostname, ipv4Addr, ipv6Addr } = message.value;
      this.#setAddress(hostname, withoutLength(this.#options.ipSets.family === 4 ? ipv4Addr : ipv6Addr));
    } else if (message.case === 'hostMetadataRemove') this.#setAddress(message.value.hostname, '');
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    const { ipSets, maxSize, externalNodes } = this.#options;
    const members = new Set(this.#addresses.values());
    if (ipSets.family === 4) for (const cidr of externalNodes) members.add(cidr);
    ipSets.setSet({ id: OWN_SET_IDS.allHosts, type: 'hash:net', maxSize }, members);
    return true;
  }

  /** A node without an address of the family counts as gone, or the outcome would depend on how updates are batched. */
  #setAddress(hostname: string, address: string): void {
    if ((this.#addresses.get(hostname) ?? '') === address) return;
    if (address === '') this.#addresses.delete(hostname);
    else this.#addresses.set(hostname, address);
    this.#isDirty = true;
  }
}
