// The ring by which all nodes agree which one of them answers for an address (dataplane.md 2.11); bit for bit that of
// Calico's `lib/datastructures/hashring` with 100 replicas and one probe.
import { xxh3 } from './xxh3.js';

const REPLICAS = 100;

/** Hash of a key and an index: the key, a zero byte, the index as 32 bits little-endian. */
export function saltedHash(key: string, index: number): bigint {
  const head = Buffer.from(`${key}\0`);
  const data = Buffer.alloc(head.length + 4);
  head.copy(data);
  data.writeUInt32LE(index, head.length);
  return xxh3(data);
}

interface Entry {
  readonly hash: bigint;
  readonly member: string;
}

/** Members, each at 100 places. Sorted at the first look-up after a change. */
export class HashRing {
  readonly #places = new Map<string, readonly Entry[]>();
  #entries: readonly Entry[] | null = null;

  /** Returns whether the member is new. */
  add(member: string): boolean {
    if (this.#places.has(member)) return false;
    const places = Array.from({ length: REPLICAS }, (_, index) => ({ hash: saltedHash(member, index), member }));
    this.#places.set(member, places);
    this.#entries = null;
    return true;
  }

  /** Returns whether the member was there. */
  remove(member: string): boolean {
    if (!this.#places.delete(member)) return false;
    this.#entries = null;
    return true;
  }

  /** The member that owns the key: the first at or after the key's place. Null without members. */
  ownerOf(key: string): string | null {
    const entries = this.#sorted();
    const probe = saltedHash(key, 0);
    let low = 0;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((entries[middle]?.hash ?? 0n) < probe) low = middle + 1;
      else high = middle;
    }
    return (entries[low] ?? entries[0])?.member ?? null;
  }

  #sorted(): readonly Entry[] {
    this.#entries ??= [...this.#places.values()].flat().sort((a, b) => {
      if (a.hash !== b.hash) return a.hash < b.hash ? -1 : 1;
      return Buffer.compare(Buffer.from(a.member), Buffer.from(b.member));
    });
    return this.#entries;
  }
}
