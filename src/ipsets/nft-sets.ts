// The sets of one nft table as managers want them, and their part of the table's next transaction (dataplane.md 4.8).
// Holds no I/O: the nftables plane lists the table and writes sets, chains and maps in one go.
import type { Logger } from '../base/logger.js';
import type { TimeSlices } from '../base/time-slices.js';
import type { Family } from '../model/family.js';
import { type IpSetSpec, type IpSetType, ipSetName, OWN_SET_IDS } from '../model/ip-set.js';
import type { Refusal } from '../model/refusal.js';
import type { IpSets } from './ip-sets.js';
import { type KernelNftSet, NftSet, type NftSetChange, nftSetShape } from './nft-set.js';

/** A set of the table that changes in the next transaction. */
export interface PlannedSet extends NftSetChange {
  readonly nftName: string;
  /** nft type and flags, for a set that is new. */
  readonly shape: { readonly type: string; readonly flags: string };
}

/** What the next transaction does to the sets. Exactly one of commit and abort must follow. */
export interface SetPlan {
  readonly changed: readonly PlannedSet[];
  /** To be deleted after the rules that used them. */
  readonly deleted: readonly string[];
  /** The transaction was carried out. */
  commit(): void;
  /** It was not, or nobody knows (then {@link NftSets.adopt} follows). */
  abort(): void;
}

/** Types of the sets that the driver owns; static rules may name them before a manager fills them. */
const OWN_SET_TYPES: ReadonlyMap<string, IpSetType> = new Map<string, IpSetType>([
  [OWN_SET_IDS.networkPools, 'hash:net'],
  [OWN_SET_IDS.masqueradePools, 'hash:net'],
  [OWN_SET_IDS.allHosts, 'hash:net'],
  [OWN_SET_IDS.allVxlan, 'hash:net'],
  [OWN_SET_IDS.thisHost, 'hash:ip'],
  [OWN_SET_IDS.istioWorkloads, 'hash:ip'],
  [OWN_SET_IDS.dscpSources, 'hash:net'],
  [OWN_SET_IDS.noFlowOffload, 'hash:ip'],
]);

/** Name of a set in an nft table: the ipset name with `:` replaced (dataplane.md 5.3). */
export function nftNameOfSet(family: Family, id: string): string {
  return ipSetName(family, id).replaceAll(':', '-');
}

/** Desired sets of one family. A set with a member that is not valid is closed; see {@link NftSets.problem}. */
export class NftSets implements IpSets {
  readonly family: Family;
  readonly #log: Logger;
  readonly #sets = new Map<string, NftSet>();
  /** Sets to be looked at by the next plan. */
  readonly #dirty = new Set<string>();
  /** Sets in the kernel that nobody wants and that we never knew. */
  readonly #strays = new Set<string>();
  /** Sets whose {@link problem} may be another one now. */
  #shaken = new Set<string>();
  /** How many programmed chains use a set. */
  readonly #uses = new Map<string, number>();
  /** Sets with a bad member or a refusal. */
  readonly #troubled = new Set<string>();
  #needsNewTable = false;

  constructor(options: { readonly family: Family; readonly log: Logger }) {
    this.family = options.family;
    this.#log = options.log;
  }

