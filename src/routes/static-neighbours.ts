// Permanent ARP entries of local workloads: what is wanted and what the kernel was last seen to have (6.1, trap 40).
// Entries are never deleted; they go with their interface.
import type { KernelNeighbour } from './route-kernel.js';

/** Wanted entries by interface. Costs of a plan follow the interfaces that were touched. */
export class StaticNeighbours {
  readonly #wanted = new Map<string, Map<string, string>>();
  readonly #known = new Map<string, Map<string, string>>();
  readonly #dirty = new Set<string>();

  /** Replaces what is wanted on the interface: address → MAC. */
  setAll(interfaceName: string, entries: ReadonlyMap<string, string>): void {
    if (entries.size === 0) {
      this.#wanted.delete(interfaceName);
      this.#dirty.delete(interfaceName);
      return;
    }
    this.#wanted.set(interfaceName, new Map(entries));
    this.#dirty.add(interfaceName);
  }

  wantedOn(interfaceName: string): ReadonlyMap<string, string> {
    return this.#wanted.get(interfaceName) ?? new Map<string, string>();
  }

  /** Names of the interfaces on which anything is wanted. */
  interfaces(): string[] {
    return [...this.#wanted.keys()];
  }

  /** The interface is gone or was down: the kernel has dropped its entries, or may have. */
  forgetKnown(interfaceName: string): void {
    this.#known.delete(interfaceName);
    if (this.#wanted.has(interfaceName)) this.#dirty.add(interfaceName);
  }

  /** Takes a listing in, of all interfaces or of the named ones. */
  adopt(listed: readonly KernelNeighbour[], interfaceNames: readonly string[] | null): void {
    if (interfaceNames === null) this.#known.clear();
    for (const name of interfaceNames ?? []) this.#known.delete(name);
    for (const entry of listed) this.confirm(entry);
    for (const name of interfaceNames ?? this.#wanted.keys()) if (this.#wanted.has(name)) this.#dirty.add(name);
  }

  /** Entries to write on interfaces that exist; those that do not are kept for later. */
  plan(exists: (interfaceName: string) => boolean): KernelNeighbour[] {
    const writes: KernelNeighbour[] = [];
    for (const interfaceName of this.#dirty) {
      if (!exists(interfaceName)) continue;
      const known = this.#known.get(interfaceName);
      for (const [address, mac] of this.wantedOn(interfaceName)) {
        if (known?.get(address) !== mac) writes.push({ family: 4, interfaceName, address, mac });
      }
    }
    return writes;
  }

  /** An entry is in the kernel. */
  confirm(entry: KernelNeighbour): void {
    const known = this.#known.get(entry.interfaceName) ?? new Map<string, string>();
    known.set(entry.address, entry.mac);
    this.#known.set(entry.interfaceName, known);
  }

  /** A plan was carried out on these interfaces without leaving anything behind. */
  settle(exists: (interfaceName: string) => boolean): void {
    for (const interfaceName of [...this.#dirty]) {
      if (!exists(interfaceName)) continue;
      const known = this.#known.get(interfaceName);
      const wanted = this.wantedOn(interfaceName);
      if ([...wanted].every(([address, mac]) => known?.get(address) === mac)) this.#dirty.delete(interfaceName);
    }
  }
}
