// Prints what all iptables rules of its namespace are known by, as JSON: `legacy filter/4` → tags, and targets of rules
// without a tag, by chain.
import { systemClock } from '../../../src/kernel/system-clock.js';
import { SLICE_MS, TimeSlices } from '../../../src/base/time-slices.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { NfTablesReader } from '../../../src/kernel/netlink/nf-tables-read.js';
import type { TaggedRules } from '../../../src/kernel/netlink/tagged-rules.js';
import { XtablesReader } from '../../../src/kernel/netlink/xtables-reader.js';
import { FAMILIES } from '../../../src/model/family.js';

const { library, reason } = loadNativeLibrary();
if (library === null) throw new Error(reason);
const legacy = new XtablesReader(library, 'cali:');
const nft = new NfTablesReader(library, 'cali:');

function plain(found: TaggedRules | null): unknown {
  if (found === null) return null;
  const others = [...found.others].map(([chain, targets]) => [chain, [...targets].sort()]);
  return { tags: Object.fromEntries(found.tags), others: Object.fromEntries(others) as unknown };
}

const result: Record<string, unknown> = {};
for (const family of FAMILIES) {
  for (const table of ['filter', 'nat', 'mangle', 'raw']) {
    result[`legacy ${table}/${family}`] = plain(await legacy.taggedRules(family, table));
    const slices = new TimeSlices(systemClock, SLICE_MS);
    const found = await nft.listTaggedRules(family === 4 ? 'ip' : 'ip6', table, slices);
    result[`nft ${table}/${family}`] = plain(found);
  }
}
result['none/4'] = plain(await legacy.taggedRules(4, 'none'));
console.log(JSON.stringify(result));
nft.close();
