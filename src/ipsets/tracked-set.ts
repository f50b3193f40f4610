// One IP set of the plane: what is wanted of it, what the kernel is known to have, and the lines that lead from one to
// the other.
import { DeltaTracker } from '../base/delta-tracker.js';
import type { TimeSlices } from '../base/time-slices.js';
import type { Family } from '../model/family.js';
import { ipSetName, type IpSetSpec } from '../model/ip-set.js';
import type { KernelIpSet } from './kernel-set.js';
import { canonicalMember, isOtherFamily, withHalves } from './members.js';

interface MemberChange {
  readonly kind: 'replace' | 'add' | 'remove';
  readonly members: Iterable<string>;
}

/**
 * What is known of the kernel: `unknown` = must be listed; `absent`; `matching` = made as we make it; `different` =
 * other options or members that we could not have written, to be rebuilt and swapped; `wrong-type` = cannot be swapped.
 */
export type KernelSetState = 'unknown' | 'absent' | 'matching' | 'different' | 'wrong-type';

/** A change of members in the kernel, as one line of a script. */
export interface MemberLine {
  readonly verb: 'add' | 'del';
  readonly member: string;
}

/** How many bad members a reason names. */
const NAMED_BAD_MEMBERS = 3;

/** One wanted (or just withdrawn) set. Member changes are queued and worked off by {@link settle}. */
export class TrackedSet {
  readonly id: string;
  readonly name: string;
  readonly #family: Family;
  readonly members = new DeltaTracker();
  spec: IpSetSpec;
  wanted = true;
  kernel: KernelSetState = 'unknown';
  /** What the kernel has in this name's place, for messages. */
  kernelText = '';
  /** Digest of a listing with just what is known to be there; null once the set may have been written. */
  digest: string | null = null;
  /** Created by us and not filled yet: what is in it is no membership that was ever wanted. */
  unfinished = false;
  /** Refusals by the kernel in this apply. */
  failures = 0;
  /** When a set that the kernel refused is tried again, and how long the wait after that is. */
  retryAtMs = 0;
  retryDelayMs = 0;
  readonly #changes: MemberChange[] = [];
  readonly #badMembers = new Set<string>();

  constructor(family: Family, spec: IpSetSpec) {
    this.#family = family;
    this.id = spec.id;
    this.name = ipSetName(family, spec.id);
    this.spec = spec;
  }

  /** Queues a change of the wanted members; cheap, whatever their number. The iterable is read in {@link settle}. */
  queue(change: MemberChange): void {
    // A replacement makes void what waits before it.
    if (change.kind === 'replace') this.#changes.length = 0;
    this.#changes.push(change);
    this.retryAtMs = 0;
  }

  get hasQueuedChanges(): boolean {
    return this.#changes.length > 0;
  }

  /** Works off the queued changes. */
  async settle(slices: TimeSlices): Promise<void> {
    for (let change = this.#changes.shift(); change !== undefined; change = this.#changes.shift()) {
      if (change.kind === 'replace') await this.#replace(change.members, slices);
      else await this.#change(change.kind, change.members, slices);
    }
  }

