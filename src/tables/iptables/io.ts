// The seam between the iptables reconciler and the tools: reading a table and running a restore script. Spawned
// commands, a co-process and a fake stand behind it.
import type { ToolError } from '../../base/errors.js';
import type { Family, TableName } from '../../model/family.js';
import type { KnownTable } from './read.js';

/** Access to the tables of one backend. Calls for one table never overlap. */
export interface IptablesIo {
  /** The text of `iptables-save -t <table>`; empty where the table does not exist. Rejects with a ToolError. */
  save(family: Family, table: TableName): Promise<string>;
  /**
   * The same as it is known after it, without a tool and without lines (see {@link KnownChain}). Null where that cannot be
   * had, or does not tell all that the text does.
   */
  readTags(family: Family, table: TableName): Promise<KnownTable | null>;
  /**
   * Runs a restore script (`*table`, lines, `COMMIT`, possibly several) without flushing what it does not name. Each
   * transaction is atomic. Rejects with a ToolError, whose `inputLine` counts from 1 in this script.
   */
  restore(family: Family, script: string): Promise<void>;
  /**
   * Whether the rules of ours in a table are where they are known to be, asked of the kernel without printing the table.
   * False also where that cannot be told.
   */
  isAsKnown(family: Family, table: TableName, known: KnownTable): Promise<boolean>;
  /** Says that so much of a table changes that its script will be a long one: what is kept for short ones can go. */
  expectLongScript?(family: Family, table: TableName): void;
  /** A number that moves when another program may have changed any table; null where that cannot be told. */
  epoch(): number | null;
}

/** iptables(8): bad parameters. */
const EXIT_PARAMETER_PROBLEM = 2;
/** iptables(8): the kernel said no; the legacy variants also for a rule that is not there. */
const EXIT_OTHER_PROBLEM = 1;
/** iptables(8): resource problem; the lock is held, but also every refusal by the kernel in the nft variants. */
const EXIT_RESOURCE_PROBLEM = 4;

/** Whether the tool ran and said no to what was in the script; false for a held lock, a crash, a timeout. */
export function isRefusal(error: ToolError): boolean {
  const { exitCode, stderrHead } = error.failure;
  if (exitCode === EXIT_RESOURCE_PROBLEM) return !stderrHead.includes('xtables lock');
  return exitCode === EXIT_OTHER_PROBLEM || exitCode === EXIT_PARAMETER_PROBLEM;
}
