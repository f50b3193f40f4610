// Members of a prefix set, kept so that nft accepts them: an interval set refuses overlapping elements, so a prefix
// is programmed only while no shorter wanted prefix covers it. A path-compressed binary trie in flat arrays makes each
// change cost its own prefix length plus the elements that really change, and a million members some tens of megabytes.
import { formatIpv4, formatIpv6, ipv4Mask, ipv6Mask, parseDecimal, parseIpv4, parseIpv6 } from '../base/ip.js';
import type { Family } from '../model/family.js';

/** Told which elements the kernel needs more (`add`) or less (`remove`), in no particular order. */
export interface ElementSink {
  add(element: string): void;
  remove(element: string): void;
}

/** A sink for building a structure that nothing was programmed from yet; elements are then not even put into text. */
export const NO_SINK: ElementSink = { add: () => undefined, remove: () => undefined };

const ROOT = 0;
const NONE = -1;
const WORD_BITS = 32;
const INITIAL_NODES = 8;
const LOW_WORD = 0xffffffffn;

/** A prefix as unsigned 32-bit words, most significant first (one for v4, four for v6), host bits zero. */
interface Prefix {
  readonly words: readonly number[];
  readonly length: number;
}

function grown<T extends Uint32Array | Int32Array | Uint8Array>(old: T, create: (length: number) => T): T {
  const next = create(old.length * 2);
  next.set(old);
  return next;
}

/** Wanted prefixes of one family, and the part of them that is programmed. Members are a set: adding twice is once. */
export class IntervalMembers {
  readonly #family: Family;
  readonly #wordCount: number;
  readonly #maxLength: number;
  #keys: Uint32Array;
  #left = new Int32Array(INITIAL_NODES).fill(NONE);
  #right = new Int32Array(INITIAL_NODES).fill(NONE);
  #lengths = new Uint8Array(INITIAL_NODES);
  #wanted = new Uint8Array(INITIAL_NODES);
  #used = 1;
  #free: number[] = [];
  #size = 0;

  constructor(family: Family) {
    this.#family = family;
    this.#wordCount = family === 4 ? 1 : 4;
    this.#maxLength = family === 4 ? 32 : 128;
    this.#keys = new Uint32Array(INITIAL_NODES * this.#wordCount);
  }

  /** Number of wanted members, covered ones included. */
  get size(): number {
    return this.#size;
  }

  /**
   * Wants a prefix or address (host bits are cleared). False when the text is neither; it is then not taken in.
   * What this does to the programmed elements goes to `sink`.
   */
  add(member: string, sink: ElementSink): boolean {
    const prefix = this.#parse(member);
    if (prefix === null) return false;
    this.#insert(prefix, sink);
    return true;
  }

  /** No longer wants a member; brings back what only it covered. False if the text is no prefix. */
  remove(member: string, sink: ElementSink): boolean {
    const prefix = this.#parse(member);
    if (prefix === null) return false;
    this.#delete(prefix, sink);
    return true;
  }

