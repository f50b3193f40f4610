// What the kernel itself takes for a policy edit: a batch on an open netlink socket that empties one chain and adds one
// rule to it. Every new rule with a verdict makes it validate all that base chains reach (nft_table_validate), so this
// grows with the node. Run in a namespace that holds the ruleset: `netlink-floor.ts ip calico filter-cali-pi-…`. Prints
// the least and the median milliseconds as JSON.
import { loadNativeLibrary } from '../src/kernel/netlink/library.js';
import { NfTablesNetlink } from '../src/kernel/netlink/nf-tables.js';
import { scriptText } from '../src/tables/nftables/io.js';
import { compileScript } from '../src/tables/nftables/script-compiler.js';
import { nowNs } from './probe-pair.js';

const REPEATS = 15;
/** Between edits, as between those of the driver: one right after the other finds the ruleset in the processor's caches. */
const GAP_MS = 200;

const [family = '', table = '', chain = ''] = process.argv.slice(2);
const native = loadNativeLibrary();
if (native.library === null) throw new Error(`No native library: ${native.reason}`);
const netlink = new NfTablesNetlink(native.library);
const statements = [
  `flush chain ${family} ${table} ${chain}`,
  { table: `${family} ${table}`, chain, texts: ['counter return'], comments: ['floor'] },
];

const times: number[] = [];
for (let index = 0; index < REPEATS; index++) {
  await new Promise((resolve) => setTimeout(resolve, GAP_MS));
  const startNs = nowNs();
  const batch = compileScript(statements, new Map());
  if (batch === null) throw new Error(`"${scriptText(statements)}" could not be said in netlink`);
  await netlink.commit(batch);
  times.push((nowNs() - startNs) / 1e6);
}
netlink.close();
times.sort((left, right) => left - right);
console.log(JSON.stringify({ least: times[0], median: times[REPEATS >> 1] }));
