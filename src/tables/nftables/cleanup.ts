// Takes our nftables tables away where iptables is in use (dataplane.md 4.6). The ARP table is wanted in both modes.
import { errorMessage } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import type { OperationObserver } from '../../model/operation.js';
import type { NftFamily, NftIo } from './io.js';
import { IP_TABLE_NAME } from './plane.js';

const FAMILIES: readonly NftFamily[] = ['ip', 'ip6'];

/**
 * Deletes `ip calico` and `ip6 calico` where they exist; never `arp calico-arp`. Returns how many were deleted. Never
 * rejects: what cannot be listed or deleted is logged and left for the next call (each refresh interval).
 */
export async function deleteOwnTables(io: NftIo, log: Logger, onOperation: OperationObserver): Promise<number> {
  let deleted = 0;
  for (const family of FAMILIES) {
    try {
      const names = await io.listTables(family);
      if (!names.includes(IP_TABLE_NAME)) continue;
      await io.transaction(`delete table ${family} ${IP_TABLE_NAME}\n`);
      onOperation({ room: 'tables', verb: 'delete-table', object: `${family} ${IP_TABLE_NAME}` });
      deleted++;
    } catch (error) {
      log.warn('A leftover nftables table could not be deleted; it is tried again at the next refresh', {
        table: `${family} ${IP_TABLE_NAME}`,
        reason: errorMessage(error),
      });
    }
  }
  return deleted;
}
