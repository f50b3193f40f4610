// Turns the script of a restore, as restore-script.ts writes it, into one netlink batch for each transaction. A line of
// another form gives null: then the whole script is iptables-restore's.
import type { TimeSlices } from '../../base/time-slices.js';
import type { Family, TableName } from '../../model/family.js';
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import { CompatBatch } from '../../kernel/netlink/compat-batch.js';
import type { ChainHook } from '../../kernel/netlink/nf-batch.js';
import type { FormCache, FormedRule, RuleForms } from './rule-forms.js';
import { isComment } from './rule-matches.js';
import { isChainName } from './rule-targets.js';

/** What a script is compiled for. */
export interface CompileInput {
  readonly family: Family;
  readonly script: string;
  readonly forms: FormCache;
  /** The kernel's number of an IP set. */
  findSet(name: string): IpsetNumber | null;
  /** Hands the event loop back; null for a script that is short. */
  readonly slices: TimeSlices | null;
}

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

const COMMENT_START = '-m comment --comment "';
const PLAIN_COMMENT = /^[A-Za-z0-9_ @%+=:,./-]*$/;

/** A transaction that is being compiled. */
interface OpenTransaction {
  readonly batch: CompatBatch;
  readonly table: TableName;
  readonly commented: RuleForms;
  readonly plain: RuleForms;
}

class RestoreCompiler {
  readonly sets = new Map<string, IpsetNumber>();
  readonly batches: CompatBatch[] = [];
  readonly #input: CompileInput;
  #open: OpenTransaction | null = null;
  #hooksMade = new Set<string>();

  constructor(input: CompileInput) {
    this.#input = input;
  }

  get isComplete(): boolean {
    return this.#open === null;
  }

  line(text: string): boolean {
    if (text.startsWith('-A ')) return this.#rule(text, 'last');
    if (text.startsWith(':')) return this.#emptyChain(text);
    if (text.startsWith('-I ')) return this.#rule(text, 'first');
    if (text.startsWith('--delete-chain ')) return this.#deleteChain(text);
    if (text.startsWith('*')) return this.#begin(text.slice(1));
    return text === 'COMMIT' ? this.#commit() : text === '';
  }

  #begin(table: string): boolean {
    if (this.#open !== null || !isTable(table)) return false;
    const { family } = this.#input;
    const batch = new CompatBatch(family, table);
    batch.addTable();
    this.#open = { batch, table, ...this.#input.forms.of(family, table) };
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
    if (this.#open === null || !isChainName(name) || (rest !== ' - -' && rest !== ' - [0:0]')) return false;
    this.#open.batch.addChain(name);
    this.#open.batch.flushChain(name);
    return true;
  }

  #deleteChain(text: string): boolean {
    const name = text.slice('--delete-chain '.length);
    if (this.#open === null || !isChainName(name) || name.includes(' ')) return false;
    this.#open.batch.deleteChain(name);
    return true;
  }

  #rule(text: string, place: 'first' | 'last'): boolean {
    const open = this.#open;
    const space = text.indexOf(' ', 3);
    const end = space < 0 ? text.length : space;
    if (open === null) return false;
    const chain = text.slice(3, end);
    if (!isChainName(chain) && !this.#hook(chain)) return false;
    if (!text.startsWith(COMMENT_START, end + 1)) {
      const rule = this.#form(open.plain, text.slice(end + 1));
      if (rule !== null) open.batch.addRule(chain, rule.form, rule.names, place);
      return rule !== null;
    }
    const commentStart = end + 1 + COMMENT_START.length;
    const commentEnd = text.indexOf('"', commentStart);
    const next = commentEnd + 1;
    if (commentEnd < 0 || (next < text.length && text.charCodeAt(next) !== 0x20)) return false;
    const comment = text.slice(commentStart, commentEnd);
    if (!isComment(comment) || !PLAIN_COMMENT.test(comment)) return false;
    const rule = this.#form(open.commented, text.slice(next + 1));
    if (rule !== null) open.batch.addRule(chain, rule.form, [comment, ...rule.names], place);
    return rule !== null;
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

  #form(forms: RuleForms, body: string): FormedRule | null {
    return forms.of(body, this.#findSet);
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
    const end = script.indexOf('\n', at);
    // The tool, too, reads whole lines only.
    if (end < 0 || !compiler.line(script.slice(at, end))) return null;
    at = end + 1;
    if (slices?.isDue() === true) await slices.pause();
  }
  input.forms.limit();
  return compiler.isComplete && compiler.batches.length > 0 ? { batches: compiler.batches, sets: compiler.sets } : null;
}
