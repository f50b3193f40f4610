// The sets of an nft table as the apply loop knows sets: a reconciler of its own, whose work the table's transaction
// does.
import type { IpSetReconciler } from '../../ipsets/ip-sets.js';
import type { NftSets } from '../../ipsets/nft-sets.js';
import type { Family } from '../../model/family.js';
import type { IpSetSpec } from '../../model/ip-set.js';
import type { ApplyResult } from '../../model/reconciler.js';

const NOTHING_DONE: ApplyResult = { operations: 0, refused: [] };

/** Passes desired state on; `apply` and `applyDeletions` have nothing left to do. */
export class NftSetFacade implements IpSetReconciler {
  readonly name: string;
  readonly family: Family;
  readonly #sets: NftSets;
  readonly #queueResync: () => void;

  constructor(options: { readonly sets: NftSets; readonly queueResync: () => void }) {
    this.family = options.sets.family;
    this.name = `nft sets ${options.sets.family}`;
    this.#sets = options.sets;
    this.#queueResync = options.queueResync;
  }

  /** See IpSets. */
  setSet(spec: IpSetSpec, members: Iterable<string>): void {
    this.#sets.setSet(spec, members);
  }

  /** See IpSets. */
  addMembers(id: string, members: Iterable<string>): void {
    this.#sets.addMembers(id, members);
  }

  /** See IpSets. */
  removeMembers(id: string, members: Iterable<string>): void {
    this.#sets.removeMembers(id, members);
  }

  /** See IpSets. */
  removeSet(id: string): void {
    this.#sets.removeSet(id);
  }

  /** See IpSets. */
  hasSet(id: string): boolean {
    return this.#sets.hasSet(id);
  }

  /** Lists the whole table again: sets are not read apart. */
  queueResync(): void {
    this.#queueResync();
  }

  /** Nothing: the plane writes sets together with the rules that use them, and reports their refusals. */
  apply(): Promise<ApplyResult> {
    return Promise.resolve(NOTHING_DONE);
  }

  /** Nothing: the plane deletes sets in the transaction that rewrites their last users. */
  applyDeletions(): Promise<ApplyResult> {
    return Promise.resolve(NOTHING_DONE);
  }
}
