// Lists the tables of its namespace through nft and through netlink, and prints both as JSON.
import { directRunner } from '../../../src/kernel/spawn.js';
import { LibNftables } from '../../../src/kernel/netlink/libnftables.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { NfTablesNetlink } from '../../../src/kernel/netlink/nf-tables.js';
import { NfTablesReader } from '../../../src/kernel/netlink/nf-tables-read.js';
import { CommandNftIo } from '../../../src/tables/nftables/command-io.js';
import type { KernelNftTable, NftFamily, NftIo } from '../../../src/tables/nftables/io.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { NetlinkNftIo } from '../../../src/tables/nftables/netlink-io.js';
import { HASH_COMMENT_PREFIX } from '../../../src/tables/ownership.js';

const native = loadNativeLibrary();
const nft = LibNftables.open();
if (native.library === null || nft.library === null) throw new Error(`${native.reason ?? ''} ${nft.reason ?? ''}`);
const byTool = new CommandNftIo({ runner: directRunner });
const byNetlink = new NetlinkNftIo({
  library: nft.library,
  netlink: new NfTablesNetlink(native.library),
  reader: new NfTablesReader(native.library, HASH_COMMENT_PREFIX),
  fallback: byTool,
  clock: systemClock,
});

function plain(table: KernelNftTable | null): unknown {
  if (table === null) return null;
  return {
    chains: [...table.chains].sort(),
    sets: [...table.sets].map(([name, set]) => [name, { ...set, elements: [...set.elements].sort() }]).sort(),
    maps: [...table.maps].map(([name, map]) => [name, { ...map, elements: [...map.elements].sort() }]).sort(),
    flowtables: [...table.flowtables].map(([name, devices]) => [name, [...devices]]),
  };
}

async function everything(io: NftIo): Promise<unknown> {
  const out: Record<string, unknown> = {};
  for (const family of ['ip', 'ip6', 'arp'] as const satisfies readonly NftFamily[]) {
    for (const table of (await io.listTables(family)).sort()) {
      out[`${family} ${table}`] = plain(await io.listTable(family, table));
      out[`${family} ${table} chains`] = (await io.listChains(family, table)).sort();
    }
    out[`${family} nope`] = plain(await io.listTable(family, 'nope'));
  }
  return out;
}

console.log(JSON.stringify({ byTool: await everything(byTool), byNetlink: await everything(byNetlink) }));
process.exit(0);
