// Which selectors match which labelled items, kept up to date change by change. Labels are inherited from parents
// (profiles): an item's own label wins, then the first parent that has it (calc-graph.md section 8).
import type { Selector } from '../selector/selector.js';
import type { SelectorNode } from '../selector/node.js';
import type { Labels } from './entries.js';
import { MultiMap } from './multi-map.js';

interface Item {
  readonly labels: Labels;
  readonly parents: readonly string[];
  readonly matches: Set<string>;
}

/** Called for each pair of selector and item that begins or ceases to match. */
export type MatchCallback = (selectorId: string, itemId: string) => void;

const NO_LABELS: Labels = new Map();

/** What labels an item must have for a selector to match at all: one of the values, or any value if there are none. */
interface Restriction {
  readonly label: string;
  readonly values: readonly string[] | undefined;
}

function restrictionOf(node: SelectorNode): Restriction | undefined {
  switch (node.op) {
    case '==':
      return { label: node.label, values: [node.value] };
    case 'in':
      return { label: node.label, values: node.values };
    case 'has':
    case 'contains':
    case 'starts with':
    case 'ends with':
      return { label: node.label, values: undefined };
    case 'and': {
      const all = node.operands.flatMap((operand) => restrictionOf(operand) ?? []);
      const cost = (restriction: Restriction): number => restriction.values?.length ?? Number.POSITIVE_INFINITY;
      return all.reduce<Restriction | undefined>(
        (best, next) => (best !== undefined && cost(best) <= cost(next) ? best : next),
        undefined,
      );
    }
    default:
      return undefined;
  }
}

function labelKey(label: string, value: string): string {
  return `${label}\0${value}`;
}

/** Finds what carries a label, or a label with a value, without looking at the rest. */
class LabelTable {
  readonly #byLabel = new MultiMap<string, string>();
  readonly #byValue = new MultiMap<string, string>();

  add(id: string, labels: Labels): void {
    for (const [label, value] of labels) {
      this.#byLabel.add(label, id);
      this.#byValue.add(labelKey(label, value), id);
    }
  }

  delete(id: string, labels: Labels): void {
    for (const [label, value] of labels) {
      this.#byLabel.delete(label, id);
      this.#byValue.delete(labelKey(label, value), id);
    }
  }

  *candidates(restriction: Restriction): Generator<string> {
    if (restriction.values === undefined) yield* this.#byLabel.get(restriction.label);
    else for (const value of restriction.values) yield* this.#byValue.get(labelKey(restriction.label, value));
  }
}

/** The index. Setting is idempotent; callbacks come during the call, each once per real change. */
export class MatchIndex {
  readonly #started: MatchCallback;
  readonly #stopped: MatchCallback;
  readonly #items = new Map<string, Item>();
  readonly #itemLabels = new LabelTable();
  readonly #parents = new Map<string, Labels>();
  readonly #parentLabels = new LabelTable();
  readonly #children = new MultiMap<string, string>();
  readonly #selectors = new Map<string, Selector>();
  readonly #matching = new MultiMap<string, string>();
  readonly #restricted = new MultiMap<string, string>();
  readonly #unrestricted = new Set<string>();

  constructor(started: MatchCallback, stopped: MatchCallback) {
    this.#started = started;
    this.#stopped = stopped;
  }

  /** Ids of the selectors that match the item now. */
  matchesOf(itemId: string): ReadonlySet<string> {
    return this.#items.get(itemId)?.matches ?? new Set();
  }

  /** Ids of the items that the selector matches now. */
  itemsOf(selectorId: string): ReadonlySet<string> {
    return this.#matching.get(selectorId);
  }

