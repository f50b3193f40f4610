// An IP set plane in memory: keeps the sets and members that are wanted.
import { addressFamily } from '../../src/base/ip.js';
import type { IpSets } from '../../src/ipsets/ip-sets.js';
import type { Family } from '../../src/model/family.js';
import type { IpSetSpec } from '../../src/model/ip-set.js';

/** Keeps members of its own family, as they are written. */
export class MemoryIpSets implements IpSets {
  readonly family: Family;
  readonly sets = new Map<string, { readonly spec: IpSetSpec; readonly members: Set<string> }>();
  /** Ids of sets that were replaced since it was last emptied. */
  replaced: string[] = [];

  constructor(family: Family) {
    this.family = family;
  }

  setSet(spec: IpSetSpec, members: Iterable<string>): void {
    this.replaced.push(spec.id);
    this.sets.set(spec.id, { spec, members: new Set() });
    this.addMembers(spec.id, members);
  }

  addMembers(id: string, members: Iterable<string>): void {
    for (const member of members) if (this.#isOwn(member)) this.sets.get(id)?.members.add(member);
  }

  removeMembers(id: string, members: Iterable<string>): void {
    for (const member of members) this.sets.get(id)?.members.delete(member);
  }

  removeSet(id: string): void {
    this.sets.delete(id);
  }

  hasSet(id: string): boolean {
    return this.sets.has(id);
  }

  /** Sorted members, or null if there is no such set. */
  members(id: string): string[] | null {
    const set = this.sets.get(id);
    return set === undefined ? null : [...set.members].sort();
  }

  /** The whole desired state as plain data, sorted. */
  snapshot(): unknown {
    return [...this.sets.keys()].sort().map((id) => [this.sets.get(id)?.spec, this.members(id)]);
  }

  #isOwn(member: string): boolean {
    const [address = ''] = member.split(',');
    return addressFamily(address) === this.family;
  }
}
