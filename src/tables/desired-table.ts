// What one table should hold, for both back ends: managers set chains and hook rules, reconcilers take what is dirty
// and ask for the form to program. Counts references, so that a chain exists where something uses it and nowhere else.
import { BugError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Chain, Rule, VerdictMap } from '../model/chain.js';
import { referencedChains } from '../model/chain.js';
import type { TableName } from '../model/family.js';
import { closedChain, closedForm } from './closed-forms.js';

/** The chains that the kernel has by itself in each table (dataplane.md 4.3, 5.2); our hook rules go there. */
export const KERNEL_CHAINS: Readonly<Record<TableName, readonly string[]>> = {
  raw: ['PREROUTING', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
};

/** Names that changed since they were last taken. Sets and maps are the taker's own. */
export interface DirtyObjects {
  readonly chains: Set<string>;
  readonly hooks: Set<string>;
  /** Map → the keys to look at; null = all of it. */
  readonly maps: Map<string, Set<string> | null>;
}

/** A chain that is programmed in its closed form, and why. */
export interface RefusedChain {
  readonly name: string;
  readonly reason: string;
}

/** How much of each a table wants. */
export interface TableCounts {
  readonly chains: number;
  readonly rules: number;
  readonly maps: number;
}

const NO_RULES: readonly Rule[] = [];

/**
 * Desired state of one table (in nftables: of one layer).
 *
 * A chain is programmed while its reference count is above zero. Hook rules and verdict map elements count always,
 * rules of a chain count while that chain is itself programmed, a forced chain counts itself once (dataplane.md 4.3).
 * Whatever is referred to is programmed: a chain without definition, or one that the kernel refused, in its closed
 * form, so that missing never means allow.
 */
export class DesiredTable {
  readonly table: TableName;
  readonly #log: Logger;
  readonly #chains = new Map<string, Chain>();
  readonly #targets = new Map<string, readonly string[]>();
  readonly #counts = new Map<string, number>();
  readonly #inserted = new Map<string, readonly Rule[]>();
  readonly #appended = new Map<string, readonly Rule[]>();
  readonly #maps = new Map<string, Map<string, string>>();
  /** Chains that the kernel refused as they are defined now, with the reason. */
  readonly #kernelRefused = new Map<string, string>();
  /** Every programmed chain that is closed, for whatever reason; kept up on each change so that asking is cheap. */
  readonly #closed = new Map<string, string>();
  readonly #warned = new Set<string>();
  #dirty: DirtyObjects = noDirty();

  /** All kernel chains start dirty, so that the first apply cleans stale hooks. */
  constructor(options: { readonly table: TableName; readonly log: Logger }) {
    this.table = options.table;
    this.#log = options.log;
    for (const hook of KERNEL_CHAINS[options.table]) this.#dirty.hooks.add(hook);
  }

  /** See RuleTable. */
  setInsertedRules(hook: string, rules: readonly Rule[]): void {
    this.#setHook(this.#inserted, hook, rules);
  }

  /** See RuleTable. */
  setAppendedRules(hook: string, rules: readonly Rule[]): void {
    this.#setHook(this.#appended, hook, rules);
  }

  /** See RuleTable. A new definition is tried even if the kernel refused the one before. */
  setChain(chain: Chain): void {
    const old = this.#chains.get(chain.name);
    if (old === chain) return;
    const targets = referencedChains(chain);
    const oldTargets = this.#targets.get(chain.name) ?? [];
    this.#chains.set(chain.name, chain);
    this.#targets.set(chain.name, targets);
    this.#kernelRefused.delete(chain.name);
    this.#warned.delete(chain.name);
    // New before old: a target that both have must not look unreferenced in between.
    if (this.isReferenced(chain.name)) {
      this.#incrementAll(targets);
      this.#decrementAll(oldTargets);
      this.#touch(chain.name);
    }
    if (chain.forced === true && old?.forced !== true) this.#increment(chain.name);
    if (chain.forced !== true && old?.forced === true) this.#decrement(chain.name);
  }

  /** See RuleTable. A chain that is still referred to becomes a closed one. */
  deleteChain(name: string): void {
    const old = this.#chains.get(name);
    if (old === undefined) return;
    if (old.forced === true) this.#decrement(name);
    if (this.isReferenced(name)) {
      this.#decrementAll(this.#targets.get(name) ?? []);
    }
    this.#chains.delete(name);
    this.#targets.delete(name);
    this.#kernelRefused.delete(name);
    if (this.isReferenced(name)) this.#touch(name);
  }

  /** See RuleTable. Each element counts as one reference to its chain. */
  setVerdictMap({ name, elements }: VerdictMap): void {
    const changes = new Map<string, string | null>(elements);
    for (const key of this.#maps.get(name)?.keys() ?? []) if (!elements.has(key)) changes.set(key, null);
    this.changeVerdictMap(name, changes);
    this.putBack({ maps: [[name, null]] });
  }

  /** See RuleTable. */
  changeVerdictMap(name: string, changes: ReadonlyMap<string, string | null>): void {
    const elements = this.#maps.get(name) ?? new Map<string, string>();
    if (!this.#maps.has(name)) this.putBack({ maps: [[name, null]] });
    this.#maps.set(name, elements);
    const old = [...changes.keys()].map((key) => elements.get(key)).filter((chain) => chain !== undefined);
    // New before old: a chain that both have must not look unreferenced in between.
    for (const chain of changes.values()) if (chain !== null) this.#increment(chain);
    this.#decrementAll(old);
    for (const [key, chain] of changes) {
      if (chain === null) elements.delete(key);
      else elements.set(key, chain);
    }
    this.putBack({ maps: [[name, new Set(changes.keys())]] });
  }

  /** See RuleTable. */
  deleteVerdictMap(name: string): void {
    const old = this.#maps.get(name);
    if (old === undefined) return;
    this.#maps.delete(name);
    this.#decrementAll(old.values());
    this.putBack({ maps: [[name, null]] });
  }

  /** Rules wanted at the top (or end, by mode) of a kernel chain, in order; empty if none. */
  insertedRules(hook: string): readonly Rule[] {
    return this.#inserted.get(hook) ?? NO_RULES;
  }

  /** Rules wanted at the very end of a kernel chain, in order; empty if none. */
  appendedRules(hook: string): readonly Rule[] {
    return this.#appended.get(hook) ?? NO_RULES;
  }

  /** Whether the chain must exist in the kernel, defined or not. */
  isReferenced(name: string): boolean {
    return this.#counts.has(name);
  }

  /**
   * The chain as it must stand in the kernel, or undefined if it must not exist. Closed (with `refused` set) when it
   * is not defined or the kernel refused its definition.
   */
  chain(name: string): Chain | undefined {
    if (!this.isReferenced(name)) return undefined;
    const reason = this.#kernelRefused.get(name);
    const closed = reason === undefined ? undefined : closedForm(this.table, name, reason);
    if (closed !== undefined) return closed;
    return this.#chains.get(name) ?? closedChain(this.table, name, 'referred to, but not defined');
  }

  /** Names of all chains that must exist, in no particular order. */
  referencedNames(): IterableIterator<string> {
    return this.#counts.keys();
  }

  /** What is wanted, for metrics; costs as much as there is. */
  counts(): TableCounts {
    let rules = 0;
    for (const hooks of [this.#inserted, this.#appended]) for (const list of hooks.values()) rules += list.length;
    for (const name of this.#counts.keys()) rules += this.chain(name)?.rules.length ?? 0;
    return { chains: this.#counts.size, rules, maps: this.#maps.size };
  }

  /** Elements of a wanted map, interface → chain, or undefined. */
  verdictMap(name: string): ReadonlyMap<string, string> | undefined {
    return this.#maps.get(name);
  }

  /** Names of all wanted maps. */
  verdictMapNames(): IterableIterator<string> {
    return this.#maps.keys();
  }

  /** Kernel chains that have, or once had, hook rules. */
  hookNames(): Set<string> {
    return new Set([...KERNEL_CHAINS[this.table], ...this.#inserted.keys(), ...this.#appended.keys()]);
  }

  /**
   * Puts the closed form in a programmed chain's place, because the kernel refused it; it becomes dirty. Lasts until
   * the chain is set anew or deleted, or {@link retryRefused}. False, and nothing done, if it has none.
   */
  refuse(name: string, reason: string): boolean {
    if (!this.isReferenced(name) || closedForm(this.table, name, reason) === undefined) return false;
    this.#kernelRefused.set(name, reason);
    this.#touch(name);
    return true;
  }

  /** Whether the kernel refused the chain's present definition. */
  isRefusedByKernel(name: string): boolean {
    return this.#kernelRefused.has(name);
  }

  /** Wants every chain that the kernel refused as it is defined, once more. Returns their names. */
  retryRefused(): string[] {
    const names = [...this.#kernelRefused.keys()];
    this.#kernelRefused.clear();
    for (const name of names) this.#touch(name);
    return names;
  }

  /** Every chain that is closed instead of programmed as asked, right now. */
  refusedChains(): RefusedChain[] {
    return [...this.#closed].map(([name, reason]) => ({ name, reason }));
  }

  /** True if something changed since the last {@link takeDirty}. */
  get isDirty(): boolean {
    return this.#dirty.chains.size > 0 || this.#dirty.hooks.size > 0 || this.#dirty.maps.size > 0;
  }

  /**
   * What changed since the last call; the caller is now in charge of it and puts back what it could not write. Chains
   * that are no longer referenced are among the names: they are to be deleted.
   */
  takeDirty(): DirtyObjects {
    const dirty = this.#dirty;
    this.#dirty = noDirty();
    for (const name of dirty.chains) this.#warnIfUndefined(name);
    return dirty;
  }

  /** Makes names dirty again after a failed write, or because a re-read found them wrong. Unknown names are fine. */
  putBack(dirty: {
    readonly chains?: Iterable<string>;
    readonly hooks?: Iterable<string>;
    readonly maps?: Iterable<readonly [string, Set<string> | null]>;
  }): void {
    for (const name of dirty.chains ?? []) this.#dirty.chains.add(name);
    for (const name of dirty.hooks ?? []) this.#dirty.hooks.add(name);
    for (const [name, keys] of dirty.maps ?? []) {
      const known = this.#dirty.maps.get(name);
      if (keys === null || known === null) this.#dirty.maps.set(name, null);
      else this.#dirty.maps.set(name, known === undefined ? keys : new Set([...known, ...keys]));
    }
  }

  #setHook(rulesByHook: Map<string, readonly Rule[]>, hook: string, rules: readonly Rule[]): void {
    const old = rulesByHook.get(hook) ?? NO_RULES;
    if (old === rules || (old.length === 0 && rules.length === 0)) return;
    rulesByHook.set(hook, rules);
    this.#incrementAll(referencedChains({ name: hook, rules }));
    this.#decrementAll(referencedChains({ name: hook, rules: old }));
    this.#dirty.hooks.add(hook);
  }

  #incrementAll(names: Iterable<string>): void {
    for (const name of names) this.#increment(name);
  }

  #decrementAll(names: Iterable<string>): void {
    for (const name of names) this.#decrement(name);
  }

  #increment(name: string): void {
    const count = this.#counts.get(name) ?? 0;
    this.#counts.set(name, count + 1);
    if (count > 0) return;
    this.#incrementAll(this.#targets.get(name) ?? []);
    this.#touch(name);
  }

  #decrement(name: string): void {
    const count = this.#counts.get(name);
    if (count === undefined) throw new BugError(`chain ${name} of table ${this.table} loses a reference it never had`);
    if (count > 1) {
      this.#counts.set(name, count - 1);
      return;
    }
    this.#counts.delete(name);
    // An unprogrammed chain gets a new chance when it is referred to again.
    this.#kernelRefused.delete(name);
    this.#decrementAll(this.#targets.get(name) ?? []);
    this.#touch(name);
  }

  /** The programmed form of the chain may be another one now. */
  #touch(name: string): void {
    this.#dirty.chains.add(name);
    const reason = this.chain(name)?.refused;
    if (reason === undefined) this.#closed.delete(name);
    else this.#closed.set(name, reason);
  }

  #warnIfUndefined(name: string): void {
    if (!this.isReferenced(name) || this.#chains.has(name) || this.#warned.has(name)) return;
    this.#warned.add(name);
    this.#log.warn('A chain is referred to but not defined; it drops all packets until it is', {
      table: this.table,
      chain: name,
    });
  }
}

function noDirty(): DirtyObjects {
  return { chains: new Set(), hooks: new Set(), maps: new Map() };
}
