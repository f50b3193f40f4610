// A fake iptables: holds chains, executes restore scripts transaction by transaction, prints save text, and refuses
// what the kernel or the tools would refuse, with their words. Its contract is tested against the real ones in
// test/kernel/iptables-contract.test.ts.
import { ToolError } from '../../src/base/errors.js';
import type { Family, TableName } from '../../src/model/family.js';
import { toolError } from '../../src/tables/iptables/command-io.js';
import type { IptablesIo } from '../../src/tables/iptables/io.js';
import { isAsKnown, type KnownTable, readTagged } from '../../src/tables/iptables/read.js';
import { type TaggedRules, TaggedRulesBuilder } from '../../src/kernel/netlink/tagged-rules.js';

const BUILTIN: Readonly<Record<TableName, readonly string[]>> = {
  raw: ['PREROUTING', 'OUTPUT'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
};
const MAX_CHAIN_NAME_LENGTH = 28;
const VERDICTS = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'MARK', 'LOG', 'NFLOG', 'DNAT', 'SNAT', 'MASQUERADE']);

type Chains = Map<string, string[]>;

interface Fault {
  readonly stderr: string;
  readonly exitCode: number;
}

/** Thrown inside a script: parse errors name their line, legacy kernel errors that of the COMMIT. */
class Refused extends Error {
  constructor(
    readonly stderr: string,
    readonly exitCode: number,
  ) {
    super(stderr);
  }
}

/** One backend's tables, both families. */
export class FakeIptablesKernel implements IptablesIo {
  readonly backend: 'legacy' | 'nft';
  readonly #tables = new Map<string, Chains>();
  /** Names of ipsets that exist. */
  readonly sets = new Set<string>();
  /** Rules that the kernel refuses when they are committed, though the tool takes them. */
  kernelRefuses: (table: TableName, rule: string) => boolean = () => false;
  /** Called before each read and each write, so that a test can be the other program that interferes. */
  beforeSave: () => void | Promise<void> = () => undefined;
  beforeRestore: (script: string) => void | Promise<void> = () => undefined;
  /** What `epoch` says; null as where the kernel cannot tell. */
  currentEpoch: number | null = null;
  /** Whether `isAsKnown` can look, as with native access to legacy tables. */
  tellsComments = false;
  readonly saves: string[] = [];
  /** Whether `readTags` can look. */
  tellsTags = false;
  /** Calls of `readTags` that looked, as `table/family`. */
  readonly tagReads: string[] = [];
  /** Calls of `expectLongScript`, as `table/family`. */
  readonly longScripts: string[] = [];
  /** Calls of `isAsKnown`, as `table/family`. */
  readonly looks: string[] = [];
  readonly restores: string[] = [];
  readonly #saveFaults: Fault[] = [];
  readonly #restoreFaults: Fault[] = [];

  constructor(backend: 'legacy' | 'nft') {
    this.backend = backend;
  }

  expectLongScript(family: Family, table: TableName): void {
    this.longScripts.push(`${table}/${family}`);
  }

  epoch(): number | null {
    return this.currentEpoch;
  }

