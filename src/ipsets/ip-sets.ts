// What managers may ask of the IP sets of one family, and what the apply loop asks of the reconciler behind it.
import type { Family } from '../model/family.js';
import type { IpSetSpec } from '../model/ip-set.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';

/** Desired sets of one family. All calls are cheap and write nothing. */
export interface IpSets {
  readonly family: Family;
  /**
   * Defines or replaces a set with exactly these members, as they stand in the message. Members of the other
   * family are skipped; a member that is not valid for the type closes the set (it is reported as refused), because
   * leaving it out could open what a policy closes.
   */
  setSet(spec: IpSetSpec, members: Iterable<string>): void;
  /** Adds members; known ones are ignored. Unknown set ids are logged and ignored. */
  addMembers(id: string, members: Iterable<string>): void;
  /** Removes members; absent ones are ignored. */
  removeMembers(id: string, members: Iterable<string>): void;
  /** Withdraws a set. It leaves the kernel after the rules that used it (`applyDeletions`). */
  removeSet(id: string): void;
  /** Whether the set is wanted now. */
  hasSet(id: string): boolean;
}

/** The reconciler of the sets of one family; `apply` creates and updates, deletions come after the tables. */
export interface IpSetReconciler extends IpSets, Reconciler {
  /** Deletes sets that are no longer wanted, at most as many as one apply may (4.7, 4.8). */
  applyDeletions(): Promise<ApplyResult>;
}
