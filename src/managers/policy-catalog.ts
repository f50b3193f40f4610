// Knows the active policies (or profiles) of one family and who refers to them: the reverse index that makes an update
// cost as much as it changes.
import type { UnitKey } from './endpoint-keys.js';

/** One policy or profile that is active, or referred to, or both. */
export interface CatalogEntry<Id, Body> {
  readonly key: string;
  readonly id: Id;
  /** Null while it is referred to without being active: a violation of the protocol, treated as closed. */
  readonly body: Body | null;
  readonly users: ReadonlySet<UnitKey>;
}

interface MutableEntry<Id, Body> {
  readonly key: string;
  readonly id: Id;
  body: Body | null;
  readonly users: Set<UnitKey>;
}

/** How a catalog reads ids and bodies. */
export interface CatalogOptions<Id, Body> {
  keyOf(id: Id): string;
  /** Ids of the IP sets that the body's rules use; repetitions are fine. */
  setsOf(body: Body): Iterable<string>;
}

/** Bodies by key, users by key, and keys by IP set. */
export class PolicyCatalog<Id, Body> {
  readonly #options: CatalogOptions<Id, Body>;
  readonly #entries = new Map<string, MutableEntry<Id, Body>>();
  readonly #usedBy = new Map<UnitKey, ReadonlySet<string>>();
  readonly #bySet = new Map<string, Set<string>>();
  readonly #dirty = new Set<string>();

  constructor(options: CatalogOptions<Id, Body>) {
    this.#options = options;
  }

  get(id: Id): Body | null {
    return this.#entries.get(this.#options.keyOf(id))?.body ?? null;
  }

  users(key: string): ReadonlySet<UnitKey> {
    return this.#entries.get(key)?.users ?? new Set();
  }

  /** Keys of the active entries whose rules use the set. */
  keysOfSet(setId: string): ReadonlySet<string> {
    return this.#bySet.get(setId) ?? new Set();
  }

  /** The active entries whose rules use the set are to be programmed anew. */
  touchUsersOfSet(setId: string): void {
    for (const key of this.keysOfSet(setId)) this.#dirty.add(key);
  }

  /** Replaces the body; null withdraws it. */
  setBody(id: Id, body: Body | null): void {
    const entry = this.#entry(id);
    if (entry.body !== null) this.#indexSets(entry, entry.body, false);
    entry.body = body;
    if (body !== null) this.#indexSets(entry, body, true);
    this.#touch(entry);
  }

  /** Replaces what a user refers to; an empty list ends its use. */
  setUses(user: UnitKey, ids: Iterable<Id>): void {
    const old = this.#usedBy.get(user) ?? new Set<string>();
    const now = new Set<string>();
    for (const id of ids) {
      const entry = this.#entry(id);
      now.add(entry.key);
      if (entry.users.has(user)) continue;
      entry.users.add(user);
      if (entry.body === null) this.#touch(entry);
    }
    for (const key of old) {
      if (now.has(key)) continue;
      const entry = this.#entries.get(key);
      entry?.users.delete(user);
      if (entry?.body === null) this.#touch(entry);
    }
    if (now.size > 0) this.#usedBy.set(user, now);
    else this.#usedBy.delete(user);
  }

  /** The entries to program anew: body or need changed. One with neither body nor users is to be withdrawn. */
  takeDirty(): CatalogEntry<Id, Body>[] {
    const entries: CatalogEntry<Id, Body>[] = [];
    for (const key of this.#dirty) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      entries.push(entry);
      if (entry.body === null && entry.users.size === 0) this.#entries.delete(key);
    }
    this.#dirty.clear();
    return entries;
  }

  #entry(id: Id): MutableEntry<Id, Body> {
    const key = this.#options.keyOf(id);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { key, id, body: null, users: new Set() };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #touch(entry: MutableEntry<Id, Body>): void {
    this.#dirty.add(entry.key);
  }

  #indexSets(entry: MutableEntry<Id, Body>, body: Body, isUsed: boolean): void {
    for (const setId of this.#options.setsOf(body)) {
      const keys = this.#bySet.get(setId) ?? new Set();
      if (isUsed) keys.add(entry.key);
      else keys.delete(entry.key);
      if (keys.size > 0) this.#bySet.set(setId, keys);
      else this.#bySet.delete(setId);
    }
  }
}
