// A path-compressed binary trie of prefixes of both families: what contains a prefix, and what lies within it.
import type { Family } from '../../model/family.js';
import { addressWidth, type Cidr } from './cidr.js';

interface TrieNode<V> {
  readonly family: Family;
  readonly bits: bigint;
  readonly length: number;
  entry: TrieEntry<V> | undefined;
  readonly children: [TrieNode<V> | undefined, TrieNode<V> | undefined];
}

/** One stored prefix and its value. */
export interface TrieEntry<V> {
  readonly cidr: Cidr;
  readonly value: V;
}

type Prefix = Pick<Cidr, 'family' | 'bits' | 'length'>;

function bitAt(prefix: Prefix, index: number): 0 | 1 {
  return ((prefix.bits >> BigInt(addressWidth(prefix.family) - 1 - index)) & 1n) === 0n ? 0 : 1;
}

function commonLength(a: Prefix, b: Prefix): number {
  const limit = Math.min(a.length, b.length);
  const difference = a.bits ^ b.bits;
  if (difference === 0n) return limit;
  return Math.min(limit, addressWidth(a.family) - difference.toString(2).length);
}

function newNode<V>(prefix: Prefix, entry?: TrieEntry<V>): TrieNode<V> {
  return {
    family: prefix.family,
    bits: prefix.bits,
    length: prefix.length,
    entry,
    children: [undefined, undefined],
  };
}

/** A map from prefix to value. All operations cost the depth of the trie, not its size, unless they visit entries. */
export class CidrTrie<V> {
  readonly #roots: Record<Family, TrieNode<V>> = {
    4: newNode({ family: 4, bits: 0n, length: 0 }),
    6: newNode({ family: 6, bits: 0n, length: 0 }),
  };

  /** Stores the value, replacing an earlier one. */
  set(cidr: Cidr, value: V): void {
    let node = this.#roots[cidr.family];
    while (node.length < cidr.length) {
      const side = bitAt(cidr, node.length);
      const child = node.children[side];
      if (child === undefined) {
        node.children[side] = newNode(cidr, { cidr, value });
        return;
      }
      const common = commonLength(child, cidr);
      if (common < child.length) {
        const shift = BigInt(addressWidth(cidr.family) - common);
        const fork = newNode<V>({ family: cidr.family, bits: (cidr.bits >> shift) << shift, length: common });
        fork.children[bitAt(child, common)] = child;
        node.children[side] = fork;
        node = fork;
      } else {
        node = child;
      }
    }
    node.entry = { cidr, value };
  }

  /** The value at exactly this prefix. */
  get(cidr: Cidr): V | undefined {
    const last = this.#path(cidr).at(-1);
    return last?.length === cidr.length ? last.entry?.value : undefined;
  }

  /** Removes the value at exactly this prefix; does nothing if there is none. */
  delete(cidr: Cidr): void {
    const path = this.#path(cidr);
    const last = path.at(-1);
    if (last?.length !== cidr.length) return;
    last.entry = undefined;
    for (let index = path.length - 1; index > 0; index--) {
      const node = path[index] as TrieNode<V>;
      const parent = path[index - 1] as TrieNode<V>;
      const [left, right] = node.children;
      if (node.entry !== undefined || (left !== undefined && right !== undefined)) return;
      parent.children[bitAt(node, parent.length)] = left ?? right;
    }
  }

  /** The stored prefixes that contain this one, itself included, from the shortest to the longest. */
  containing(cidr: Cidr): TrieEntry<V>[] {
    return this.#path(cidr).flatMap((node) => (node.entry === undefined ? [] : [node.entry]));
  }

  /** The stored prefixes within this one, itself included, in address order. */
  *within(cidr: Cidr): Generator<TrieEntry<V>> {
    const top = this.#top(cidr);
    if (top !== undefined) yield* entriesBelow(top);
  }

  /** Of the stored prefixes within this one those that lie in no other of them, in address order. */
  *outermost(cidr: Cidr): Generator<TrieEntry<V>> {
    const top = this.#top(cidr);
    if (top !== undefined) yield* outermostBelow(top);
  }

  /** Every stored prefix of a family, in address order. */
  *all(family: Family): Generator<TrieEntry<V>> {
    yield* entriesBelow(this.#roots[family]);
  }

  #top(cidr: Cidr): TrieNode<V> | undefined {
    let node: TrieNode<V> | undefined = this.#roots[cidr.family];
    while (node !== undefined && node.length < cidr.length) node = node.children[bitAt(cidr, node.length)];
    return node !== undefined && commonLength(node, cidr) === cidr.length ? node : undefined;
  }

  #path(cidr: Cidr): TrieNode<V>[] {
    const path: TrieNode<V>[] = [];
    let node: TrieNode<V> | undefined = this.#roots[cidr.family];
    while (node !== undefined && node.length <= cidr.length && commonLength(node, cidr) === node.length) {
      path.push(node);
      node = node.length < cidr.length ? node.children[bitAt(cidr, node.length)] : undefined;
    }
    return path;
  }
}

function* outermostBelow<V>(node: TrieNode<V>): Generator<TrieEntry<V>> {
  if (node.entry !== undefined) yield node.entry;
  else for (const child of node.children) if (child !== undefined) yield* outermostBelow(child);
}

function* entriesBelow<V>(node: TrieNode<V>): Generator<TrieEntry<V>> {
  if (node.entry !== undefined) yield node.entry;
  for (const child of node.children) if (child !== undefined) yield* entriesBelow(child);
}