  /** Takes in what the kernel has; null = no such set. */
  async adopt(found: KernelIpSet | null, slices: TimeSlices): Promise<void> {
    if (found === null) {
      this.kernel = 'absent';
      await this.#forgetPresent(slices);
      return;
    }
    this.kernelText = `${found.type}, family ${found.family ?? 'none'}, maxelem ${found.maxElem ?? 'none'}`;
    if (found.type !== this.spec.type || found.family !== this.#family) {
      this.kernel = 'wrong-type';
      return;
    }
    this.kernel = found.maxElem === this.spec.maxSize && found.foreignOptions.length === 0 ? 'matching' : 'different';
    const seen = new Set<string>();
    let unknown = 0;
    for (const line of found.members) {
      if (slices.isDue()) await slices.pause();
      // What is the same text as a member that we know needs no second look.
      const isPresent = this.members.isPresent(line);
      if (!isPresent) unknown += 1;
      const isKnown = isPresent || this.members.isWanted(line);
      const member = isKnown ? line : canonicalMember(this.spec.type, this.#family, line);
      if (member === null) this.kernel = 'different';
      else seen.add(member);
    }
    if (this.kernel !== 'matching') return;
    this.digest = found.digest;
    const isAsKnown = unknown === 0 && seen.size === this.members.presentCount;
    if (isAsKnown) return;
    for (const member of this.members.present()) {
      if (slices.isDue()) await slices.pause();
      if (!seen.has(member)) this.members.setAbsent(member);
    }
    for (const member of seen) {
      if (slices.isDue()) await slices.pause();
      this.members.setPresent(member);
    }
  }

  /** The kernel has exactly what is wanted. */
  async setWritten(slices: TimeSlices): Promise<void> {
    for (const member of this.members.missing) {
      if (slices.isDue()) await slices.pause();
      this.members.setPresent(member);
    }
    for (const member of this.members.surplus) {
      if (slices.isDue()) await slices.pause();
      this.members.setAbsent(member);
    }
  }

  /** Why the set must not be written as it is wanted, by our own check; null if it may. */
  ownRefusal(): string | null {
    if (this.#badMembers.size > 0) {
      const named = [...this.#badMembers].slice(0, NAMED_BAD_MEMBERS).map((member) => JSON.stringify(member));
      return `${this.#badMembers.size} members are not valid for ${this.spec.type}: ${named.join(', ')}`;
    }
    if (this.members.wantedCount > this.spec.maxSize) {
      return `${this.members.wantedCount} members do not fit into maxelem ${this.spec.maxSize}`;
    }
    return null;
  }

  /** Whether kernel and wish are the same, as far as known. */
  get isInSync(): boolean {
    return this.kernel === 'matching' && this.members.isInSync;
  }

  /**
   * Lines that make this set, under its own or a temporary name, and empty: with `-exist`, `create` takes over a set
   * of that name that someone made since the names were listed, with whatever is in it.
   */
  createLines(name: string): string[] {
    const inet = this.#family === 4 ? 'inet' : 'inet6';
    return [`create ${name} ${this.spec.type} family ${inet} maxelem ${this.spec.maxSize}`, `flush ${name}`];
  }

  /**
   * Member changes that are left, in the order to write them. New members come first where they fit: between two
   * packets the set then never lacks an address that is in the old and, as another prefix, in the new membership.
   */
  *memberLines(): Generator<MemberLine> {
    const { missing, surplus, presentCount } = this.members;
    if (presentCount + missing.size <= this.spec.maxSize) {
      yield* lines('add', missing);
      yield* lines('del', surplus);
    } else {
      yield* lines('del', surplus);
      yield* lines('add', missing);
    }
  }

  /** The whole wanted membership as additions. */
  *allLines(): Generator<MemberLine> {
    yield* lines('add', this.members.wanted());
  }

  async #replace(membership: Iterable<string>, slices: TimeSlices): Promise<void> {
    this.#badMembers.clear();
    const members = this.spec.type === 'hash:net' ? withHalves(membership) : membership;
    if (this.members.wantedCount === 0) {
      await this.#change('add', members, slices);
      return;
    }
    const next = new Set<string>();
    for (const text of members) {
      if (slices.isDue()) await slices.pause();
      const member = this.#canonical(text);
      if (member !== null) next.add(member);
    }
    for (const member of this.members.wanted()) {
      if (slices.isDue()) await slices.pause();
      if (!next.has(member)) this.members.unwant(member);
    }
    for (const member of next) {
      if (slices.isDue()) await slices.pause();
      this.members.want(member);
    }
  }

  async #change(kind: 'add' | 'remove', members: Iterable<string>, slices: TimeSlices): Promise<void> {
    for (const text of members) {
      if (slices.isDue()) await slices.pause();
      if (kind === 'remove' && this.#badMembers.delete(text)) continue;
      const member = this.#canonical(text, kind === 'add');
      if (member === null) continue;
      if (kind === 'add') this.members.want(member);
      else this.members.unwant(member);
    }
  }

  /** The canonical member, or null if it is of the other family, or bad (which is remembered if it is wanted). */
  #canonical(text: string, isWanted = true): string | null {
    if (isOtherFamily(this.#family, text)) return null;
    const member = canonicalMember(this.spec.type, this.#family, text);
    if (member === null && isWanted) this.#badMembers.add(text);
    return member;
  }

  async #forgetPresent(slices: TimeSlices): Promise<void> {
    for (const member of this.members.present()) {
      if (slices.isDue()) await slices.pause();
      this.members.setAbsent(member);
    }
  }
}

function* lines(verb: 'add' | 'del', members: Iterable<string>): Generator<MemberLine> {
  for (const member of members) yield { verb, member };
}
