// What is known of the node's links, and what of it has been told: turns link states and address lists into events
// (dataplane.md 2.8). No I/O.
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../model/interface.js';

/** Where events go. */
export interface LinkStateSinks {
  readonly onState: (event: InterfaceStateEvent) => void;
  readonly onAddresses: (event: InterfaceAddressEvent) => void;
  /** The addresses of this link should be listed: it is new, came up, went down, or is told of only now. */
  readonly onStaleAddresses: (ifindex: number) => void;
}

interface LinkInfo {
  readonly ifindex: number;
  name: string;
  isRunning: boolean;
  addresses: Set<string>;
  /** Addresses have been told at least once. */
  addressesTold: boolean;
}

/** Links by index. Two links that share a name for a moment (one is being replaced) are told only once one is left. */
export class LinkState {
  readonly #sinks: LinkStateSinks;
  readonly #tracksAddresses: (name: string) => boolean;
  readonly #byIndex = new Map<number, LinkInfo>();
  readonly #indexesByName = new Map<string, Set<number>>();

  constructor(sinks: LinkStateSinks, tracksAddresses: (name: string) => boolean) {
    this.#sinks = sinks;
    this.#tracksAddresses = tracksAddresses;
  }

  indexes(): number[] {
    return [...this.#byIndex.keys()];
  }

  nameOf(ifindex: number): string | undefined {
    return this.#byIndex.get(ifindex)?.name;
  }

  /** Index of the link of that name; undefined if there is none or more than one. */
  indexOf(name: string): number | undefined {
    const indexes = this.#indexesByName.get(name);
    return indexes?.size === 1 ? [...indexes][0] : undefined;
  }

  /** The link exists in this state. */
  setLink(ifindex: number, name: string, isRunning: boolean): void {
    const old = this.#byIndex.get(ifindex);
    if (old !== undefined && old.name === name && old.isRunning === isRunning) return;
    if (old !== undefined && old.name !== name) this.removeLink(ifindex);
    const info = this.#byIndex.get(ifindex) ?? {
      ifindex,
      name,
      isRunning,
      addresses: new Set<string>(),
      addressesTold: false,
    };
    info.isRunning = isRunning;
    this.#byIndex.set(ifindex, info);
    const indexes = this.#indexesByName.get(name) ?? new Set<number>();
    indexes.add(ifindex);
    this.#indexesByName.set(name, indexes);
    if (indexes.size === 1) this.#tellState(info);
  }

  /** The link is gone. A link of the same name that was held back is told now. */
  removeLink(ifindex: number): void {
    const info = this.#byIndex.get(ifindex);
    if (info === undefined) return;
    this.#byIndex.delete(ifindex);
    const indexes = this.#indexesByName.get(info.name);
    indexes?.delete(ifindex);
    if (indexes !== undefined && indexes.size > 1) return;
    this.#sinks.onState({ name: info.name, state: 'absent', ifindex: 0 });
    if (this.#tracksAddresses(info.name)) this.#sinks.onAddresses({ name: info.name, addresses: null });
    const [left] = indexes ?? [];
    const heldBack = left === undefined ? undefined : this.#byIndex.get(left);
    if (heldBack === undefined) this.#indexesByName.delete(info.name);
    else this.#tellState(heldBack);
  }

  /** One address came or went. */
  changeAddress(ifindex: number, address: string, isGone: boolean): void {
    const info = this.#byIndex.get(ifindex);
    if (info === undefined || !this.#tracksAddresses(info.name)) return;
    const changed = isGone ? info.addresses.delete(address) : !info.addresses.has(address);
    if (!isGone) info.addresses.add(address);
    if (changed) this.#tellAddresses(info);
  }

  /** All addresses of the link, from a listing. Told if they differ, or were never told. */
  setAddresses(ifindex: number, addresses: ReadonlySet<string>): void {
    const info = this.#byIndex.get(ifindex);
    if (info === undefined || !this.#tracksAddresses(info.name)) return;
    const same = info.addresses.size === addresses.size && [...addresses].every((item) => info.addresses.has(item));
    if (same && info.addressesTold) return;
    info.addresses = new Set(addresses);
    this.#tellAddresses(info);
  }

  #tellState(info: LinkInfo): void {
    this.#sinks.onState({ name: info.name, state: info.isRunning ? 'up' : 'down', ifindex: info.ifindex });
    if (this.#tracksAddresses(info.name)) this.#sinks.onStaleAddresses(info.ifindex);
  }

  #tellAddresses(info: LinkInfo): void {
    if ((this.#indexesByName.get(info.name)?.size ?? 0) > 1) return;
    info.addressesTold = true;
    this.#sinks.onAddresses({ name: info.name, addresses: new Set(info.addresses) });
  }
}
