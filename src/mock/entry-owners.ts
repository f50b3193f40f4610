// Graph entries by the resources that stand for them. Two resources may claim one entry (two IP pools of one prefix, a
// Pod and a WorkloadEndpoint): the one whose key sorts first wins until it goes.
import { entryId, type EntryRef, type GraphEntry } from './graph/entries.js';

/** What a change of ownership means for the graph; undefined if nothing. */
export type EntryChange = { readonly update: GraphEntry } | { readonly remove: GraphEntry } | undefined;

/** The entries of all resources. */
export class EntryOwners {
  readonly #claims = new Map<string, Map<string, GraphEntry>>();
  readonly #entriesOf = new Map<string, Map<string, GraphEntry>>();

  /** An owner claims an entry, with a new or the same value. */
  set(owner: string, entry: GraphEntry): EntryChange {
    const id = entryId(entry);
    const claims = this.#claims.get(id) ?? new Map<string, GraphEntry>();
    this.#claims.set(id, claims);
    claims.set(owner, entry);
    const entries = this.#entriesOf.get(owner) ?? new Map<string, GraphEntry>();
    this.#entriesOf.set(owner, entries);
    entries.set(id, entry);
    return firstOwner(claims) === owner ? { update: entry } : undefined;
  }

  /** An owner gives up an entry. */
  delete(owner: string, ref: EntryRef): EntryChange {
    const id = entryId(ref);
    const claims = this.#claims.get(id);
    const entry = claims?.get(owner);
    if (claims === undefined || entry === undefined) return undefined;
    const won = firstOwner(claims) === owner;
    claims.delete(owner);
    const entries = this.#entriesOf.get(owner);
    entries?.delete(id);
    if (entries?.size === 0) this.#entriesOf.delete(owner);
    if (claims.size === 0) {
      this.#claims.delete(id);
      return { remove: entry };
    }
    return won ? { update: claims.get(firstOwner(claims)) as GraphEntry } : undefined;
  }

  /** The entries that an owner claims. */
  entriesOf(owner: string): GraphEntry[] {
    return [...(this.#entriesOf.get(owner)?.values() ?? [])];
  }

  /** Every entry once, as its first owner has it. */
  *winners(): Generator<GraphEntry> {
    for (const claims of this.#claims.values()) yield claims.get(firstOwner(claims)) as GraphEntry;
  }
}

function firstOwner(claims: ReadonlyMap<string, GraphEntry>): string {
  let first: string | undefined;
  for (const owner of claims.keys()) if (first === undefined || owner < first) first = owner;
  return first ?? '';
}
