// The iptables form of the workload dispatch, kept up name by name: a pod that comes or goes costs its bin, not the
// node. The same chains as `renderWorkloadDispatch` makes of all names (dataplane.md 3.8).
import { isPlainEqual } from '../base/plain-equal.js';
import type { Chain, Rule } from '../model/chain.js';
import type { RenderContext } from './context.js';
import { binChain, binRule, binsOf, commonPrefix, directRule, type TreeDispatch, workloadTrees } from './dispatch.js';
import type { ChangedChains, DispatchTree } from './renderer.js';

/** Both chains of the workload dispatch and their children. */
export class WorkloadDispatchTree implements DispatchTree {
  readonly #trees: readonly Tree[];

  constructor(ctx: RenderContext) {
    this.#trees = workloadTrees(ctx).map((dispatch) => new Tree(ctx, dispatch));
  }

  /** See DispatchTree. */
  change(added: readonly string[], removed: readonly string[]): ChangedChains {
    const changed: Chain[] = [];
    const gone: string[] = [];
    for (const tree of this.#trees) tree.change(added, removed, changed, gone);
    return { changed, gone };
  }
}

/** Names with the same beginning, sorted, with the rule of each. */
interface Bin {
  readonly names: string[];
  readonly rules: Rule[];
  /** The root chain's rule; null until it is rendered. */
  rule: Rule | null;
  /** Null for a bin of one. */
  child: Chain | null;
}

class Tree {
  readonly #ctx: RenderContext;
  readonly #dispatch: TreeDispatch;
  /** What all names begin with; null before the first change. */
  #prefix: string | null = null;
  #bins = new Map<string, Bin>();
  #root: Chain | null = null;

  constructor(ctx: RenderContext, dispatch: TreeDispatch) {
    this.#ctx = ctx;
    this.#dispatch = dispatch;
  }

  change(added: readonly string[], removed: readonly string[], changed: Chain[], gone: string[]): void {
    const prefix = this.#prefix;
    if (prefix === null || !added.every((name) => name.startsWith(prefix))) {
      this.#rebuild(added, removed, changed, gone);
      return;
    }
    const touched = new Set<string>();
    for (const name of removed) this.#remove(name, prefix, touched);
    for (const name of added) this.#add(name, prefix, touched);
    if (touched.size === 0) return;
    // With names in two bins the prefix can't be longer.
    if ([...this.#bins.values()].filter(({ names }) => names.length > 0).length < 2) {
      this.#rebuild([], [], changed, gone);
      return;
    }
    let isRootDirty = false;
    for (const key of [...touched].sort()) {
      if (this.#renderBin(key, prefix, changed, gone)) isRootDirty = true;
    }
    if (isRootDirty) changed.push(this.#renderRoot());
  }

  #add(name: string, prefix: string, touched: Set<string>): void {
    const key = binKey(name, prefix);
    let bin = this.#bins.get(key);
    if (bin === undefined) {
      bin = { names: [], rules: [], rule: null, child: null };
      this.#bins.set(key, bin);
    }
    const at = placeOf(name, bin.names);
    if (bin.names[at] === name) return;
    bin.names.splice(at, 0, name);
    bin.rules.splice(at, 0, directRule(this.#ctx, this.#dispatch, name));
    touched.add(key);
  }

  #remove(name: string, prefix: string, touched: Set<string>): void {
    const key = binKey(name, prefix);
    const bin = this.#bins.get(key);
    const at = placeOf(name, bin?.names ?? []);
    if (bin === undefined || bin.names[at] !== name) return;
    bin.names.splice(at, 1);
    bin.rules.splice(at, 1);
    touched.add(key);
  }

  /** Whether the root chain's rule for the bin came, went or differs. */
  #renderBin(key: string, prefix: string, changed: Chain[], gone: string[]): boolean {
    const bin = this.#bins.get(key);
    if (bin === undefined) return false;
    const oldRule = bin.rule;
    const oldChild = bin.child;
    const { rule, child } = this.#form(key, prefix, bin);
    bin.rule = rule;
    bin.child = child;
    if (child !== null && !isPlainEqual(oldChild, child)) changed.push(child);
    if (oldChild !== null && child === null) gone.push(oldChild.name);
    if (bin.names.length === 0) this.#bins.delete(key);
    return !isPlainEqual(oldRule, rule);
  }

  #form(key: string, prefix: string, { rules }: Bin): { readonly rule: Rule | null; readonly child: Chain | null } {
    const [only] = rules;
    if (only === undefined || rules.length === 1) return { rule: only ?? null, child: null };
    const child = binChain(this.#dispatch, key, prefix, rules);
    return { rule: binRule(this.#dispatch, key, child.name), child };
  }

  #renderRoot(): Chain {
    const keys = [...this.#bins.keys()].sort();
    const rules = keys.map((key) => this.#bins.get(key)?.rule ?? null).filter((rule) => rule !== null);
    this.#root = { name: this.#dispatch.root, rules: [...rules, ...this.#dispatch.endRules] };
    return this.#root;
  }

  /** Another prefix: every bin is another one. */
  #rebuild(added: readonly string[], removed: readonly string[], changed: Chain[], gone: string[]): void {
    const names = new Set([...this.#bins.values()].flatMap((bin) => bin.names));
    for (const name of removed) names.delete(name);
    for (const name of added) names.add(name);
    const sorted = [...names].sort();
    const oldChildren = new Map<string, Chain>();
    for (const { child } of this.#bins.values()) if (child !== null) oldChildren.set(child.name, child);
    const oldRoot = this.#root;
    const prefix = commonPrefix(sorted);
    this.#prefix = prefix;
    this.#bins = new Map();
    for (const [key, members] of binsOf(sorted, prefix.length + 1)) {
      const rules = members.map((name) => directRule(this.#ctx, this.#dispatch, name));
      const bin: Bin = { names: members, rules, rule: null, child: null };
      Object.assign(bin, this.#form(key, prefix, bin));
      this.#bins.set(key, bin);
      if (bin.child === null) continue;
      if (!isPlainEqual(oldChildren.get(bin.child.name), bin.child)) changed.push(bin.child);
      oldChildren.delete(bin.child.name);
    }
    const root = this.#renderRoot();
    if (!isPlainEqual(oldRoot, root)) changed.push(root);
    gone.push(...oldChildren.keys());
  }
}

function binKey(name: string, prefix: string): string {
  return name.slice(0, prefix.length + 1);
}

/** Where a name is in a sorted list, or would have to be. */
function placeOf(name: string, sorted: readonly string[]): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? '') < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
