// Which clean-ups of other iptables variants a dataplane needs (dataplane.md 4.6).
import type { HostFiles } from '../../kernel/files.js';
import type { Family } from '../../model/family.js';
import type { PacedCleanup } from '../paced-cleanup.js';
import { createLegacyCleanup, type IptablesCleanupOptions } from './cleanup-legacy.js';
import { createNftCopiesCleanup } from './cleanup-nft.js';

/** As {@link IptablesCleanupOptions}, for several families. */
export interface IptablesCleanupsOptions extends Omit<IptablesCleanupOptions, 'family'> {
  /** What the dataplane runs on. */
  readonly backendInUse: 'legacy' | 'nft' | 'nftables';
  readonly families: readonly Family[];
  readonly files: HostFiles;
}

/** One clean-up per family and variant that is not in use. Run them after the tables, and for ever. */
export function createIptablesCleanups(options: IptablesCleanupsOptions): PacedCleanup[] {
  const { backendInUse } = options;
  const cleanups: PacedCleanup[] = [];
  for (const family of options.families) {
    if (backendInUse !== 'legacy') cleanups.push(createLegacyCleanup({ ...options, family }));
    if (backendInUse !== 'nft') cleanups.push(createNftCopiesCleanup({ ...options, family, backendInUse }));
  }
  return cleanups;
}