  /** Whether the member itself is wanted, covered or not. */
  has(member: string): boolean {
    const prefix = this.#parse(member);
    if (prefix === null) return false;
    let node = ROOT;
    while (node !== NONE && this.#length(node) < prefix.length)
      node = this.#child(node, bitOf(prefix.words, this.#length(node)));
    return (
      node !== NONE &&
      this.#isWanted(node) &&
      this.#length(node) === prefix.length &&
      this.#common(node, prefix) === prefix.length
    );
  }

  /** All wanted members, canonical, in address order. Do not change the structure meanwhile. */
  *members(): Generator<string> {
    for (const node of this.#walk(false)) yield this.#text(node);
  }

  /** The elements that are programmed: the wanted members that no other covers, in address order. */
  *elements(): Generator<string> {
    for (const node of this.#walk(true)) yield this.#text(node);
  }

  #insert(prefix: Prefix, sink: ElementSink): void {
    let node = ROOT;
    let covered = false;
    while (this.#length(node) < prefix.length) {
      covered ||= this.#isWanted(node);
      const bit = bitOf(prefix.words, this.#length(node));
      const child = this.#child(node, bit);
      if (child === NONE) {
        const leaf = this.#create(prefix.words, prefix.length);
        this.#setChild(node, bit, leaf);
        node = leaf;
        break;
      }
      const common = this.#common(child, prefix);
      if (common < this.#length(child)) {
        // The paths part above `child`: a node goes between, either the prefix itself or a branch.
        const between = this.#create(maskWords(prefix.words, common), common);
        this.#setChild(node, bit, between);
        this.#setChild(between, this.#bitOfNode(child, common), child);
        node = between;
        continue;
      }
      node = child;
    }
    if (this.#isWanted(node)) return;
    this.#wanted[node] = 1;
    this.#size++;
    if (covered || sink === NO_SINK) return;
    for (const hidden of this.#maximalBelow(node)) sink.remove(this.#text(hidden));
    sink.add(this.#text(node));
  }

  #delete(prefix: Prefix, sink: ElementSink): void {
    let parent = NONE;
    let grandparent = NONE;
    let node = ROOT;
    let covered = false;
    while (this.#length(node) < prefix.length) {
      covered ||= this.#isWanted(node);
      const child = this.#child(node, bitOf(prefix.words, this.#length(node)));
      if (child === NONE || this.#common(child, prefix) < this.#length(child)) return;
      grandparent = parent;
      parent = node;
      node = child;
    }
    if (!this.#isWanted(node)) return;
    this.#wanted[node] = 0;
    this.#size--;
    if (!covered && sink !== NO_SINK) {
      sink.remove(this.#text(node));
      for (const back of this.#maximalBelow(node)) sink.add(this.#text(back));
    }
    this.#compact(node, parent);
    if (parent !== NONE) this.#compact(parent, grandparent);
  }

  /** Takes an unwanted node out unless it is the root or still branches. */
  #compact(node: number, parent: number): void {
    if (parent === NONE || this.#isWanted(node)) return;
    const left = this.#child(node, 0);
    const right = this.#child(node, 1);
    if (left !== NONE && right !== NONE) return;
    this.#setChild(parent, this.#bitOfNode(node, this.#length(parent)), left === NONE ? right : left);
    this.#free.push(node);
  }

  *#maximalBelow(node: number): Generator<number> {
    const stack = [this.#child(node, 1), this.#child(node, 0)];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (at === NONE) continue;
      if (this.#isWanted(at)) yield at;
      else stack.push(this.#child(at, 1), this.#child(at, 0));
    }
  }

  *#walk(maximalOnly: boolean): Generator<number> {
    const stack = [ROOT];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (at === NONE) continue;
      if (this.#isWanted(at)) {
        yield at;
        if (maximalOnly) continue;
      }
      stack.push(this.#child(at, 1), this.#child(at, 0));
    }
  }

  #create(words: readonly number[], length: number): number {
    const node = this.#free.pop() ?? this.#used++;
    if (node >= this.#lengths.length) {
      this.#keys = grown(this.#keys, (n) => new Uint32Array(n));
      this.#left = grown(this.#left, (n) => new Int32Array(n));
      this.#right = grown(this.#right, (n) => new Int32Array(n));
      this.#lengths = grown(this.#lengths, (n) => new Uint8Array(n));
      this.#wanted = grown(this.#wanted, (n) => new Uint8Array(n));
    }
    for (let at = 0; at < this.#wordCount; at++) this.#keys[node * this.#wordCount + at] = words[at] ?? 0;
    this.#left[node] = NONE;
    this.#right[node] = NONE;
    this.#lengths[node] = length;
    this.#wanted[node] = 0;
    return node;
  }

  #length(node: number): number {
    return this.#lengths[node] ?? 0;
  }

  #isWanted(node: number): boolean {
    return this.#wanted[node] === 1;
  }

  #child(node: number, bit: number): number {
    return (bit === 0 ? this.#left[node] : this.#right[node]) ?? NONE;
  }

  #setChild(node: number, bit: number, child: number): void {
    if (bit === 0) this.#left[node] = child;
    else this.#right[node] = child;
  }

  #word(node: number, at: number): number {
    return this.#keys[node * this.#wordCount + at] ?? 0;
  }

  #bitOfNode(node: number, position: number): number {
    return (this.#word(node, position >>> 5) >>> (31 - (position & 31))) & 1;
  }

  /** Length of what node and prefix have in common, at most the shorter length. */
  #common(node: number, prefix: Prefix): number {
    const limit = Math.min(this.#length(node), prefix.length);
    for (let at = 0; at * WORD_BITS < limit; at++) {
      const difference = this.#word(node, at) ^ (prefix.words[at] ?? 0);
      if (difference !== 0) return Math.min(limit, at * WORD_BITS + Math.clz32(difference));
    }
    return limit;
  }

  #parse(member: string): Prefix | null {
    const slash = member.indexOf('/');
    const length = slash < 0 ? this.#maxLength : parseLength(member, slash + 1, this.#maxLength);
    if (length < 0) return null;
    const address = slash < 0 ? member : member.slice(0, slash);
    if (this.#family === 4) {
      const value = parseIpv4(address);
      return value === null ? null : { words: [(value & ipv4Mask(length)) >>> 0], length };
    }
    const value = parseIpv6(address);
    return value === null ? null : { words: wordsOf(value & ipv6Mask(length)), length };
  }

  #text(node: number): string {
    const length = this.#length(node);
    const address = this.#family === 4 ? formatIpv4(this.#word(node, 0)) : formatIpv6(this.#valueV6(node));
    return length === this.#maxLength ? address : `${address}/${length}`;
  }

  #valueV6(node: number): bigint {
    let value = 0n;
    for (let at = 0; at < this.#wordCount; at++) value = (value << 32n) | BigInt(this.#word(node, at));
    return value;
  }
}

function bitOf(words: readonly number[], position: number): number {
  return ((words[position >>> 5] ?? 0) >>> (31 - (position & 31))) & 1;
}

function wordsOf(value: bigint): number[] {
  return [96n, 64n, 32n, 0n].map((shift) => Number((value >> shift) & LOW_WORD));
}

function maskWords(words: readonly number[], length: number): number[] {
  return words.map((word, at) => {
    const bits = Math.max(0, Math.min(WORD_BITS, length - at * WORD_BITS));
    return (word & ipv4Mask(bits)) >>> 0;
  });
}

function parseLength(text: string, start: number, max: number): number {
  const length = parseDecimal(text, start, text.length);
  return length <= max ? length : -1;
}
