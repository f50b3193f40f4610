// Keeps at most one link-scope address on each workload interface, for workloads that peer by BGP with the node
// (dataplane.md 6.8). Addresses that the kernel made itself are left alone.
import { errorMessage } from '../base/errors.js';
import { canonicalCidr } from '../base/ip.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import { carryOut, GONE, type PlannedWrite, type WriteContext } from './kernel-writes.js';
import { SCOPE_LINK, type KernelAddress } from './route-kernel.js';
import type { LinkAddresses } from './route-table.js';

/** What the reconciler of one family is made with. */
export interface LinkAddressesOptions extends WriteContext {
  readonly family: Family;
  readonly workloadPrefixes: readonly string[];
  /** RouteSyncDisabled. */
  readonly disabled: boolean;
}

function isMadeByKernel(address: KernelAddress): boolean {
  return address.family === 6 && address.address.startsWith('fe80:') && address.length === 64;
}

function cidrOf(address: KernelAddress): string {
  return `${address.address}/${address.length}`;
}

/** Wanted and known addresses by interface. Reads all addresses once, and again at a resync. */
export class LinkAddressesReconciler implements LinkAddresses, Reconciler {
  readonly name: string;
  readonly family: Family;
  readonly #options: LinkAddressesOptions;
  readonly #wanted = new Map<string, string>();
  readonly #known = new Map<string, readonly KernelAddress[]>();
  readonly #present = new Set<string>();
  readonly #dirty = new Set<string>();
  #needsResync = true;
  #heardSinceListing = false;

  constructor(options: LinkAddressesOptions) {
    this.#options = options;
    this.family = options.family;
    this.name = `link-addresses-v${options.family}`;
  }

  setAddress(interfaceName: string, cidr: string | null): void {
    const canonical = cidr === null ? null : canonicalCidr(cidr);
    if (cidr !== null && (canonical === null || canonical.includes(':') !== (this.family === 6))) {
      this.#options.logger.error('Link address cannot be used, the interface gets none', { interfaceName, cidr });
    }
    if (canonical === (this.#wanted.get(interfaceName) ?? null)) return;
    if (canonical === null) this.#wanted.delete(interfaceName);
    else this.#wanted.set(interfaceName, canonical);
    this.#dirty.add(interfaceName);
  }

  /** A re-created interface has no addresses. */
  onInterfaceState(event: InterfaceStateEvent): void {
    if (!this.#isOurs(event.name)) return;
    this.#heardSinceListing = true;
    if (event.state === 'absent') {
      this.#present.delete(event.name);
      this.#known.delete(event.name);
      return;
    }
    if (!this.#present.has(event.name) && this.#wanted.has(event.name)) this.#dirty.add(event.name);
    this.#present.add(event.name);
  }

  queueResync(): void {
    this.#needsResync = true;
  }

  async apply(): Promise<ApplyResult> {
    if (this.#options.disabled) return { refused: [], operations: 0 };
    try {
      await this.#resync();
      return await this.#write();
    } catch (error) {
      this.#needsResync = true;
      this.#options.logger.warn('Link addresses could not be set, will try again', { error: errorMessage(error) });
      return { refused: [], operations: 0, failed: true };
    }
  }

  #isOurs(name: string): boolean {
    return this.#options.workloadPrefixes.some((prefix) => name.startsWith(prefix));
  }

  async #resync(): Promise<void> {
    if (!this.#needsResync) return;
    const { kernel } = this.#options;
    this.#needsResync = false;
    this.#heardSinceListing = false;
    this.#present.clear();
    for (const link of await kernel.listLinks()) if (this.#isOurs(link.name)) this.#present.add(link.name);
    this.#known.clear();
    for (const address of await kernel.listAddresses()) {
      if (address.family !== this.family || !this.#isOurs(address.interfaceName) || isMadeByKernel(address)) continue;
      this.#known.set(address.interfaceName, [...(this.#known.get(address.interfaceName) ?? []), address]);
      this.#dirty.add(address.interfaceName);
    }
    for (const name of this.#wanted.keys()) this.#dirty.add(name);
    // The listing may be older than what was heard meanwhile.
    if (this.#heardSinceListing) this.#needsResync = true;
  }

  async #write(): Promise<ApplyResult> {
    const dirty = [...this.#dirty];
    // What is heard from here on is newer, and is seen to by the next apply.
    this.#dirty.clear();
    const names = dirty.filter((name) => this.#present.has(name));
    const outcome = await carryOut(
      this.#options,
      names.flatMap((name) => this.#plan(name)),
    );
    const stuck = new Set<string>();
    for (const { write, message } of outcome.failures) {
      this.#options.logger.warn('Link address could not be changed, will try again', {
        address: write.object,
        error: message,
      });
      if ('address' in write.operation) stuck.add(write.operation.address.interfaceName);
    }
    for (const name of dirty) {
      if (stuck.has(name)) this.#dirty.add(name);
      // An interface that is not there is heard of again; until then there is nothing to do.
      if (this.#dirty.has(name)) continue;
      const cidr = this.#wanted.get(name);
      if (cidr === undefined || !this.#present.has(name)) this.#known.delete(name);
      else this.#known.set(name, [this.#addressOf(name, cidr)]);
    }
    if (stuck.size > 0) this.#needsResync = true;
    return { refused: [], operations: outcome.operations, ...(stuck.size > 0 ? { failed: true } : {}) };
  }

  /** Deletes first: the kernel takes the first address of a prefix for the primary one. */
  #plan(interfaceName: string): PlannedWrite[] {
    const wanted = this.#wanted.get(interfaceName);
    const known = this.#known.get(interfaceName) ?? [];
    const writes: PlannedWrite[] = known
      .filter((address) => cidrOf(address) !== wanted)
      .map((address) => ({
        operation: { op: 'delete-address', address },
        object: `${cidrOf(address)} dev ${interfaceName}`,
        forgiven: GONE,
      }));
    if (wanted !== undefined && !known.some((address) => cidrOf(address) === wanted)) {
      writes.push({
        operation: { op: 'add-address', address: this.#addressOf(interfaceName, wanted) },
        object: `${wanted} dev ${interfaceName}`,
        forgiven: ['exists', 'interface-missing'],
      });
    }
    return writes;
  }

  #addressOf(interfaceName: string, cidr: string): KernelAddress {
    const slash = cidr.indexOf('/');
    const length = Number(cidr.slice(slash + 1));
    return { interfaceName, family: this.family, address: cidr.slice(0, slash), length, scope: SCOPE_LINK };
  }
}
