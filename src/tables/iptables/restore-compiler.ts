// Turns the script of a restore, as restore-script.ts writes it, into one netlink batch for each transaction. A line of
// another form gives null: then the whole script is iptables-restore's.
import type { TimeSlices } from '../../base/time-slices.js';
import type { Family, TableName } from '../../model/family.js';
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import { CompatBatch, type RuleRun } from '../../kernel/netlink/compat-batch.js';
import type { ChainHook } from '../../kernel/netlink/nf-batch.js';
import { FormCache, type TableForms } from './rule-forms.js';
import { isChainName } from './rule-targets.js';
import { splitComment } from './text-forms.js';

/** What a script is compiled for. */
export interface CompileInput {
  readonly family: Family;
  readonly script: string;
  /** IPv4's script leaves here what IPv6's takes. */
  readonly shared: SharedRules;
  /** The kernel's number of an IP set. */
  findSet(name: string): IpsetNumber | null;
  /** Hands the event loop back; null for a script that is short. */
  readonly slices: TimeSlices | null;
}

/** Rules of one chain that are the same in both families, as text and in memory. */
interface SharedRun {
  readonly text: string;
  readonly run: RuleRun;
}

/** By table and chain, what is compiled of scripts of IPv4: good until the kernel has them. */
export type SharedRules = Map<TableName, Map<string, SharedRun>>;

/** A compiled script. */
export interface CompiledRestore {
  /** Its transactions, in order. */
  readonly batches: readonly CompatBatch[];
  /** Numbers of IP sets that are in the batches: they must still be the same when a batch is sent. */
  readonly sets: ReadonlyMap<string, IpsetNumber>;
}

/** What iptables-nft makes when a rule is put into a chain of its own that is not there. */
const HOOKS: Readonly<Record<TableName, ReadonlyMap<string, ChainHook>>> = {
  filter: hooks('filter', { INPUT: 0, FORWARD: 0, OUTPUT: 0 }),
  mangle: new Map([
    ...hooks('filter', { PREROUTING: -150, INPUT: -150, FORWARD: -150, POSTROUTING: -150 }),
    ...hooks('route', { OUTPUT: -150 }),
  ]),
  raw: hooks('filter', { PREROUTING: -300, OUTPUT: -300 }),
  nat: hooks('nat', { PREROUTING: -100, INPUT: 100, OUTPUT: -100, POSTROUTING: 100 }),
};

function hooks(type: string, priorities: Readonly<Record<string, number>>): ReadonlyMap<string, ChainHook> {
  return new Map(
    Object.entries(priorities).map(([name, priority]) => [name, { type, hook: name.toLowerCase(), priority }]),
  );
}

/** Without a space. */
const ASCII = /^[!-~]+$/;

/** A transaction that is being compiled. */
interface OpenTransaction {
  readonly batch: CompatBatch;
  readonly table: TableName;
  readonly forms: TableForms;
  /** Of the same table for IPv6. */
  readonly formsOfSix: TableForms;
  /** What IPv4 leaves, or IPv6 finds. */
  readonly shared: Map<string, SharedRun>;
}

/** Rules of a chain that are being compiled; `isShared` if they are the same for IPv6 so far. */
interface OpenRun {
  readonly chain: string;
  readonly start: number;
  isShared: boolean;
}

const NO_RUN: Readonly<OpenRun> = { chain: '', start: 0, isShared: false };

class RestoreCompiler {
  readonly sets = new Map<string, IpsetNumber>();
  readonly batches: CompatBatch[] = [];
  readonly #input: CompileInput;
  readonly #forms = new FormCache();
  #open: OpenTransaction | null = null;
  #run: OpenRun = { ...NO_RUN };
  /** Of this script; of IPv4's for IPv6. */
  readonly #shared: SharedRules;
  #hooksMade = new Set<string>();

  constructor(input: CompileInput) {
    this.#input = input;
    this.#shared = input.shared;
  }

  get isComplete(): boolean {
    return this.#open === null;
  }

  /** Reads the line that begins at `at`, or all rules of a chain that IPv4 left; gives where the next begins, or -1. */
  next(at: number): number {
    const { script, family } = this.#input;
    const isRule = script.startsWith('-A ', at);
    if (!isRule) this.#endRun(at);
    else if (family === 6) {
      const copied = this.#copyRun(at);
      if (copied > 0) return at + copied;
    }
    const end = script.indexOf('\n', at);
    // The tool, too, reads whole lines only.
    return end >= 0 && this.#line(script.slice(at, end), at) ? end + 1 : -1;
  }