  /** See IpSets. */
  setSet(spec: IpSetSpec, members: Iterable<string>): void {
    const nftName = nftNameOfSet(this.family, spec.id);
    const before = this.#state(nftName);
    let set = this.#sets.get(nftName);
    if (set !== undefined && set.type !== spec.type) {
      // A set's type cannot be changed in place while rules use it.
      if (set.inKernel) this.#needsNewTable = true;
      set = undefined;
    }
    if (set === undefined) {
      // A listing showed a foreign set of this name, of which we kept no elements.
      if (this.#strays.has(nftName)) this.#needsNewTable = true;
      set = new NftSet(this.family, spec, nftName);
      this.#sets.set(nftName, set);
    }
    set.wanted = true;
    set.replace(members);
    this.#touch(nftName, before);
  }

  /** See IpSets. */
  addMembers(id: string, members: Iterable<string>): void {
    this.#change(id, (set) => set.add(members));
  }

  /** See IpSets. */
  removeMembers(id: string, members: Iterable<string>): void {
    this.#change(id, (set) => set.remove(members));
  }

  /** See IpSets. */
  removeSet(id: string): void {
    const nftName = nftNameOfSet(this.family, id);
    const set = this.#sets.get(nftName);
    if (set === undefined) return;
    const before = this.#state(nftName);
    set.wanted = false;
    this.#touch(nftName, before);
  }

  /** See IpSets. */
  hasSet(id: string): boolean {
    return this.#sets.get(nftNameOfSet(this.family, id))?.wanted === true;
  }

  /** Sets that are wanted. */
  get wantedCount(): number {
    let count = 0;
    for (const set of this.#sets.values()) if (set.wanted) count += 1;
    return count;
  }

  /**
   * Why a rule must not use the set, or undefined if it may. One of the driver's own sets that no manager filled yet
   * is wanted empty from here on; with a bad member it stays in use without that member, because no policy is decided
   * by it and closing its users would close the node.
   */
  problem(nftName: string): string | undefined {
    if (!this.#sets.has(nftName)) this.#wantOwnSet(nftName);
    return this.#state(nftName);
  }

  #state(nftName: string): string | undefined {
    const set = this.#sets.get(nftName);
    if (set === undefined || !set.wanted) return `set ${nftName} is not defined`;
    if (set.kernelRefusal !== undefined) return `set ${set.id} was refused: ${set.kernelRefusal}`;
    if (set.badMembers !== undefined && !OWN_SET_TYPES.has(set.id)) return `set ${set.id} is closed: ${set.badMembers}`;
    return undefined;
  }

  /** Sets whose {@link problem} may have changed since the last call. */
  takeShaken(): Set<string> {
    const shaken = this.#shaken;
    this.#shaken = new Set();
    return shaken;
  }

  /** A programmed chain starts (1) or stops (-1) to use a set; a set in use is not deleted. */
  countUse(nftName: string, change: 1 | -1): void {
    const uses = (this.#uses.get(nftName) ?? 0) + change;
    if (uses > 0) {
      this.#uses.set(nftName, uses);
      return;
    }
    this.#uses.delete(nftName);
    if (this.#sets.get(nftName)?.wanted === false) this.#dirty.add(nftName);
  }

  /** Closes a set that the kernel refused, until it changes or {@link retryRefused}. False for an unknown name. */
  refuse(nftName: string, reason: string): boolean {
    const set = this.#sets.get(nftName);
    if (set === undefined || set.kernelRefusal !== undefined) return false;
    const before = this.#state(nftName);
    set.kernelRefusal = reason;
    this.#touch(nftName, before);
    return true;
  }

  /** Gives sets that the kernel refused another chance. */
  retryRefused(): void {
    for (const nftName of [...this.#troubled]) {
      const set = this.#sets.get(nftName);
      if (set?.kernelRefusal === undefined) continue;
      const before = this.#state(nftName);
      set.kernelRefusal = undefined;
      this.#touch(nftName, before);
    }
  }

  /** Every set that is closed or incomplete right now. */
  refusals(): Refusal[] {
    const refusals: Refusal[] = [];
    for (const nftName of this.#troubled) {
      const set = this.#sets.get(nftName);
      const reason = set?.kernelRefusal ?? set?.badMembers;
      if (set?.wanted === true && reason !== undefined) {
        refusals.push({ family: this.family, kind: 'set', object: set.id, reason });
      }
    }
    return refusals;
  }

  /**
   * Takes over a listing of the table. True if the table must be made anew, because a set of it has a shape that
   * cannot be changed in place. Hands the event loop back between slices; nothing may be wanted anew meanwhile.
   */
  async adopt(kernel: ReadonlyMap<string, KernelNftSet>, slices: TimeSlices): Promise<boolean> {
    this.#dirty.clear();
    this.#strays.clear();
    let otherShape = false;
    for (const [nftName, set] of this.#sets) {
      if (slices.isOver()) await slices.pause();
      const listed = kernel.get(nftName);
      otherShape ||= set.wanted && listed !== undefined && set.hasOtherShape(listed);
      if (listed === undefined && !set.wanted) this.#sets.delete(nftName);
      else if (set.adopt(listed)) this.#dirty.add(nftName);
    }
    for (const nftName of kernel.keys()) {
      if (!this.#sets.has(nftName)) this.#strays.add(nftName);
    }
    return otherShape;
  }

  /** True if a set changed its type, so that only a new table can hold it. */
  get needsNewTable(): boolean {
    return this.#needsNewTable;
  }

  /** Whether there is anything to plan. */
  get isDirty(): boolean {
    return this.#dirty.size > 0 || this.#strays.size > 0 || this.#needsNewTable;
  }

  /** The table is made anew by the next transaction: nothing of ours is in the kernel before it. */
  forgetKernel(): void {
    this.#needsNewTable = false;
    this.#strays.clear();
    for (const [nftName, set] of this.#sets) {
      set.forgetKernel();
      if (set.wanted) this.#dirty.add(nftName);
      else this.#sets.delete(nftName);
    }
  }

  /** The changes of the next transaction; proportional to what changed. */
  plan(): SetPlan {
    const changed: PlannedSet[] = [];
    const deleted: string[] = [...this.#strays];
    const begun: NftSet[] = [];
    for (const nftName of this.#dirty) {
      const set = this.#sets.get(nftName);
      if (set === undefined) continue;
      if (set.wanted) {
        if (set.kernelRefusal !== undefined) continue;
        begun.push(set);
        const change = set.begin();
        if (!change.created && change.addedCount === 0 && change.removed.length === 0) continue;
        changed.push({ ...change, nftName, shape: nftSetShape(this.family, set.type) });
      } else if (!this.#uses.has(nftName)) {
        if (set.inKernel) deleted.push(nftName);
        else this.#sets.delete(nftName);
      }
    }
    const taken = [...this.#dirty];
    this.#dirty.clear();
    return {
      changed,
      deleted,
      commit: () => this.#commit(begun, deleted),
      abort: () => {
        for (const set of begun) set.abort();
        for (const nftName of taken) this.#dirty.add(nftName);
      },
    };
  }

  #commit(begun: readonly NftSet[], deleted: readonly string[]): void {
    for (const set of begun) set.commit();
    for (const nftName of deleted) {
      this.#strays.delete(nftName);
      const set = this.#sets.get(nftName);
      if (set === undefined) continue;
      set.forgetKernel();
      // One that is wanted again since is dirty already, and the next plan creates it.
      if (!set.wanted) this.#sets.delete(nftName);
    }
  }

  #change(id: string, change: (set: NftSet) => void): void {
    const nftName = nftNameOfSet(this.family, id);
    const set = this.#sets.get(nftName);
    if (set?.wanted !== true) {
      this.#log.warn('Members of an unknown IP set are ignored', { set: id, family: this.family });
      return;
    }
    const before = this.#state(nftName);
    change(set);
    this.#touch(nftName, before);
  }

  #touch(nftName: string, stateBefore: string | undefined): void {
    this.#dirty.add(nftName);
    const set = this.#sets.get(nftName);
    const isTroubled = set?.kernelRefusal !== undefined || set?.badMembers !== undefined;
    if (isTroubled) this.#troubled.add(nftName);
    else this.#troubled.delete(nftName);
    if (this.#state(nftName) !== stateBefore) this.#shaken.add(nftName);
  }

  #wantOwnSet(nftName: string): void {
    for (const [id, type] of OWN_SET_TYPES) {
      if (nftNameOfSet(this.family, id) !== nftName) continue;
      this.#sets.set(nftName, new NftSet(this.family, { id, type, maxSize: 0 }, nftName));
      this.#dirty.add(nftName);
    }
  }
}
