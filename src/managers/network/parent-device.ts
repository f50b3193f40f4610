// Finds the interface that holds the node's own underlay address (dataplane.md 6.4), from the interface monitor's
// address events: no scan, no timer.
import type { InterfaceAddressEvent } from '../../model/interface.js';

/** Follows one address across interfaces. */
export class ParentDevice {
  readonly #addresses = new Map<string, ReadonlySet<string>>();
  #underlay: string | null = null;
  #name: string | null = null;

  /** The interface; stays what it was when the address is nowhere, so that routes wait instead of being withdrawn. */
  get name(): string | null {
    return this.#name;
  }

  /** The address to look for, canonical and without length; null = not known. Returns whether the interface changed. */
  setUnderlay(address: string | null): boolean {
    this.#underlay = address;
    return this.#find();
  }

  get underlay(): string | null {
    return this.#underlay;
  }

  /** Takes an event in. Returns whether the interface changed. */
  onAddresses(event: InterfaceAddressEvent): boolean {
    if (event.addresses === null) this.#addresses.delete(event.name);
    else this.#addresses.set(event.name, event.addresses);
    return this.#find();
  }

  #find(): boolean {
    const underlay = this.#underlay;
    if (underlay === null) return false;
    if (this.#name !== null && this.#addresses.get(this.#name)?.has(underlay) === true) return false;
    // Bytewise order, so that the outcome does not depend on the order of events.
    const holders = [...this.#addresses].filter(([, addresses]) => addresses.has(underlay)).map(([name]) => name);
    const found = holders.sort().at(0);
    if (found === undefined || found === this.#name) return false;
    this.#name = found;
    return true;
  }
}