  setSelector(id: string, selector: Selector): void {
    const before = this.#selectors.get(id);
    if (before?.text === selector.text) return;
    if (before !== undefined) this.#unfile(id, before);
    this.#selectors.set(id, selector);
    this.#file(id, selector);
    const candidates = new Set([...this.#matching.get(id), ...this.#itemCandidates(selector)]);
    for (const itemId of candidates) this.#compare(id, selector, itemId, this.#items.get(itemId) as Item);
  }

  deleteSelector(id: string): void {
    const selector = this.#selectors.get(id);
    if (selector === undefined) return;
    this.#selectors.delete(id);
    this.#unfile(id, selector);
    for (const itemId of [...this.#matching.get(id)]) this.#stop(id, itemId, this.#items.get(itemId) as Item);
  }

  setItem(id: string, labels: Labels, parents: readonly string[]): void {
    const before = this.#items.get(id);
    if (before !== undefined) {
      this.#itemLabels.delete(id, before.labels);
      for (const parent of before.parents) this.#children.delete(parent, id);
    }
    const item: Item = { labels, parents, matches: before?.matches ?? new Set() };
    this.#items.set(id, item);
    this.#itemLabels.add(id, labels);
    for (const parent of parents) this.#children.add(parent, id);
    this.#scan(id, item);
  }

  deleteItem(id: string): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    for (const selectorId of [...item.matches]) this.#stop(selectorId, id, item);
    this.#items.delete(id);
    this.#itemLabels.delete(id, item.labels);
    for (const parent of item.parents) this.#children.delete(parent, id);
  }

  /** Sets what a parent hands down; undefined if it is gone. */
  setParent(id: string, labels: Labels | undefined): void {
    const before = this.#parents.get(id);
    if (before !== undefined) this.#parentLabels.delete(id, before);
    if (labels === undefined) this.#parents.delete(id);
    else {
      this.#parents.set(id, labels);
      this.#parentLabels.add(id, labels);
    }
    for (const itemId of this.#children.get(id)) this.#scan(itemId, this.#items.get(itemId) as Item);
  }

  #lookup(item: Item, label: string): string | undefined {
    const own = item.labels.get(label);
    if (own !== undefined) return own;
    for (const parent of item.parents) {
      const inherited = this.#parents.get(parent)?.get(label);
      if (inherited !== undefined) return inherited;
    }
    return undefined;
  }

  #scan(id: string, item: Item): void {
    const candidates = new Set([...item.matches, ...this.#unrestricted]);
    const sources = [item.labels, ...item.parents.map((parent) => this.#parents.get(parent) ?? NO_LABELS)];
    for (const [label, value] of sources.flatMap((labels) => [...labels])) {
      for (const selectorId of this.#restricted.get(label)) candidates.add(selectorId);
      for (const selectorId of this.#restricted.get(labelKey(label, value))) candidates.add(selectorId);
    }
    for (const selectorId of candidates)
      this.#compare(selectorId, this.#selectors.get(selectorId) as Selector, id, item);
  }

  #compare(selectorId: string, selector: Selector, itemId: string, item: Item): void {
    const matched = item.matches.has(selectorId);
    const matches = selector.matches((label) => this.#lookup(item, label));
    if (matches && !matched) {
      item.matches.add(selectorId);
      this.#matching.add(selectorId, itemId);
      this.#started(selectorId, itemId);
    } else if (matched && !matches) {
      this.#stop(selectorId, itemId, item);
    }
  }

  #stop(selectorId: string, itemId: string, item: Item): void {
    item.matches.delete(selectorId);
    this.#matching.delete(selectorId, itemId);
    this.#stopped(selectorId, itemId);
  }

  *#itemCandidates(selector: Selector): Generator<string> {
    const restriction = restrictionOf(selector.root);
    if (restriction === undefined) {
      yield* this.#items.keys();
      return;
    }
    yield* this.#itemLabels.candidates(restriction);
    for (const parent of this.#parentLabels.candidates(restriction)) yield* this.#children.get(parent);
  }

  #keysOf(selector: Selector): string[] | undefined {
    const restriction = restrictionOf(selector.root);
    if (restriction === undefined) return undefined;
    return restriction.values?.map((value) => labelKey(restriction.label, value)) ?? [restriction.label];
  }

  #file(id: string, selector: Selector): void {
    const keys = this.#keysOf(selector);
    if (keys === undefined) this.#unrestricted.add(id);
    else for (const key of keys) this.#restricted.add(key, id);
  }

  #unfile(id: string, selector: Selector): void {
    this.#unrestricted.delete(id);
    for (const key of this.#keysOf(selector) ?? []) this.#restricted.delete(key, id);
  }
}
