// Host-endpoint resolution: which host endpoint governs which interface (dataplane.md 2.4). Incremental: an update
// looks only at the interfaces that it can concern.
import { canonicalAddress } from '../base/ip.js';
import type { HostEndpoint, HostEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import { ANY_INTERFACE } from '../rules/renderer.js';
import { compareBytes } from './endpoint-keys.js';

/** One host endpoint as the stream has it. */
export interface HostRecord {
  readonly id: HostEndpointID;
  readonly endpoint: HostEndpoint;
}

/** An interface that was resolved anew; `owner` null = no host endpoint governs it. */
export interface HostResolution {
  readonly interfaceName: string;
  readonly owner: HostRecord | null;
  readonly previousId: string | null;
}

const ALL_INTERFACES = '*';

function expectedAddresses(endpoint: HostEndpoint): Set<string> {
  const texts = [...endpoint.expectedIpv4Addrs, ...endpoint.expectedIpv6Addrs];
  return new Set(texts.map((text) => canonicalAddress(text) ?? text));
}

/** A map of sets that forgets empty ones. */
class Index {
  readonly #sets = new Map<string, Set<string>>();

  get(key: string): ReadonlySet<string> {
    return this.#sets.get(key) ?? new Set();
  }

  add(key: string, value: string): void {
    const set = this.#sets.get(key) ?? new Set();
    set.add(value);
    this.#sets.set(key, set);
  }

  delete(key: string, value: string): void {
    const set = this.#sets.get(key);
    set?.delete(value);
    if (set?.size === 0) this.#sets.delete(key);
  }
}

/**
 * A named host endpoint governs its interface, one without a name every interface that has an expected address, `*` the
 * pseudo interface {@link ANY_INTERFACE}; of several candidates the lowest id wins. Only interfaces whose addresses are
 * known take part.
 */
export class HostEndpointResolver {
  readonly #records = new Map<string, HostRecord>();
  readonly #idsByName = new Index();
  readonly #idsByAddress = new Index();
  readonly #addresses = new Map<string, ReadonlySet<string>>();
  readonly #interfacesByAddress = new Index();
  readonly #resolved = new Map<string, string>();
  readonly #interfacesById = new Index();
  readonly #dirty = new Set<string>();

  get(id: string): HostRecord | null {
    return this.#records.get(id) ?? null;
  }

  /** The interfaces that this host endpoint governs now, as of the last `resolve`. */
  interfacesOf(id: string): ReadonlySet<string> {
    return this.#interfacesById.get(id);
  }

  /** The id of the host endpoint that governs the interface, as of the last `resolve`. */
  ownerId(interfaceName: string): string | null {
    return this.#resolved.get(interfaceName) ?? null;
  }

  update(record: HostRecord): void {
    this.remove(record.id.endpointId);
    this.#records.set(record.id.endpointId, record);
    this.#claim(record, (index, key, id) => index.add(key, id));
  }

  remove(id: string): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    this.#claim(record, (index, key) => index.delete(key, id));
  }

  /** Addresses of a non-workload interface; null when it is gone. */
  setAddresses(interfaceName: string, addresses: ReadonlySet<string> | null): void {
    for (const address of this.#addresses.get(interfaceName) ?? []) {
      this.#interfacesByAddress.delete(address, interfaceName);
    }
    if (addresses === null) this.#addresses.delete(interfaceName);
    else {
      const canonical = new Set([...addresses].map((text) => canonicalAddress(text) ?? text));
      this.#addresses.set(interfaceName, canonical);
      for (const address of canonical) this.#interfacesByAddress.add(address, interfaceName);
    }
    this.#dirty.add(interfaceName);
  }

  /** Has the interface handed out by the next `resolve` whether or not its owner changed. */
  markDirty(interfaceName: string): void {
    this.#dirty.add(interfaceName);
  }

  /** Resolves what changed since the last call: interfaces that have or had an owner, with the owner now. */
  resolve(): HostResolution[] {
    const resolutions: HostResolution[] = [];
    for (const interfaceName of this.#dirty) {
      const previousId = this.ownerId(interfaceName);
      const owner = this.#best(interfaceName);
      if (previousId !== null) {
        this.#resolved.delete(interfaceName);
        this.#interfacesById.delete(previousId, interfaceName);
      }
      if (owner !== null) {
        this.#resolved.set(interfaceName, owner.id.endpointId);
        this.#interfacesById.add(owner.id.endpointId, interfaceName);
      }
      if (owner !== null || previousId !== null) resolutions.push({ interfaceName, owner, previousId });
    }
    this.#dirty.clear();
    return resolutions;
  }

  #claim(record: HostRecord, change: (index: Index, key: string, id: string) => void): void {
    const id = record.id.endpointId;
    const { name } = record.endpoint;
    if (name !== '') {
      change(this.#idsByName, name, id);
      this.#dirty.add(name === ALL_INTERFACES ? ANY_INTERFACE : name);
      return;
    }
    for (const address of expectedAddresses(record.endpoint)) {
      change(this.#idsByAddress, address, id);
      for (const interfaceName of this.#interfacesByAddress.get(address)) this.#dirty.add(interfaceName);
    }
  }

  #best(interfaceName: string): HostRecord | null {
    const candidates = new Set<string>();
    if (interfaceName === ANY_INTERFACE) {
      for (const id of this.#idsByName.get(ALL_INTERFACES)) candidates.add(id);
    } else if (this.#addresses.has(interfaceName)) {
      for (const id of this.#idsByName.get(interfaceName)) candidates.add(id);
      for (const address of this.#addresses.get(interfaceName) ?? []) {
        for (const id of this.#idsByAddress.get(address)) candidates.add(id);
      }
    }
    const [best] = [...candidates].sort(compareBytes);
    return best === undefined ? null : this.get(best);
  }
}
