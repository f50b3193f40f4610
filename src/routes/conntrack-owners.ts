// Decides which route changes need connection-tracking entries removed, and keeps the removals that are under way
// (6.2). Felix: `routetable.ConntrackCleanupManager`.
import type { Family } from '../model/family.js';
import type { RouteClass } from '../model/route.js';
import type { ConntrackCleaner } from './conntrack-cleaner.js';
import { singleAddress } from './fib.js';

interface Owner {
  readonly ifindex: number;
  readonly isRemote: boolean;
}

const LOCAL_CLASSES: ReadonlySet<RouteClass> = new Set<RouteClass>([
  'local-workload',
  'blackhole-vxlan',
  'blackhole-ipip',
  'blackhole-no-encap',
]);

/** Owners of single addresses: who they should belong to, and who they belonged to when last settled. */
export class ConntrackOwners {
  readonly #family: Family;
  readonly #cleaner: ConntrackCleaner;
  readonly #wanted = new Map<string, Owner>();
  readonly #settled = new Map<string, Owner>();
  readonly #changed = new Set<string>();
  readonly #toClean = new Set<string>();
  readonly #pending = new Map<string, Promise<void>>();

  constructor(family: Family, cleaner: ConntrackCleaner) {
    this.#family = family;
    this.#cleaner = cleaner;
  }

  /** The best route of a destination was decided; null = there is none. Wider prefixes are ignored. */
  setOwner(dst: string, owner: { readonly ifindex: number; readonly routeClass: RouteClass } | null): void {
    const address = singleAddress(dst, this.#family);
    if (address === null) return;
    if (owner === null) this.#wanted.delete(address);
    else this.#wanted.set(address, { ifindex: owner.ifindex, isRemote: !LOCAL_CLASSES.has(owner.routeClass) });
    this.#changed.add(address);
  }

  /** Whether the route in the kernel must go, and its flows with it, before its successor is written. */
  needsEarlyDelete(dst: string, kernelIfindex: number): boolean {
    const address = singleAddress(dst, this.#family);
    if (address === null) return false;
    const wanted = this.#wanted.get(address);
    const settled = this.#settled.get(address);
    // Programmed right before: what is in the kernel now is a stray, and the flows are those of the right owner.
    if (wanted !== undefined && settled !== undefined && wanted.ifindex === settled.ifindex) return false;
    if (wanted !== undefined && wanted.ifindex === kernelIfindex) return false;
    // Between two tunnels it may still be the same remote pod.
    return !(wanted?.isRemote === true && settled?.isRemote === true);
  }

  /** A route is gone from the kernel, deleted by us or found missing. */
  onRouteDeleted(dst: string, ifindex: number): void {
    const address = singleAddress(dst, this.#family);
    if (address === null) return;
    const wanted = this.#wanted.get(address);
    if (wanted !== undefined) {
      if (wanted.ifindex === ifindex || this.#settled.get(address)?.ifindex === wanted.ifindex) return;
    }
    this.#toClean.add(address);
  }

  /**
   * Starts the removals that were asked for and takes the wanted owners as settled, but for destinations whose old
   * route is still in the kernel.
   */
  startCleaning(stuck: ReadonlySet<string>): void {
    const stuckAddresses = new Set([...stuck].map((dst) => singleAddress(dst, this.#family)));
    for (const address of this.#toClean) {
      const done = this.#cleaner.clean(this.#family, address).then(() => {
        if (this.#pending.get(address) === done) this.#pending.delete(address);
      });
      this.#pending.set(address, done);
    }
    this.#toClean.clear();
    for (const address of this.#changed) {
      if (stuckAddresses.has(address)) continue;
      this.#changed.delete(address);
      const wanted = this.#wanted.get(address);
      if (wanted === undefined) this.#settled.delete(address);
      else this.#settled.set(address, wanted);
    }
  }

  /** The removal that a route to `dst` has to wait for, or null. */
  pendingFor(dst: string): Promise<void> | null {
    const address = singleAddress(dst, this.#family);
    return address === null ? null : (this.#pending.get(address) ?? null);
  }
}
