// Sweeps what an iptables-legacy Calico left, when the dataplane runs on iptables-nft or nftables (dataplane.md 4.6,
// tests.md B16, B18, B25).
import type { Clock } from '../../base/clock.js';
import type { Logger } from '../../base/logger.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { HostFiles } from '../../kernel/files.js';
import type { Family } from '../../model/family.js';
import type { OperationObserver } from '../../model/operation.js';
import { PacedCleanup, type SweepResult } from '../paced-cleanup.js';
import { backendBinariesPresent, legacyTableNames } from './backend.js';
import { CommandIptablesIo } from './command-io.js';
import { parseSave } from './read.js';
import { SHARED_TABLES, sweepTable, sweepTables } from './table-sweep.js';

/** What the clean-ups of other iptables variants are made of. `refreshIntervalMs` 0 means 180 s. */
export interface IptablesCleanupOptions {
  readonly family: Family;
  readonly runner: CommandRunner;
  readonly files: HostFiles;
  readonly restoreSupportsLock: boolean;
  readonly lockProbeIntervalMs: number;
  readonly refreshIntervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
}

/**
 * Clean-up of the legacy tables of one family. Runs no program while the kernel has no legacy table: asking one would
 * load it. Does nothing where a variant's binaries are missing: the general names could mean the variant in use.
 */
export function createLegacyCleanup(options: IptablesCleanupOptions): PacedCleanup {
  const { family, runner } = options;
  // A legacy tool that is removed later must not give way to a general one, which may be the variant in use.
  const io = new CommandIptablesIo({ ...options, backend: 'legacy', exactNames: true });
  let hasBinaries: boolean | undefined;
  const sweep = async (): Promise<SweepResult> => {
    const present = await legacyTableNames(options.files, family);
    const tables = SHARED_TABLES.filter((table) => present.includes(table));
    if (tables.length === 0) return { operations: 0, failures: [] };
    hasBinaries ??=
      (await backendBinariesPresent(runner, 'legacy', family)) && (await backendBinariesPresent(runner, 'nft', family));
    if (!hasBinaries) return { operations: 0, failures: [] };
    return sweepTables(tables, (table) =>
      sweepTable({
        ...options,
        backend: 'legacy',
        table,
        io,
        read: async () => parseSave(await io.save(family, table), table),
      }),
    );
  };
  return new PacedCleanup({ ...options, name: `cleanup of iptables-legacy v${family}`, sweep });
}
