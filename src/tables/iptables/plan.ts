// The pure middle of the iptables reconciler: wanted, known and dirty in, restore text and its effects out
// (dataplane.md 4.5).
import type { TimeSlices } from '../../base/time-slices.js';
import type { Family, TableName } from '../../model/family.js';
import type { Chain, Rule } from '../../model/chain.js';
import type { Operation } from '../../model/operation.js';
import { isOurChain } from '../ownership.js';
import { appendedChainName, type RenderedChain } from './hash.js';
import type { KnownChain, KnownTable } from './read.js';
import { type LineOwner, RestoreScript } from './restore-script.js';

/** The part of the desired state that planning reads. */
export interface PlanWanted {
  chain(name: string): Chain | undefined;
  insertedRules(hook: string): readonly Rule[];
  appendedRules(hook: string): readonly Rule[];
}

/** What a plan depends on. */
export interface PlanInput {
  readonly family: Family;
  readonly table: TableName;
  readonly backend: 'legacy' | 'nft';
  readonly insertMode: 'insert' | 'append';
  readonly wanted: PlanWanted;
  readonly known: ReadonlyMap<string, KnownChain>;
  readonly dirtyChains: Iterable<string>;
  readonly dirtyHooks: Iterable<string>;
  /** The known state was read just now: positions in chains can be relied on. */
  readonly isFresh: boolean;
  /** Chains that the kernel refused to delete: they are emptied only. */
  readonly undeletable: ReadonlySet<string>;
  renderChain(chain: Chain): RenderedChain;
  renderHook(hashedName: string, rules: readonly Rule[]): RenderedChain;
}

/** What to write, and what is known once it is written. */
export interface TablePlan {
  readonly script: RestoreScript;
  readonly operations: readonly Operation[];
  /** New content by chain name, null where the chain is gone. */
  readonly effects: ReadonlyMap<string, KnownChain | null>;
  /** A kernel chain must be edited but the view is not fresh: read first, then plan again. */
  readonly needsFreshView: boolean;
}

interface ChainWrite {
  readonly name: string;
  readonly owner: LineOwner;
  readonly rendered: RenderedChain;
  /** Rules to change in place, or null to write the whole chain anew. */
  readonly inPlaceOf: readonly string[] | null;
}

/**
 * Plans one table. Nothing to do gives an empty script and no operations. Hands the event loop back between slices
 * (null = it is not much); nothing may be wanted anew meanwhile.
 */
export function planTable(input: PlanInput, slices: TimeSlices | null): Promise<TablePlan> {
  return new Planner(input).plan(slices);
}

class Planner {
  readonly #in: PlanInput;
  readonly #script: RestoreScript;
  readonly #operations: Operation[] = [];
  readonly #effects = new Map<string, KnownChain | null>();
  readonly #writes: ChainWrite[] = [];
  readonly #deletions: LineOwner[] = [];
  #needsFreshView = false;

  constructor(input: PlanInput) {
    this.#in = input;
    this.#script = new RestoreScript(input.table);
  }

  async plan(slices: TimeSlices | null): Promise<TablePlan> {
    // All forward references come before all rules, so that any rule may jump to any chain.
    for (const name of this.#in.dirtyChains) {
      this.#prepareChain(name);
      if (slices?.isOver() === true) await slices.pause();
    }
    for (const write of this.#writes) {
      this.#writeChain(write);
      if (slices?.isOver() === true) await slices.pause();
    }
    for (const hook of this.#in.dirtyHooks) this.#writeHook(hook);
    // iptables-nft does not see the flush of a chain when it deletes it in the same transaction.
    if (this.#in.backend === 'nft' && this.#deletions.length > 0) {
      this.#script.commit();
      for (const owner of this.#deletions) this.#script.createOrFlush(owner);
    }
    for (const owner of this.#deletions) this.#script.add(`--delete-chain ${owner.name}`, owner);
    this.#script.commit();
    return {
      script: this.#script,
      operations: this.#operations,
      effects: this.#effects,
      needsFreshView: this.#needsFreshView,
    };
  }

  #prepareChain(name: string): void {
    const known = this.#in.known.get(name);
    const wanted = this.#in.wanted.chain(name);
    if (wanted === undefined) {
      if (known !== undefined && isOurChain(name)) this.#prepareDeletion(name, known);
      return;
    }
    const rendered = this.#in.renderChain(wanted);
    if (known !== undefined && equalLists(known.hashes, rendered.hashes)) return;
    const owner: LineOwner = { kind: 'chain', name };
    // A chain that is not known to the last line is written whole: then it is right whatever others did to it.
    const inPlace = known !== undefined && this.#in.isFresh && this.#in.backend === 'legacy';
    if (!inPlace) this.#script.createOrFlush(owner);
    this.#writes.push({ name, owner, rendered, inPlaceOf: inPlace ? known.hashes : null });
  }

  #prepareDeletion(name: string, known: KnownChain): void {
    const isUndeletable = this.#in.undeletable.has(name);
    if (isUndeletable && known.hashes.length === 0) return;
    const owner: LineOwner = { kind: 'delete', name };
    this.#script.createOrFlush(owner);
    if (isUndeletable) {
      this.#effects.set(name, { hashes: [] });
      this.#announce('write-chain', name, 0);
      return;
    }
    this.#deletions.push(owner);
    this.#effects.set(name, null);
    this.#announce('delete-chain', name);
  }

  #writeChain({ name, owner, rendered, inPlaceOf }: ChainWrite): void {
    const { hashes, texts } = rendered;
    const append = `-A ${name} `;
    let written = 0;
    for (const [index, text] of texts.entries()) {
      const old = inPlaceOf?.[index];
      if (old !== undefined && old === hashes[index]) continue;
      this.#script.add(old === undefined ? append + text : `-R ${name} ${index + 1} ${text}`, owner);
      written++;
    }
    // Each deletion moves the rest up: the number stays the same.
    for (let surplus = (inPlaceOf?.length ?? 0) - hashes.length; surplus > 0; surplus--) {
      this.#script.add(`-D ${name} ${hashes.length + 1}`, owner);
      written++;
    }
    this.#effects.set(name, { hashes });
    this.#announce('write-chain', name, written);
  }

