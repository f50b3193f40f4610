// One nft set: what is wanted of it, what the kernel holds, and the difference, kept up change by change so that an
// apply never looks at members that did not change.
import type { Family } from '../model/family.js';
import type { IpSetSpec, IpSetType } from '../model/ip-set.js';
import { type ElementSink, NO_SINK } from './interval-members.js';
import { createSetMembers, type SetMembers } from './nft-set-members.js';

/** A set as a listing of the kernel shows it. */
export interface KernelNftSet {
  /** `ipv4_addr`, `ipv4_addr . inet_proto . inet_service`. */
  readonly type: string;
  /** Sorted and joined with commas: `interval`. */
  readonly flags: string;
  /** In the form of `canonicalElement`. */
  readonly elements: readonly string[];
}

/** Elements that the next transaction adds to a set and removes from it. */
export interface NftSetChange {
  /** The set itself is new. */
  readonly created: boolean;
  /** May be iterated again; not copied, as it may be a million texts. */
  readonly added: Iterable<string>;
  /** For a new set the number of members, those that another one covers included. */
  readonly addedCount: number;
  readonly removed: readonly string[];
}

/** nft type and flags of our set types (dataplane.md 4.8). */
export function nftSetShape(family: Family, type: IpSetType): { readonly type: string; readonly flags: string } {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  if (type === 'hash:ip,port') return { type: `${address} . inet_proto . inet_service`, flags: '' };
  return { type: address, flags: type === 'hash:net' ? 'interval' : '' };
}

/** At most this many bad members are kept by name in a reason. */
const NAMED_BAD_MEMBERS = 3;

/** Whether both have the same elements in the same order, as prefixes have that nobody changed: most sets at a restart. */
function areSame(wanted: Iterable<string>, listed: readonly string[]): boolean {
  let at = 0;
  for (const element of wanted) if (element !== listed[at++]) return false;
  return at === listed.length;
}

/** A wanted (or still to be deleted) set. The plane calls plan → write → {@link commit} or {@link abort}. */
export class NftSet {
  readonly id: string;
  readonly type: IpSetType;
  readonly nftName: string;
  /** False once withdrawn; the set then waits for its deletion. */
  wanted = true;
  /** Why the kernel refused this set as it is now. */
  kernelRefusal: string | undefined;
  readonly #family: Family;
  readonly #members: SetMembers;
  readonly #invalid = new Set<string>();
  #inKernel = false;
  /** Element → true to add, false to remove. Meaningless while the kernel has no such set. */
  #pending = new Map<string, boolean>();
  #inFlight: { readonly created: boolean; readonly elements: ReadonlyMap<string, boolean> } | undefined;
  readonly #sink: ElementSink = {
    add: (element) => this.#note(element, true),
    remove: (element) => this.#note(element, false),
  };

  constructor(family: Family, spec: IpSetSpec, nftName: string) {
    this.#family = family;
    this.id = spec.id;
    this.type = spec.type;
    this.nftName = nftName;
    this.#members = createSetMembers(family, spec.type);
  }

  /** Whether the kernel holds a set of this name for us, as far as we know. */
  get inKernel(): boolean {
    return this.#inKernel;
  }

  /** Number of wanted members of this family. */
  get size(): number {
    return this.#members.size;
  }

  /** Why the set does not hold what was asked for, or undefined. */
  get badMembers(): string | undefined {
    if (this.#invalid.size === 0) return undefined;
    const named = [...this.#invalid].slice(0, NAMED_BAD_MEMBERS).map((member) => JSON.stringify(member));
    const rest = this.#invalid.size - named.length;
    return `not valid in a ${this.type} set: ${named.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
  }

  /** Adds members; the kernel's refusal, if any, is forgotten. */
  add(members: Iterable<string>): void {
    this.kernelRefusal = undefined;
    const sink = this.#tracksChanges ? this.#sink : NO_SINK;
    for (const member of members) {
      if (this.#members.add(member, sink) === 'invalid') this.#invalid.add(member);
    }
  }

  /** Removes members; the kernel's refusal, if any, is forgotten. */
  remove(members: Iterable<string>): void {
    this.kernelRefusal = undefined;
    for (const member of members) {
      if (this.#members.remove(member, this.#sink) === 'invalid') this.#invalid.delete(member);
    }
  }

  /** Makes the members exactly these. */
  replace(members: Iterable<string>): void {
    if (this.#members.size === 0) {
      this.#invalid.clear();
      this.add(members);
      return;
    }
    const next = createSetMembers(this.#family, this.type);
    this.#invalid.clear();
    this.kernelRefusal = undefined;
    for (const member of members) {
      if (next.add(member, NO_SINK) === 'invalid') this.#invalid.add(member);
    }
    for (const member of [...this.#members.members()]) {
      if (!next.has(member)) this.#members.remove(member, this.#sink);
    }
    for (const member of next.members()) this.#members.add(member, this.#sink);
  }

  /** Takes over what a listing shows (undefined = no such set). Returns whether something is to be written. */
  adopt(kernel: KernelNftSet | undefined): boolean {
    this.#pending = new Map();
    this.#inFlight = undefined;
    this.#inKernel = kernel !== undefined;
    if (kernel === undefined) return this.wanted;
    if (areSame(this.#members.elements(), kernel.elements)) return !this.wanted;
    const left = new Set(kernel.elements);
    for (const element of this.#members.elements()) {
      if (!left.delete(element)) this.#pending.set(element, true);
    }
    for (const element of left) this.#pending.set(element, false);
    return !this.wanted || this.#pending.size > 0;
  }

  /** True if a listing shows the set in another shape than ours, which cannot be changed in place. */
  hasOtherShape(kernel: KernelNftSet): boolean {
    const shape = nftSetShape(this.#family, this.type);
    return kernel.type !== shape.type || kernel.flags !== shape.flags;
  }

  /** What the next transaction has to do; from here to commit or abort later changes are kept apart. */
  begin(): NftSetChange {
    const created = !this.#inKernel;
    const elements = this.#pending;
    this.#pending = new Map();
    this.#inFlight = { created, elements };
    if (created) {
      const members = this.#members;
      const added = { [Symbol.iterator]: () => members.elements()[Symbol.iterator]() };
      return { created, added, addedCount: members.size, removed: [] };
    }
    const added: string[] = [];
    const removed: string[] = [];
    for (const [element, add] of elements) (add ? added : removed).push(element);
    return { created, added, addedCount: added.length, removed };
  }

  /** The transaction of {@link begin} was carried out. */
  commit(): void {
    if (this.#inFlight?.created === true) this.#inKernel = true;
    this.#inFlight = undefined;
  }

  /** The transaction of {@link begin} was not carried out (or nobody knows: then a listing follows). */
  abort(): void {
    const inFlight = this.#inFlight;
    this.#inFlight = undefined;
    if (inFlight === undefined) return;
    const later = this.#pending;
    this.#pending = new Map(inFlight.created ? [] : inFlight.elements);
    if (inFlight.created) return;
    for (const [element, add] of later) this.#note(element, add);
  }

  /** The set is gone from the kernel: deleted, or the whole table made anew. */
  forgetKernel(): void {
    this.#inKernel = false;
    this.#pending = new Map();
    this.#inFlight = undefined;
  }

  /** Whether the kernel has the set, or will have it in a moment: only then single elements are to be changed. */
  get #tracksChanges(): boolean {
    return this.#inKernel || this.#inFlight?.created === true;
  }

  #note(element: string, add: boolean): void {
    if (!this.#tracksChanges) return;
    if (this.#pending.get(element) === !add) this.#pending.delete(element);
    else this.#pending.set(element, add);
  }
}