  #line(text: string, at: number): boolean {
    if (text.startsWith('-A ')) return this.#rule(text, 'last', at);
    if (text.startsWith(':')) return this.#emptyChain(text);
    if (text.startsWith('-I ')) return this.#rule(text, 'first', at);
    if (text.startsWith('--delete-chain ')) return this.#deleteChain(text);
    if (text.startsWith('*')) return this.#begin(text.slice(1));
    return text === 'COMMIT' ? this.#commit() : text === '';
  }

  #begin(table: string): boolean {
    if (this.#open !== null || !isTable(table)) return false;
    const { family } = this.#input;
    const batch = new CompatBatch(family, table);
    batch.addTable();
    const shared = this.#shared.get(table) ?? new Map<string, SharedRun>();
    if (family === 4) this.#shared.set(table, shared);
    this.#open = { batch, table, forms: this.#forms.of(family, table), formsOfSix: this.#forms.of(6, table), shared };
    this.#hooksMade = new Set();
    return true;
  }

  #commit(): boolean {
    if (this.#open === null) return false;
    this.batches.push(this.#open.batch);
    this.#open = null;
    return true;
  }

  #emptyChain(text: string): boolean {
    const end = text.indexOf(' ');
    const name = text.slice(1, end);
    const rest = text.slice(end);
    if (this.#open === null || !isChainName(name) || !ASCII.test(name) || (rest !== ' - -' && rest !== ' - [0:0]'))
      return false;
    this.#open.batch.addChain(name);
    this.#open.batch.flushChain(name);
    return true;
  }

  #deleteChain(text: string): boolean {
    const name = text.slice('--delete-chain '.length);
    if (this.#open === null || !isChainName(name) || !ASCII.test(name)) return false;
    this.#open.batch.deleteChain(name);
    return true;
  }

  #rule(text: string, place: 'first' | 'last', at: number): boolean {
    const open = this.#open;
    const space = text.indexOf(' ', 3);
    const end = space < 0 ? text.length : space;
    if (open === null) return false;
    const chain = text.slice(3, end);
    const isOurs = isChainName(chain);
    if (!isOurs && !this.#hook(chain)) return false;
    if (chain !== this.#run.chain) this.#startRun(chain, at, isOurs && place === 'last');
    const parts = splitComment(text, end + 1);
    return parts !== null && this.#form(chain, parts.comment, parts.body, place);
  }

  /** Adds a rule; an empty comment is none. */
  #form(chain: string, comment: string, body: string, place: 'first' | 'last'): boolean {
    if (this.#open === null) return false;
    const { batch, forms, formsOfSix } = this.#open;
    const kind = comment === '' ? 'plain' : 'commented';
    const rule = forms[kind].of(body, this.#findSet);
    if (rule === null) return false;
    batch.addRule(chain, rule.form, comment === '' ? rule.names : [comment, ...rule.names], place);
    if (this.#run.isShared && !forms[kind].isSameIn(formsOfSix[kind], body, rule)) this.#run.isShared = false;
    return true;
  }

  #startRun(chain: string, at: number, canBeShared: boolean): void {
    this.#endRun(at);
    const isShared = canBeShared && this.#input.family === 4;
    this.#run = { chain, start: at, isShared };
    if (isShared) this.#open?.batch.startRun();
  }

  #endRun(at: number): void {
    const { chain, start, isShared } = this.#run;
    const run = isShared ? this.#open?.batch.endRun() : undefined;
    if (run !== undefined && run !== null) {
      this.#open?.shared.set(chain, { text: this.#input.script.slice(start, at), run });
    }
    this.#run = { ...NO_RUN };
  }

  /** Copies the rules of a chain that begin here, if they are those of IPv4; gives the length of their text, or 0. */
  #copyRun(at: number): number {
    const { script } = this.#input;
    const chain = script.slice(at + 3, script.indexOf(' ', at + 3));
    if (this.#open === null || chain === this.#run.chain) return 0;
    const shared = this.#open.shared.get(chain);
    if (shared === undefined || !script.startsWith(shared.text, at)) return 0;
    return this.#open.batch.copyRun(shared.run) ? shared.text.length : 0;
  }

  /** Makes a chain of the kernel's hooks, which is no failure if it is there. */
  #hook(name: string): boolean {
    if (this.#open === null) return false;
    const hook = HOOKS[this.#open.table].get(name);
    if (hook === undefined) return false;
    if (!this.#hooksMade.has(name)) this.#open.batch.addChain(name, hook);
    this.#hooksMade.add(name);
    return true;
  }

  readonly #findSet = (name: string): IpsetNumber | null => {
    const known = this.sets.get(name);
    if (known !== undefined) return known;
    const found = this.#input.findSet(name);
    if (found !== null) this.sets.set(name, found);
    return found;
  };
}

function isTable(name: string): name is TableName {
  return Object.hasOwn(HOOKS, name);
}

/** Compiles a script; null if one of its lines has a form that is not known here, or none changes anything. */
export async function compileRestore(input: CompileInput): Promise<CompiledRestore | null> {
  const compiler = new RestoreCompiler(input);
  const { script, slices } = input;
  for (let at = 0; at < script.length; ) {
    at = compiler.next(at);
    if (at < 0) return null;
    if (slices?.isDue() === true) await slices.pause();
  }
  return compiler.isComplete && compiler.batches.length > 0 ? { batches: compiler.batches, sets: compiler.sets } : null;
}
