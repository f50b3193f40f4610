// Takes our nftables tables away where iptables is in use (dataplane.md 4.6). The ARP table is wanted in both modes.
import type { Clock } from '../../base/clock.js';
import { errorMessage } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import type { OperationObserver } from '../../model/operation.js';
import { PacedCleanup, type SweepResult } from '../paced-cleanup.js';
import type { NftFamily, NftIo } from './io.js';
import { IP_TABLE_NAME } from './plane.js';

/** What the clean-up is built from. `refreshIntervalMs` 0 means 180 s. */
export interface OwnTablesCleanupOptions {
  readonly io: NftIo;
  readonly refreshIntervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
}

const FAMILIES: readonly NftFamily[] = ['ip', 'ip6'];

/**
 * Deletes `ip calico` and `ip6 calico` where they exist; never `arp calico-arp`. Never rejects: what cannot be listed
 * or deleted is among the failures.
 */
export async function deleteOwnTables(io: NftIo, onOperation: OperationObserver): Promise<SweepResult> {
  let operations = 0;
  const failures: string[] = [];
  for (const family of FAMILIES) {
    const object = `${family} ${IP_TABLE_NAME}`;
    try {
      const names = await io.listTables(family);
      if (!names.includes(IP_TABLE_NAME)) continue;
      await io.transaction([`delete table ${object}`]);
      onOperation({ room: 'tables', verb: 'delete-table', object });
      operations++;
    } catch (error) {
      failures.push(`table ${object}: ${errorMessage(error)}`);
    }
  }
  return { operations, failures };
}

/** {@link deleteOwnTables} at each refresh, for ever; nothing is asked for while the generation shows no change. */
export function createOwnTablesCleanup(options: OwnTablesCleanupOptions): PacedCleanup {
  let cleanGeneration: number | null = null;
  const sweep = async (): Promise<SweepResult> => {
    const generation = await options.io.generation();
    if (generation !== null && generation === cleanGeneration) return { operations: 0, failures: [] };
    const result = await deleteOwnTables(options.io, options.onOperation);
    cleanGeneration = result.failures.length === 0 ? generation : null;
    return result;
  };
  const { refreshIntervalMs, clock, log } = options;
  return new PacedCleanup({ name: 'nftables tables', refreshIntervalMs, clock, log, sweep });
}
