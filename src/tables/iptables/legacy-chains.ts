// The chains of a legacy table, found in its entries, and where they are after a change.
import type { TimeSlices } from '../../base/time-slices.js';
import {
  CHAIN_NAME_LENGTH,
  EXTENSION,
  HOOK_NAMES,
  type XtablesInfo,
  type XtablesLayout,
} from '../../kernel/netlink/xtables-socket.js';
import { FOOT_TARGET_BYTES, VERDICT } from './legacy-rule.js';

/** Of a chain that is not the kernel's. */
export const NO_HOOK = -1;

/** A chain with its head (of chains that a user made) and the policy or return at its end. */
export interface BlobChain {
  readonly name: string;
  /** Number of its hook, or {@link NO_HOOK}. */
  readonly hook: number;
  readonly start: number;
  readonly end: number;
  /** Number of its first entry, and of entries. */
  readonly index: number;
  readonly count: number;
}

/** Where the rules of a chain began, and where they begin now. */
export class ChainPlaces {
  readonly #old: Int32Array;
  readonly #now: Int32Array;
  readonly isAnyMoved: boolean;

  constructor(before: readonly BlobChain[], after: readonly BlobChain[], head: number) {
    const now = new Map(after.map(({ name, start }) => [name, start]));
    const made = before.filter(({ hook }) => hook === NO_HOOK);
    this.#old = Int32Array.from(made, ({ start }) => start + head);
    this.#now = Int32Array.from(made, ({ name }) => (now.get(name) ?? -1 - head) + head);
    this.isAnyMoved = this.#old.some((place, index) => place !== this.#now[index]);
  }

  /** Negative if there was no such chain, or is none any more. */
  find(place: number): number {
    let low = 0;
    let high = this.#old.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#old[middle] ?? 0) < place) low = middle + 1;
      else high = middle;
    }
    return this.#old[low] === place ? (this.#now[low] ?? -1) : -1;
  }
}

/** The chains of a table, in slices; null if it has not the form that iptables writes. */
export async function parseChains(
  layout: XtablesLayout,
  info: XtablesInfo,
  entries: Buffer,
  slices: TimeSlices,
): Promise<BlobChain[] | null> {
  const hooks = new Map<number, number>();
  for (const [hook, start] of info.hookEntries.entries()) if (start !== undefined) hooks.set(start, hook);
  const foot = layout.entry + FOOT_TARGET_BYTES;
  const chains: BlobChain[] = [];
  let open: { readonly name: string; readonly hook: number; readonly start: number; readonly index: number } | null =
    null;
  let count = 0;
  let last = 0;
  for (let at = 0; at < entries.length; count++) {
    const next = at + entries.readUInt16LE(at + layout.nextOffset);
    const target = at + entries.readUInt16LE(at + layout.targetOffset);
    if (next < at + foot || next > entries.length || target >= next) return null;
    const hook = hooks.get(at) ?? NO_HOOK;
    const isHead = hook === NO_HOOK && isError(entries, target);
    if (isHead || hook !== NO_HOOK) {
      if (open !== null) {
        const underflow = open.hook === NO_HOOK ? at - foot : info.underflows[open.hook];
        const isReturn = open.hook !== NO_HOOK || entries.readInt32LE(at - 8) === VERDICT.return;
        if (last !== underflow || at - last !== foot || !isReturn) return null;
        chains.push({ ...open, end: at, count: count - open.index });
      }
      const isEnd = next === entries.length;
      if (isEnd !== (isHead && nameAt(entries, target) === 'ERROR' && isEnd)) return null;
      open = isEnd ? null : { name: HOOK_NAMES[hook] ?? nameAt(entries, target), hook, start: at, index: count };
    } else if (open === null) return null;
    last = at;
    at = next;
    if (slices.isDue()) await slices.pause();
  }
  return open === null && count === info.entries && areInOrder(chains) ? chains : null;
}

/** Each of thousands of entries is asked, so no text is made. */
function isError(entries: Buffer, target: number): boolean {
  for (let at = 0; at < ERROR.length; at++) if (entries[target + EXTENSION.name + at] !== ERROR[at]) return false;
  return true;
}

const ERROR = Buffer.from('ERROR\0', 'latin1');

function nameAt(entries: Buffer, target: number): string {
  const start = target + EXTENSION.data;
  const end = entries.indexOf(0, start);
  return entries.toString('latin1', start, Math.min(end < 0 ? entries.length : end, start + CHAIN_NAME_LENGTH));
}

/** Chains of the kernel's come first, the others sorted by name, as iptables needs them. */
function areInOrder(chains: readonly BlobChain[]): boolean {
  return chains.every(({ name, hook }, index) => {
    const before = chains[index - 1];
    if (before === undefined || before.hook !== NO_HOOK) return true;
    return hook === NO_HOOK && before.name < name;
  });
}
