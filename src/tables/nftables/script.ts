// Writes a plan as one nft transaction, in the order that lets every statement find what it needs and nothing that is
// still in use be deleted (dataplane.md 5.1, 5.5).
import type { TimeSlices } from '../../base/time-slices.js';
import type { PlannedSet } from '../../ipsets/nft-sets.js';
import type { BaseChain } from './base-chains.js';
import { type FlowtableChange, flowtableStatements } from './flowtable.js';
import { type ChainRules, lineCount, type NftFamily, type SetElements, type Statement } from './io.js';
import { commentsOf, type PrintedChain } from './rendered-chains.js';
import type { MapChange } from './verdict-maps.js';

/** A chain whose rules are written as a whole. */
export interface ChainWrite {
  readonly chain: PrintedChain;
  /** The kernel has no chain of this name. */
  readonly created: boolean;
}

/** Everything that one transaction does to a table. */
export interface TableChanges {
  readonly family: NftFamily;
  readonly table: string;
  /** `create`: there is no table; `recreate`: what there is goes, in the same transaction. */
  readonly start: 'keep' | 'create' | 'recreate';
  readonly chains: readonly ChainWrite[];
  readonly deletedChains: readonly string[];
  readonly maps: readonly MapChange[];
  readonly deletedMaps: readonly string[];
  readonly sets: readonly PlannedSet[];
  readonly deletedSets: readonly string[];
  readonly flowtable: FlowtableChange | undefined;
  readonly deletedFlowtables: readonly string[];
}

/** What a statement is about; some are about no such object. */
export interface StatementOwner {
  readonly kind: 'chain' | 'set';
  /** Name in the kernel. */
  readonly name: string;
}

/** A transaction and, index by index, whom each statement is for. */
export interface Script {
  readonly statements: readonly Statement[];
  readonly owners: readonly (StatementOwner | undefined)[];
}

/** Whom a line (from 1) of the script's text is for. */
export function ownerOfLine({ statements, owners }: Script, line: number): StatementOwner | undefined {
  let last = 0;
  for (const [index, statement] of statements.entries()) {
    last += lineCount(statement);
    if (line <= last) return owners[index];
  }
  return undefined;
}

/** Elements in one statement: enough to be fast, few enough for error texts to stay short. */
const ELEMENTS_PER_STATEMENT = 2_000;

class ScriptBuilder {
  readonly statements: Statement[] = [];
  readonly owners: (StatementOwner | undefined)[] = [];

  push(statement: Statement, owner?: StatementOwner): void {
    this.statements.push(statement);
    this.owners.push(owner);
  }

  pushElements(change: Omit<SetElements, 'elements'>, elements: Iterable<string>, owner?: StatementOwner): void {
    const all = [...elements];
    for (let start = 0; start < all.length; start += ELEMENTS_PER_STATEMENT) {
      this.push({ ...change, elements: all.slice(start, start + ELEMENTS_PER_STATEMENT) }, owner);
    }
  }
}

/**
 * The script of the changes. `closed` gives the form in which a chain is written instead of its own (for finding out
 * which one the kernel refuses). Hands the event loop back between slices.
 */
export async function buildScript(
  changes: TableChanges,
  slices: TimeSlices,
  closed?: ReadonlyMap<string, PrintedChain>,
): Promise<Script> {
  const builder = new ScriptBuilder();
  const table = `${changes.family} ${changes.table}`;
  if (changes.start !== 'keep') builder.push(`add table ${table}`);
  if (changes.start === 'recreate') {
    builder.push(`delete table ${table}`);
    builder.push(`add table ${table}`);
  }
  openMaps(builder, table, changes);
  if (changes.flowtable !== undefined) {
    for (const line of flowtableStatements(table, changes.flowtable)) builder.push(line);
  }
  for (const { chain, created } of changes.chains) {
    const owner: StatementOwner = { kind: 'chain', name: chain.fullName };
    if (created) builder.push(`add chain ${table} ${chain.fullName}${baseText(chain.base)}`, owner);
  }
  for (const set of changes.sets) {
    // Its elements are put into text only now.
    writeSet(builder, table, set);
    if (slices.isOver()) await slices.pause();
  }
  writeChains(builder, table, changes.chains, closed);
  for (const map of changes.maps) {
    const elements = map.added.map(([name, target]) => `"${name}" : goto ${target}`);
    builder.pushElements({ operation: 'add', table, set: map.fullName }, elements);
  }
  deleteObjects(builder, table, changes);
  return { statements: builder.statements, owners: builder.owners };
}

function openMaps(builder: ScriptBuilder, table: string, changes: TableChanges): void {
  for (const map of changes.maps) {
    if (map.created) builder.push(`add map ${table} ${map.fullName} { type ifname : verdict; }`);
    const removed = map.removed.map((name) => `"${name}"`);
    builder.pushElements({ operation: 'delete', table, set: map.fullName }, removed);
  }
  for (const name of changes.deletedMaps) builder.push(`flush map ${table} ${name}`);
}

function baseText(base: BaseChain | undefined): string {
  return base === undefined ? '' : ` { type ${base.type} hook ${base.hook} priority ${base.priority}; }`;
}

function writeSet(builder: ScriptBuilder, table: string, set: PlannedSet): void {
  const owner: StatementOwner = { kind: 'set', name: set.nftName };
  const target = `${table} ${set.nftName}`;
  if (set.created) {
    const flags = set.shape.flags === '' ? '' : ` flags ${set.shape.flags};`;
    builder.push(`add set ${target} { type ${set.shape.type};${flags} }`, owner);
  }
  // Out before in: a prefix may take the place of those that it covers.
  builder.pushElements({ operation: 'delete', table, set: set.nftName }, set.removed, owner);
  builder.pushElements({ operation: 'add', table, set: set.nftName }, set.added, owner);
}

function writeChains(
  builder: ScriptBuilder,
  table: string,
  chains: readonly ChainWrite[],
  closed: ReadonlyMap<string, PrintedChain> | undefined,
): void {
  // All flushes first: an old jump must not make a loop with a new one.
  for (const { chain, created } of chains) {
    if (!created) builder.push(`flush chain ${table} ${chain.fullName}`, { kind: 'chain', name: chain.fullName });
  }
  for (const { chain } of chains) {
    const owner: StatementOwner = { kind: 'chain', name: chain.fullName };
    const printed = closed?.get(chain.fullName) ?? chain;
    if (printed.texts.length > 0) builder.push(rulesOf(table, printed), owner);
  }
}

function rulesOf(table: string, printed: PrintedChain): ChainRules {
  return {
    table,
    chain: printed.fullName,
    texts: printed.texts,
    get comments() {
      return commentsOf(printed);
    },
  };
}

function deleteObjects(builder: ScriptBuilder, table: string, changes: TableChanges): void {
  for (const name of changes.deletedChains) builder.push(`flush chain ${table} ${name}`);
  for (const name of changes.deletedChains) builder.push(`delete chain ${table} ${name}`);
  for (const name of changes.deletedMaps) builder.push(`delete map ${table} ${name}`);
  for (const name of changes.deletedSets) builder.push(`delete set ${table} ${name}`);
  for (const name of changes.deletedFlowtables) builder.push(`delete flowtable ${table} ${name}`);
}
