// Removes everything of ours from one iptables table and leaves the rest byte for byte: the common part of the
// clean-ups of both variants (dataplane.md 4.6).
import { errorMessage, ToolError } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import { MODERN_FEATURES } from '../../model/features.js';
import type { Chain, Rule } from '../../model/chain.js';
import type { Family, TableName } from '../../model/family.js';
import type { OperationObserver } from '../../model/operation.js';
import type { SweepResult } from '../paced-cleanup.js';
import { renderChain } from './hash.js';
import type { IptablesIo } from './io.js';
import { findDifferences, planTable, type TablePlan } from './plan.js';
import type { KnownTable } from './read.js';

/** The tables that Calico shares with everything else on the node. */
export const SHARED_TABLES: readonly TableName[] = ['filter', 'nat', 'mangle', 'raw'];

/** Failures that do not name a chain that cannot be deleted, before the pass gives up. */
const MAX_FAILURES = 3;

/** One table to sweep. */
export interface TableSweepOptions {
  readonly backend: 'legacy' | 'nft';
  readonly family: Family;
  readonly table: TableName;
  readonly io: IptablesIo;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
  /** Reads the table as it is now. Called again after a failed write. */
  readonly read: () => Promise<KnownTable>;
}

/**
 * Deletes our rules from others' chains and our chains; a chain that something else still refers to is emptied.
 * Resolves to the number of operations, 0 without any write if there is nothing of ours. Rejects with a ToolError.
 */
export async function sweepTable(options: TableSweepOptions): Promise<number> {
  const undeletable = new Set<string>();
  for (let failures = 0; ; ) {
    const plan = await planSweep(options, await options.read(), undeletable);
    const script = plan.script.toString();
    if (script === '') return 0;
    try {
      await options.io.restore(options.family, script);
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      const line = error.failure.inputLine;
      const owner = line === undefined ? null : plan.script.ownerOfLine(line);
      if (owner?.kind === 'delete' && !undeletable.has(owner.name)) {
        undeletable.add(owner.name);
        options.log.info('A leftover chain cannot be deleted, something refers to it; it is left empty', {
          table: `${options.table}/${options.family}`,
          chain: owner.name,
        });
      } else if (++failures >= MAX_FAILURES) throw error;
      continue;
    }
    for (const operation of plan.operations) options.onOperation(operation);
    return plan.operations.length;
  }
}

/** Sweeps table by table; one that fails does not keep the others (tests.md B21). */
export async function sweepTables(
  tables: readonly TableName[],
  sweep: (table: TableName) => Promise<number>,
): Promise<SweepResult> {
  let operations = 0;
  const failures: string[] = [];
  for (const table of tables) {
    try {
      operations += await sweep(table);
    } catch (error) {
      failures.push(`${table}: ${errorMessage(error)}`);
    }
  }
  return { operations, failures };
}

function planSweep(
  options: TableSweepOptions,
  known: KnownTable,
  undeletable: ReadonlySet<string>,
): Promise<TablePlan> {
  const { chains, hooks } = findDifferences(known, [], [], () => undefined);
  const text = { family: options.family, features: MODERN_FEATURES };
  const input = {
    family: options.family,
    table: options.table,
    backend: options.backend,
    insertMode: 'insert' as const,
    wanted: { chain: () => undefined, insertedRules: () => [], appendedRules: () => [] },
    known,
    dirtyChains: chains,
    dirtyHooks: hooks,
    isFresh: true,
    undeletable,
    renderChain: ({ name, rules }: Chain) => renderChain(name, rules, text),
    renderHook: (hashedName: string, rules: readonly Rule[]) => renderChain(hashedName, rules, text),
  };
  return planTable(input, null);
}
