// A legacy table as the kernel has it: one block of entries, changed in place by moving what stays. There is no object
// for a rule, only for a chain; what is made of a change is what libiptc makes of it (iptables 1.8.9), byte by byte.
import { writeLatin1 } from '../../base/buffer-text.js';
import type { TimeSlices } from '../../base/time-slices.js';
import {
  COUNTER_BYTES,
  ENTRIES_AT,
  EXTENSION,
  HOOK_NAMES,
  type XtablesInfo,
  type XtablesLayout,
  XTABLES_LAYOUTS,
} from '../../kernel/netlink/xtables-socket.js';
import { XtablesMemory } from '../../kernel/netlink/xtables-memory.js';
import { type BlobChain, ChainPlaces, NO_HOOK, parseChains } from './legacy-chains.js';
import type { LegacyRule } from './legacy-forms.js';
import { chainFoot, chainHead, FOOT_TARGET_BYTES, HEAD_TARGET_BYTES, VERDICT } from './legacy-rule.js';
import type { ChainEdit } from './legacy-script.js';

/** Entries that stay, one after the other. */
interface Run {
  readonly from: number;
  to: number;
  readonly newFrom: number;
  readonly index: number;
  readonly newIndex: number;
  count: number;
}

/** What comes anew to a place. */
interface Fresh {
  readonly at: number;
  readonly bytes: Buffer;
  /** Null for what begins or ends a chain. */
  readonly rule: LegacyRule | null;
}

/** The table after a change, not yet in memory. */
class Plan {
  readonly chains: BlobChain[] = [];
  readonly runs: Run[] = [];
  readonly fresh: Fresh[] = [];
  size = 0;
  entries = 0;

  stay(from: number, to: number, index: number, count: number): void {
    const last = this.runs.at(-1);
    if (last !== undefined && last.to === from && last.newFrom + (last.to - last.from) === this.size) {
      last.to = to;
      last.count += count;
    } else this.runs.push({ from, to, newFrom: this.size, index, newIndex: this.entries, count });
    this.size += to - from;
    this.entries += count;
  }

  add(bytes: Buffer, rule: LegacyRule | null): void {
    this.fresh.push({ at: this.size, bytes, rule });
    this.size += bytes.length;
    this.entries += 1;
  }
}

/** One table. After a change that was refused it is of no use any more. */
export class LegacyBlob {
  readonly #family: 4 | 6;
  readonly #layout: XtablesLayout;
  readonly #head: number;
  readonly #foot: number;
  #memory: Buffer;
  #chains: readonly BlobChain[];
  #size: number;
  #entries: number;
  /** What changes counters: the runs of the last change, and the policies' counters before it. */
  #runs: readonly Run[] = [];
  #policiesBefore: readonly { readonly index: number; readonly packets: bigint; readonly bytes: bigint }[] = [];

  private constructor(family: 4 | 6, memory: Buffer, info: XtablesInfo, chains: readonly BlobChain[]) {
    this.#family = family;
    this.#layout = XTABLES_LAYOUTS[family];
    this.#head = this.#layout.entry + HEAD_TARGET_BYTES;
    this.#foot = this.#layout.entry + FOOT_TARGET_BYTES;
    this.#memory = memory;
    this.#chains = chains;
    this.#size = info.size;
    this.#entries = info.entries;
  }

  /** What was read into memory. Null if it has not the form that iptables writes, with chains in order. */
  static async parse(family: 4 | 6, info: XtablesInfo, memory: Buffer, slices: TimeSlices): Promise<LegacyBlob | null> {
    const entries = memory.subarray(ENTRIES_AT, ENTRIES_AT + info.size);
    const chains = await parseChains(XTABLES_LAYOUTS[family], info, entries, slices);
    return chains === null ? null : new LegacyBlob(family, memory, info, chains);
  }

  get size(): number {
    return this.#size;
  }

  get entries(): number {
    return this.#entries;
  }

  /** The memory with the entries, as they are to be written. */
  get memory(): Buffer {
    return this.#memory;
  }