  async isAsKnown(family: Family, table: TableName, known: KnownTable): Promise<boolean> {
    await this.beforeSave();
    this.looks.push(`${table}/${family}`);
    return this.tellsComments && isAsKnown(this.#tagged(family, table), known);
  }

  async readTags(family: Family, table: TableName): Promise<KnownTable | null> {
    if (!this.tellsTags) return null;
    await this.beforeSave();
    this.tagReads.push(`${table}/${family}`);
    return readTagged(this.#tagged(family, table), table);
  }

  #tagged(family: Family, table: TableName): TaggedRules {
    const found = new TaggedRulesBuilder();
    for (const [name, rules] of this.#table(family, table)) {
      for (const rule of rules) {
        const tag = /--comment "?cali:([^" ]*)/.exec(rule)?.[1] ?? '';
        found.chain(name).push(tag);
        const target = /(?:-j|-g) (\S+)/.exec(rule)?.[1];
        if (tag === '' && target !== undefined) found.addOther(name, target);
      }
      found.chain(name);
    }
    return found;
  }

  /** The next reads fail, `times` of them. */
  failSaves(times: number, stderr = 'iptables-save: cannot allocate memory', exitCode = 1): void {
    for (let count = 0; count < times; count++) this.#saveFaults.push({ stderr, exitCode });
  }

  /** The next writes fail, `times` of them, without doing anything. */
  failRestores(times: number, stderr = 'iptables-restore: out of memory', exitCode = 3): void {
    for (let count = 0; count < times; count++) this.#restoreFaults.push({ stderr, exitCode });
  }

  /** Rules of each chain as the save text has them, without the `-A <chain> `. */
  chains(family: Family, table: TableName): Record<string, string[]> {
    const result: Record<string, string[]> = {};
    for (const [name, rules] of this.#table(family, table)) result[name] = [...rules];
    return result;
  }

  /** Runs a script as another program would: not recorded, no faults, no interference. */
  run(family: Family, script: string): void {
    this.#execute(family, script);
  }

  async save(family: Family, table: TableName): Promise<string> {
    await this.beforeSave();
    this.saves.push(`${table}/${family}`);
    const fault = this.#saveFaults.shift();
    if (fault !== undefined) throw this.#error('save', fault, undefined);
    const chains = this.#table(family, table);
    const lines = ['# Generated by a fake', `*${table}`];
    for (const name of chains.keys()) lines.push(`:${name} ${BUILTIN[table].includes(name) ? 'ACCEPT' : '-'} [0:0]`);
    for (const [name, rules] of chains) for (const rule of rules) lines.push(`-A ${name} ${rule}`.trimEnd());
    return `${[...lines, 'COMMIT', '# Completed'].join('\n')}\n`;
  }

  async restore(family: Family, script: string): Promise<void> {
    await this.beforeRestore(script);
    this.restores.push(script);
    const fault = this.#restoreFaults.shift();
    if (fault !== undefined) throw this.#error('restore', fault, script);
    this.#execute(family, script);
  }

  #table(family: Family, table: TableName): Chains {
    const key = `${table}/${family}`;
    let chains = this.#tables.get(key);
    if (chains === undefined) {
      chains = new Map(BUILTIN[table].map((name) => [name, []]));
      this.#tables.set(key, chains);
    }
    return chains;
  }

  #execute(family: Family, script: string): void {
    let table: TableName | null = null;
    let draft: Chains = new Map();
    let added: { line: number; chain: string; rule: string }[] = [];
    for (const [index, line] of script.split('\n').entries()) {
      const number = index + 1;
      try {
        if (line === '' || line.startsWith('#')) continue;
        if (line.startsWith('*')) {
          table = line.slice(1) as TableName;
          draft = new Map([...this.#table(family, table)].map(([name, rules]) => [name, [...rules]]));
          added = [];
        } else if (table === null) {
          throw new Refused(`Error occurred at line: ${number}`, 2);
        } else if (line === 'COMMIT') {
          checkTargets(draft, added, number);
          this.#checkByKernel(table, added, number);
          this.#tables.set(`${table}/${family}`, draft);
          table = null;
        } else {
          const rule = this.#line(table, draft, line, number);
          if (rule !== null) added.push({ line: number, ...rule });
        }
      } catch (error) {
        if (error instanceof Refused) throw this.#error('restore', error, script);
        throw error;
      }
    }
  }

  #checkByKernel(
    table: TableName,
    added: readonly { line: number; chain: string; rule: string }[],
    commit: number,
  ): void {
    const refused = added.filter(({ rule }) => {
      return this.kernelRefuses(table, rule) || (table !== 'filter' && / -j REJECT\b/.test(` ${rule}`));
    });
    const [first] = refused;
    if (first === undefined) return;
    if (this.backend === 'legacy') throw new Refused(`iptables-restore: line ${commit} failed`, 1);
    const lines = refused.map(
      ({ line, chain }) => `line ${line}: RULE_APPEND failed (Invalid argument): rule in chain ${chain}`,
    );
    throw new Refused(`iptables-nft-restore v1.8.9 (nf_tables): \n${lines.join('\n')}`, 4);
  }

  /** Executes one line on the draft; gives the rule it added, for the check at commit. */
  #line(table: TableName, chains: Chains, line: string, number: number): { chain: string; rule: string } | null {
    const parseError = (text: string): Refused => new Refused(`${text}\nError occurred at line: ${number}`, 2);
    const commandError = (text: string): Refused => new Refused(`iptables-restore: line ${number} failed${text}`, 1);
    const [command = '', name = '', third = ''] = line.split(' ');
    if (command.startsWith(':')) {
      const chain = command.slice(1);
      if (chain.length > MAX_CHAIN_NAME_LENGTH) throw parseError(`Invalid chain name \`${chain}' (28 chars max)`);
      chains.set(chain, []);
      return null;
    }
    const rules = chains.get(name);
    if (rules === undefined) throw commandError(': No chain/target/match by that name.');
    if (command === '--delete-chain') {
      this.#deleteChain(table, chains, name, number);
      return null;
    }
    const numbered = command === '-R' || (command === '-D' && /^\d+$/.test(third));
    const position = numbered ? Number(third) : 0;
    const text = normalRule(line.split(' ').slice(numbered ? 3 : 2));
    if (numbered && (position < 1 || position > rules.length)) throw commandError(': Index of replacement too big.');
    if (command === '-D') {
      const index = numbered ? position - 1 : rules.indexOf(text);
      if (index < 0) throw commandError(': Bad rule (does a matching rule exist in that chain?).');
      rules.splice(index, 1);
      return null;
    }
    this.#checkByTool(table, chains, text, parseError);
    if (command === '-A') rules.push(text);
    else if (command === '-I') rules.unshift(text);
    else if (command === '-R') rules[position - 1] = text;
    else throw parseError(`unknown command ${command}`);
    return { chain: name, rule: text };
  }

  #checkByTool(table: TableName, chains: Chains, rule: string, parseError: (text: string) => Refused): void {
    const target = / (?:-j|-g) (\S+)/.exec(` ${rule}`)?.[1];
    // iptables-nft looks for the chains that rules jump to when it commits.
    if (target !== undefined && !chains.has(target) && !VERDICTS.has(target) && this.backend === 'legacy') {
      throw parseError(`Couldn't load target \`${target}':No such file or directory\n`);
    }
    if (table === 'nat' && target === 'DROP') {
      throw parseError('The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.\n');
    }
    const set = /--match-set (\S+)/.exec(rule)?.[1];
    if (set !== undefined && !this.sets.has(set)) throw parseError(`Set ${set} doesn't exist.\n`);
    const unknown = /--frob\S*/.exec(rule)?.[0];
    if (unknown !== undefined) throw parseError(`unknown option "${unknown}"`);
  }

  #deleteChain(table: TableName, chains: Chains, name: string, number: number): void {
    const busy = [...chains.values()].some((rules) => rules.some((rule) => targetOf(rule) === name));
    if (!busy && chains.get(name)?.length === 0 && !BUILTIN[table].includes(name)) {
      chains.delete(name);
      return;
    }
    if (this.backend === 'legacy') throw new Refused(`iptables-restore: line ${number} failed`, 1);
    throw new Refused(`line ${number}: CHAIN_DEL failed (Device or resource busy): chain ${name}`, 4);
  }

  #error(program: string, fault: Fault, script: string | undefined): ToolError {
    const result = { ...fault, signal: null, stdout: '', timedOut: false, durationMs: 1 };
    return toolError([`iptables-${this.backend}-${program}`], result, script);
  }
}

function checkTargets(chains: Chains, added: readonly { rule: string }[], commit: number): void {
  for (const { rule } of added) {
    const target = targetOf(rule);
    if (target === undefined || VERDICTS.has(target) || chains.has(target)) continue;
    throw new Refused(`Chain '${target}' does not exist\nError occurred at line: ${commit}`, 2);
  }
}

function targetOf(rule: string): string | undefined {
  return / (?:-j|-g) (\S+)/.exec(` ${rule}`)?.[1];
}

const SHORT: ReadonlyMap<string, string> = new Map([
  ['--jump', '-j'],
  ['--goto', '-g'],
  ['--in-interface', '-i'],
  ['--out-interface', '-o'],
  ['--source', '-s'],
  ['--destination', '-d'],
]);

/** The rule as save prints it, for the options that the tests use. */
function normalRule(words: readonly string[]): string {
  return words.map((word) => SHORT.get(word) ?? word).join(' ');
}
