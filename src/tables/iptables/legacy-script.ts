// Turns the script of a restore into what it does to the chains of one legacy table. A line of another form gives null:
// then the whole script is iptables-restore's.
import type { TimeSlices } from '../../base/time-slices.js';
import type { Family, TableName } from '../../model/family.js';
import type { IpsetNumber } from '../../kernel/netlink/ipset-index.js';
import { LegacyForms, type LegacyRule } from './legacy-forms.js';
import { chainBytes } from './legacy-rule.js';
import { isChainName } from './rule-targets.js';

/** What becomes of a chain. */
export interface ChainEdit {
  readonly name: string;
  /** Its rules go, and it is made if it is not there. */
  isEmptied: boolean;
  isDeleted: boolean;
  /** New rules before those that stay, and behind them. */
  readonly rulesInFront: LegacyRule[];
  readonly rules: LegacyRule[];
}

/** A compiled script. */
export interface LegacyScript {
  readonly table: TableName;
  readonly edits: ReadonlyMap<string, ChainEdit>;
  /** Numbers of IP sets that are in the rules: they must still be the same when they are written. */
  readonly sets: ReadonlyMap<string, IpsetNumber>;
  /** Bytes of its rules, and of heads and feet if all its chains are new: the table grows by no more. */
  readonly newBytes: number;
}

const HOOKS: Readonly<Record<TableName, ReadonlySet<string>>> = {
  filter: new Set(['INPUT', 'FORWARD', 'OUTPUT']),
  mangle: new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']),
  nat: new Set(['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING']),
  raw: new Set(['PREROUTING', 'OUTPUT']),
};

class ScriptCompiler {
  readonly sets = new Map<string, IpsetNumber>();
  readonly edits = new Map<string, ChainEdit>();
  table: TableName | null = null;
  #forms: LegacyForms | null = null;
  isComplete = false;
  newBytes = 0;
  readonly #family: Family;
  readonly #findSet: (name: string) => IpsetNumber | null;

  constructor(family: Family, findSet: (name: string) => IpsetNumber | null) {
    this.#family = family;
    this.#findSet = (name) => {
      const found = this.sets.get(name) ?? findSet(name);
      if (found !== null) this.sets.set(name, found);
      return found;
    };
  }

  line(text: string): boolean {
    if (text === '') return true;
    // One transaction: a second would have to see what the first has made.
    if (this.isComplete) return false;
    if (text.startsWith('*')) return this.#begin(text.slice(1));
    if (this.table === null) return false;
    if (text.startsWith('-A ')) return this.#rule(HOOKS[this.table], text, false);
    if (text.startsWith('-I ')) return this.#rule(HOOKS[this.table], text, true);
    if (text.startsWith(':')) return this.#empty(text);
    if (text.startsWith('--delete-chain ')) return this.#delete(text.slice('--delete-chain '.length));
    this.isComplete = text === 'COMMIT';
    return this.isComplete;
  }

  #begin(table: string): boolean {
    if (this.table !== null || !Object.hasOwn(HOOKS, table)) return false;
    this.table = table as TableName;
    this.#forms = new LegacyForms(this.#family, this.table);
    return true;
  }

  #empty(text: string): boolean {
    const end = text.indexOf(' ');
    const name = text.slice(1, end);
    if (end < 0 || text.slice(end) !== ' - -' || !isChainName(name)) return false;
    const edit = this.#edit(name);
    if (edit.isDeleted) return false;
    edit.isEmptied = true;
    edit.rulesInFront.length = 0;
    edit.rules.length = 0;
    return true;
  }

  /** iptables deletes empty chains only. */
  #delete(name: string): boolean {
    const edit = this.edits.get(name);
    if (edit === undefined || !edit.isEmptied || edit.rules.length + edit.rulesInFront.length > 0) return false;
    edit.isDeleted = true;
    return true;
  }

  #rule(hooks: ReadonlySet<string>, text: string, isInFront: boolean): boolean {
    const space = text.indexOf(' ', 3);
    const end = space < 0 ? text.length : space;
    const name = text.slice(3, end);
    if (!isChainName(name) && !hooks.has(name)) return false;
    const edit = this.#edit(name);
    if (edit.isDeleted) return false;
    const rule = this.#forms?.rule(text, end + 1, this.#findSet) ?? null;
    if (rule === null) return false;
    this.newBytes += rule.form.bytes.length;
    if (isInFront) edit.rulesInFront.unshift(rule);
    else edit.rules.push(rule);
    return true;
  }

  #edit(name: string): ChainEdit {
    let edit = this.edits.get(name);
    if (edit === undefined) {
      edit = { name, isEmptied: false, isDeleted: false, rulesInFront: [], rules: [] };
      this.edits.set(name, edit);
      this.newBytes += chainBytes(this.#family);
    }
    return edit;
  }
}

/** Compiles a script of one transaction in slices; null if one of its lines has a form that is not known here. */
export async function compileLegacyScript(
  family: Family,
  script: string,
  findSet: (name: string) => IpsetNumber | null,
  slices: TimeSlices,
): Promise<LegacyScript | null> {
  const compiler = new ScriptCompiler(family, findSet);
  for (let at = 0; at < script.length; ) {
    const end = script.indexOf('\n', at);
    // The tool, too, reads whole lines only.
    if (end < 0 || !compiler.line(script.slice(at, end))) return null;
    at = end + 1;
    if (slices.isDue()) await slices.pause();
  }
  const { table, edits, sets, newBytes, isComplete } = compiler;
  return table !== null && isComplete ? { table, edits, sets, newBytes } : null;
}
