// Names what a transaction does, object by object, for logs, `status` and cost tests.
import type { Operation } from '../../model/operation.js';
import type { TableChanges } from './script.js';
import { flowtableWrites } from './flowtable.js';

/** The operations of a plan, in the order of its script. `filter/4 cali-INPUT` names a chain of the IPv4 table. */
export function operationsOf(changes: TableChanges): Operation[] {
  const operations: Operation[] = [];
  const family = { ip: '4', ip6: '6', arp: 'arp' }[changes.family];
  const named = (fullName: string): string => {
    const dash = fullName.indexOf('-');
    return dash < 0 ? `${family} ${fullName}` : `${fullName.slice(0, dash)}/${family} ${fullName.slice(dash + 1)}`;
  };
  const tables = (verb: string, object: string, count?: number): void => {
    operations.push({ room: 'tables', verb, object, ...(count === undefined ? {} : { count }) });
  };
  const sets = (verb: string, object: string, count?: number): void => {
    operations.push({ room: 'ipsets', verb, object, ...(count === undefined ? {} : { count }) });
  };
  if (changes.start !== 'keep') tables(`${changes.start}-table`, `${changes.family} ${changes.table}`);
  if (changes.flowtable !== undefined && flowtableWrites(changes.flowtable)) {
    tables('write-flowtable', `flowtable/${family}`, changes.flowtable.devices.size);
  }
  for (const set of changes.sets) {
    if (set.created) sets('create-set', set.nftName);
    if (set.removed.length > 0) sets('remove-members', set.nftName, set.removed.length);
    if (set.addedCount > 0) sets('add-members', set.nftName, set.addedCount);
  }
  for (const { chain } of changes.chains) {
    tables(chain.base === undefined ? 'write-chain' : 'write-hook', named(chain.fullName), chain.texts.length);
  }
  for (const map of changes.maps) tables('write-map', named(map.fullName), map.removed.length + map.added.length);
  for (const name of changes.deletedChains) tables('delete-chain', named(name));
  for (const name of changes.deletedMaps) tables('delete-map', named(name));
  for (const name of changes.deletedSets) sets('delete-set', name);
  for (const name of changes.deletedFlowtables) tables('delete-flowtable', name);
  return operations;
}