  /** As the kernel would tell it. */
  info(): XtablesInfo {
    const hookEntries: (number | undefined)[] = HOOK_NAMES.map(() => undefined);
    const underflows = [...hookEntries];
    for (const { hook, start, end } of this.#chains) {
      if (hook === NO_HOOK) break;
      hookEntries[hook] = start;
      underflows[hook] = end - this.#foot;
    }
    return { hookEntries, underflows, entries: this.#entries, size: this.#size };
  }

  /**
   * Place and number of the head of the first chain that a user made: an entry that no packet comes to, whose counters
   * nobody reads, and that iptables makes anew, without counters, whenever it writes. Null if there is no such chain.
   */
  firstHead(): { readonly countersAt: number; readonly index: number } | null {
    const chain = this.#chains.find(({ hook }) => hook === NO_HOOK);
    return chain === undefined ? null : { countersAt: chain.start + this.#layout.counters, index: chain.index };
  }

  /**
   * Changes chains, in slices. `current` are the entries, as many as there are before the first chain that a user made,
   * with the counters that they have now. False if iptables would refuse it, if what is there has a form that is not
   * known, or if the table would be larger than `maxSize`.
   */
  async apply(
    edits: ReadonlyMap<string, ChainEdit>,
    current: Buffer,
    maxSize: number,
    slices: TimeSlices,
  ): Promise<boolean> {
    const plan = this.#plan(edits);
    if (plan === null || plan.size > maxSize) return false;
    this.#notePolicies(current);
    const before = this.#chains;
    this.#move(plan);
    this.#chains = plan.chains;
    this.#runs = plan.runs;
    this.#size = plan.size;
    this.#entries = plan.entries;
    return (await this.#connectRuns(before, plan.runs, slices)) && (await this.#putFresh(plan.fresh, slices));
  }

  /**
   * Fills `counters` with those to add after the change, from those that the old entries had when they were replaced. As
   * with iptables, rules that stay keep theirs, and policies count from the moment that they were read.
   */
  countersAfter(old: Buffer, counters: Buffer): void {
    counters.fill(0);
    for (const { index, newIndex, count } of this.#runs)
      old.copy(counters, newIndex * COUNTER_BYTES, index * COUNTER_BYTES, (index + count) * COUNTER_BYTES);
    let policy = 0;
    for (const { hook, index, count } of this.#chains) {
      const last = (index + count - 1) * COUNTER_BYTES;
      if (hook === NO_HOOK) {
        counters.fill(0, index * COUNTER_BYTES, (index + 1) * COUNTER_BYTES);
        counters.fill(0, last, last + COUNTER_BYTES);
        continue;
      }
      const before = this.#policiesBefore[policy++];
      if (before === undefined) continue;
      const from = before.index * COUNTER_BYTES;
      counters.writeBigUInt64LE(BigInt.asUintN(64, old.readBigUInt64LE(from) - before.packets), last);
      counters.writeBigUInt64LE(BigInt.asUintN(64, old.readBigUInt64LE(from + 8) - before.bytes), last + 8);
    }
    counters.fill(0, (this.#entries - 1) * COUNTER_BYTES, this.#entries * COUNTER_BYTES);
  }

  #plan(edits: ReadonlyMap<string, ChainEdit>): Plan | null {
    const plan = new Plan();
    const names = new Set(this.#chains.map(({ name }) => name));
    const created = [...edits.values()].filter(({ name, isDeleted }) => !isDeleted && !names.has(name));
    // A rule of a chain that is not there.
    if (created.some(({ isEmptied }) => !isEmptied)) return null;
    created.sort((a, b) => (a.name < b.name ? -1 : 1));
    let next = 0;
    for (const chain of this.#chains) {
      for (let edit = created[next]; chain.hook === NO_HOOK && edit !== undefined && edit.name < chain.name; ) {
        this.#create(plan, edit);
        edit = created[++next];
      }
      const edit = edits.get(chain.name);
      if (edit?.isDeleted !== true) this.#keep(plan, chain, edit);
    }
    for (const edit of created.slice(next)) this.#create(plan, edit);
    plan.stay(this.#size - this.#head, this.#size, this.#entries - 1, 1);
    return plan;
  }

  #create(plan: Plan, edit: ChainEdit): void {
    const { rules } = edit;
    // A copy: as a part of the script the name would keep all of that in memory.
    const name = Buffer.from(edit.name, 'latin1').toString('latin1');
    const [start, index] = [plan.size, plan.entries];
    plan.add(chainHead(this.#family, name), null);
    for (const rule of rules) plan.add(rule.form.bytes, rule);
    plan.add(chainFoot(this.#family), null);
    plan.chains.push({ name, hook: NO_HOOK, start, end: plan.size, index, count: plan.entries - index });
  }

  #keep(plan: Plan, chain: BlobChain, edit: ChainEdit | undefined): void {
    const { name, hook, start, end, index, count } = chain;
    const [newStart, newIndex] = [plan.size, plan.entries];
    if (edit === undefined) plan.stay(start, end, index, count);
    else {
      const heads = hook === NO_HOOK ? 1 : 0;
      const rulesAt = start + heads * this.#head;
      const footAt = end - this.#foot;
      if (heads > 0) plan.stay(start, rulesAt, index, 1);
      for (const rule of edit.rulesInFront) plan.add(rule.form.bytes, rule);
      if (!edit.isEmptied && count > heads + 1) plan.stay(rulesAt, footAt, index + heads, count - heads - 1);
      for (const rule of edit.rules) plan.add(rule.form.bytes, rule);
      plan.stay(footAt, end, index + count - 1, 1);
    }
    plan.chains.push({
      name,
      hook,
      start: newStart,
      end: plan.size,
      index: newIndex,
      count: plan.entries - newIndex,
    });
  }

  #notePolicies(current: Buffer): void {
    const { counters } = this.#layout;
    this.#policiesBefore = this.#chains
      .filter(({ hook }) => hook !== NO_HOOK)
      .map(({ end, index, count }) => {
        const at = end - this.#foot + counters;
        return {
          index: index + count - 1,
          packets: current.readBigUInt64LE(at),
          bytes: current.readBigUInt64LE(at + 8),
        };
      });
  }

  /** Moves what stays: to the left in order, then to the right in the other order, so that nothing is overwritten. */
  #move({ runs, size }: Plan): void {
    const old = this.#memory;
    const isLarger = ENTRIES_AT + size > old.length;
    if (isLarger) this.#memory = XtablesMemory.allocate(size);
    const memory = this.#memory;
    const move = ({ from, to, newFrom }: Run): void => {
      old.copy(memory, ENTRIES_AT + newFrom, ENTRIES_AT + from, ENTRIES_AT + to);
    };
    for (const run of runs) if (isLarger || run.newFrom < run.from) move(run);
    if (isLarger) return;
    for (const run of runs.toReversed()) if (run.newFrom > run.from) move(run);
  }

  /** Lets jumps of rules that stay lead to where the chains are now. */
  async #connectRuns(before: readonly BlobChain[], runs: readonly Run[], slices: TimeSlices): Promise<boolean> {
    const places = new ChainPlaces(before, this.#chains, this.#head);
    if (!places.isAnyMoved) return true;
    const words = new Int32Array(this.#memory.buffer);
    const halves = new Uint16Array(this.#memory.buffer);
    const { nextOffset, targetOffset } = this.#layout;
    for (const { from, to, newFrom } of runs) {
      const shift = newFrom - from;
      for (let at = from; at < to; ) {
        const entry = ENTRIES_AT + at + shift;
        const next = at + (halves[(entry + nextOffset) >> 1] ?? 0);
        const target = entry + (halves[(entry + targetOffset) >> 1] ?? 0);
        if (next <= at) return false;
        const verdictAt = (target + VERDICT.at) >> 2;
        const verdict = words[verdictAt] ?? -1;
        if (this.#memory[target + EXTENSION.name] === 0 && verdict >= 0) {
          // A rule without a target goes on with the next one.
          const place = verdict === next ? next + shift : places.find(verdict);
          if (place < 0) return false;
          words[verdictAt] = place;
        }
        at = next;
        if (slices.isDue()) await slices.pause();
      }
    }
    return true;
  }

  async #putFresh(fresh: readonly Fresh[], slices: TimeSlices): Promise<boolean> {
    const places = new Map(this.#chains.filter(({ hook }) => hook === NO_HOOK).map(({ name, start }) => [name, start]));
    const memory = this.#memory;
    for (const { at, bytes, rule } of fresh) {
      const entry = ENTRIES_AT + at;
      bytes.copy(memory, entry);
      if (slices.isDue()) await slices.pause();
      if (rule === null) continue;
      const { form, texts, chain } = rule;
      for (let index = 0; index < form.places.length; index++)
        writeLatin1(memory, texts[index] ?? '', entry + (form.places[index] ?? 0));
      if (form.verdictAt === null) continue;
      const start = chain === null ? undefined : places.get(chain);
      if (chain !== null && start === undefined) return false;
      const target = start === undefined ? at + bytes.length : start + this.#head;
      memory.writeInt32LE(target, entry + form.verdictAt);
    }
    return true;
  }
}
