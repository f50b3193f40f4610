// Keeps the set `this-host`: every address of this host's own interfaces (dataplane.md 2.1 hostIPManager).
import type { IpSets } from '../ipsets/ip-sets.js';
import type { InterfaceAddressEvent } from '../model/interface.js';
import { OWN_SET_IDS } from '../model/ip-set.js';
import type { Manager } from './manager.js';

/** What the manager is built from. */
export interface HostIpManagerOptions {
  readonly ipSets: IpSets;
  readonly maxSize: number;
  /** Workload interface prefixes; addresses of such interfaces do not count. */
  readonly interfacePrefixes: readonly string[];
}

/** Replaces the whole set when addresses changed; the set is first made by the first address event. */
export class HostIpManager implements Manager {
  readonly name: string;
  readonly #options: HostIpManagerOptions;
  readonly #addresses = new Map<string, ReadonlySet<string>>();
  #isDirty = false;

  constructor(options: HostIpManagerOptions) {
    this.#options = options;
    this.name = `host-ip/${options.ipSets.family}`;
  }

  onMessage(): void {}

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    if (this.#options.interfacePrefixes.some((prefix) => event.name.startsWith(prefix))) return;
    if (event.addresses === null) this.#addresses.delete(event.name);
    else this.#addresses.set(event.name, event.addresses);
    this.#isDirty = true;
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    const { ipSets, maxSize } = this.#options;
    const members = new Set<string>();
    for (const addresses of this.#addresses.values()) for (const address of addresses) members.add(address);
    ipSets.setSet({ id: OWN_SET_IDS.thisHost, type: 'hash:ip', maxSize }, members);
    return true;
  }
}