  #writeHook(hook: string): void {
    const { wanted, insertMode } = this.#in;
    const known = this.#in.known.get(hook) ?? { hashes: [] };
    const inserted = this.#in.renderHook(hook, wanted.insertedRules(hook));
    const appended = this.#in.renderHook(appendedChainName(hook), wanted.appendedRules(hook));
    const foreign = known.hashes.filter((hash) => hash === '');
    const expected =
      insertMode === 'insert'
        ? [...inserted.hashes, ...foreign, ...appended.hashes]
        : [...foreign, ...inserted.hashes, ...appended.hashes];
    if (equalLists(known.hashes, expected)) return;
    // Rules of ours are deleted by value, as they are printed.
    if (!this.#in.isFresh || (holdsOurs(known) && known.ourLines === undefined)) {
      this.#needsFreshView = true;
      return;
    }
    const owner: LineOwner = { kind: 'hook', name: hook };
    for (const line of known.ourLines ?? []) this.#script.add(`-D${line.slice(2)}`, owner);
    if (insertMode === 'insert') {
      for (const text of inserted.texts.toReversed()) this.#script.add(`-I ${hook} ${text}`, owner);
    } else {
      for (const text of inserted.texts) this.#script.add(`-A ${hook} ${text}`, owner);
    }
    for (const text of appended.texts) this.#script.add(`-A ${hook} ${text}`, owner);
    // No lines: whoever edits the chain next reads it first, as it is printed.
    this.#effects.set(hook, { hashes: expected });
    this.#announce('write-hook', hook, inserted.hashes.length + appended.hashes.length);
  }

  #announce(verb: string, name: string, count?: number): void {
    const object = `${this.#in.table}/${this.#in.family} ${name}`;
    this.#operations.push({ room: 'tables', verb, object, ...(count === undefined ? {} : { count }) });
  }
}

/**
 * Chains and hooks that may differ after a full read: ours whose wanted hashes are others or not known yet, wanted ones
 * that are missing, kernel chains, and others' chains that hold rules of ours.
 */
export function findDifferences(
  known: KnownTable,
  wantedNames: Iterable<string>,
  hookNames: Iterable<string>,
  wantedHashes: (name: string) => readonly string[] | undefined,
): { chains: string[]; hooks: string[] } {
  const chains: string[] = [];
  const hooks = new Set(hookNames);
  for (const [name, chain] of known) {
    if (!isOurChain(name)) {
      if (holdsOurs(chain)) hooks.add(name);
      continue;
    }
    const wanted = wantedHashes(name);
    if (wanted === undefined || !equalLists(chain.hashes, wanted)) chains.push(name);
  }
  for (const name of wantedNames) if (!known.has(name)) chains.push(name);
  return { chains, hooks: [...hooks] };
}

function holdsOurs(chain: KnownChain): boolean {
  return chain.hashes.some((hash) => hash !== '');
}

/** Whether two lists of hashes are the same. */
export function equalLists(left: readonly string[], right: readonly string[]): boolean {
  return left === right || (left.length === right.length && left.every((value, index) => value === right[index]));
}
