// Turns the script of a restore, as restore-script.ts writes it, into one netlink batch for each transaction. A line of
// another form gives null: then the whole script is iptables-restore's.
import type { TimeSlices } from '../../base/time-slices.js';
import type { Family, TableName } from '../../model/family.js';
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import { type ChainHook, NfBatch, type RuleProtocol } from '../../kernel/netlink/nf-batch.js';
import { encodeExpressions } from '../../kernel/netlink/nf-expressions.js';
import { commentMatch } from '../../kernel/netlink/xt-structs.js';
import { dispatchRule } from './dispatch-rules.js';
import { compileRule } from './rule-compiler.js';
import { isComment } from './rule-matches.js';
import { isChainName } from './rule-targets.js';

/** What a script is compiled for. */
export interface CompileInput {
  readonly family: Family;
  readonly script: string;
  /** The kernel's number of an IP set. */
  findSet(name: string): IpsetNumber | null;
  /** Hands the event loop back; null for a script that is short. */
  readonly slices: TimeSlices | null;
}

/** One transaction, and the lines of the script (from 0) that it is. */
export interface CompiledTransaction {
  readonly batch: NfBatch;
  readonly firstLine: number;
  readonly lastLine: number;
}

/** A compiled script. */
export interface CompiledRestore {
  readonly transactions: readonly CompiledTransaction[];
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

const ANY_PROTOCOL: RuleProtocol = { number: 0, isNegated: false };

interface EncodedRule {
  readonly before: Buffer;
  readonly after: Buffer;
  readonly protocol: RuleProtocol;
}

class RestoreCompiler {
  readonly sets = new Map<string, IpsetNumber>();
  readonly transactions: CompiledTransaction[] = [];
  readonly #input: CompileInput;
  readonly #rules = new Map<string, EncodedRule | null>();
  #open: { readonly batch: NfBatch; readonly table: TableName; readonly firstLine: number } | null = null;
  #hooksMade = new Set<string>();

  constructor(input: CompileInput) {
    this.#input = input;
  }

  get isComplete(): boolean {
    return this.#open === null;
  }

  line(text: string, number: number): boolean {
    if (text.startsWith('-A ')) return this.#rule(text, 'last');
    if (text.startsWith(':')) return this.#emptyChain(text);
    if (text.startsWith('-I ')) return this.#rule(text, 'first');
    if (text.startsWith('--delete-chain ')) return this.#deleteChain(text);
    if (text.startsWith('*')) return this.#begin(text.slice(1), number);
    return text === 'COMMIT' ? this.#commit(number) : text === '';
  }

  #begin(table: string, firstLine: number): boolean {
    if (this.#open !== null || !isTable(table)) return false;
    const batch = new NfBatch(this.#input.family === 4 ? 'ip' : 'ip6', table);
    batch.addTable();
    this.#open = { batch, table, firstLine };
    this.#hooksMade = new Set();
    // What a rule means can depend on its table.
    this.#rules.clear();
    return true;
  }

  #commit(lastLine: number): boolean {
    if (this.#open === null) return false;
    const { batch, firstLine } = this.#open;
    this.transactions.push({ batch, firstLine, lastLine });
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
    const space = text.indexOf(' ', 3);
    const end = space < 0 ? text.length : space;
    if (this.#open === null) return false;
    const { batch, table } = this.#open;
    const chain = text.slice(3, end);
    if (!isChainName(chain) && !this.#hook(chain)) return false;
    const commentStart = end + 1 + COMMENT_START.length;
    let comment = '';
    let body = text.slice(end + 1);
    if (text.startsWith(COMMENT_START, end + 1)) {
      const commentEnd = text.indexOf('"', commentStart);
      const next = commentEnd + 1;
      if (commentEnd < 0 || (next < text.length && text.charCodeAt(next) !== 0x20)) return false;
      comment = text.slice(commentStart, commentEnd);
      if (!isComment(comment) || !PLAIN_COMMENT.test(comment)) return false;
      body = text.slice(next + 1);
    }
    const rule = this.#compile(table, body);
    if (rule === null) return false;
    const parts = comment === '' ? [rule.before, rule.after] : [rule.before, commentBytes(comment), rule.after];
    batch.addCompatRule(chain, parts, rule.protocol, place);
    return true;
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

  #compile(table: TableName, body: string): EncodedRule | null {
    const dispatch = dispatchRule(body);
    if (dispatch !== null) return { ...dispatch, protocol: ANY_PROTOCOL };
    let rule = this.#rules.get(body);
    if (rule === undefined) {
      const compiled = compileRule({ family: this.#input.family, table, findSet: (name) => this.#findSet(name) }, body);
      rule =
        compiled === null
          ? null
          : {
              before: encodeExpressions(compiled.before),
              after: encodeExpressions(compiled.after),
              protocol: compiled.protocol,
            };
      this.#rules.set(body, rule);
    }
    return rule;
  }

  #findSet(name: string): IpsetNumber | null {
    const known = this.sets.get(name);
    if (known !== undefined) return known;
    const found = this.#input.findSet(name);
    if (found !== null) this.sets.set(name, found);
    return found;
  }
}

function isTable(name: string): name is TableName {
  return Object.hasOwn(HOOKS, name);
}

/** A comment as expression: all but its text is always the same, and each rule has one. */
const COMMENT = encodeExpressions([commentMatch('')]);
const COMMENT_TEXT_OFFSET = COMMENT.length - 256;

function commentBytes(text: string): Buffer {
  const bytes = Buffer.from(COMMENT);
  bytes.write(text, COMMENT_TEXT_OFFSET, 'latin1');
  return bytes;
}

/** Compiles a script; null if one of its lines has a form that is not known here. */
export async function compileRestore(input: CompileInput): Promise<CompiledRestore | null> {
  const compiler = new RestoreCompiler(input);
  const { script, slices } = input;
  let number = 0;
  for (let at = 0; at < script.length; number++) {
    const end = script.indexOf('\n', at);
    // The tool, too, reads whole lines only.
    if (end < 0 || !compiler.line(script.slice(at, end), number)) return null;
    at = end + 1;
    if (slices?.isDue() === true) await slices.pause();
  }
  return compiler.isComplete ? { transactions: compiler.transactions, sets: compiler.sets } : null;
}
