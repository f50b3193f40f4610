// Prints the comments of all legacy iptables rules of its namespace as JSON: `filter/4` → chain → comments.
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { XtablesReader } from '../../../src/kernel/netlink/xtables-reader.js';
import { FAMILIES } from '../../../src/model/family.js';

const { library, reason } = loadNativeLibrary();
if (library === null) throw new Error(reason);
const reader = new XtablesReader(library);
const result: Record<string, unknown> = {};
for (const family of FAMILIES) {
  for (const table of ['filter', 'nat', 'mangle', 'raw']) {
    const comments = await reader.comments(family, table);
    result[`${table}/${family}`] = comments === null ? null : Object.fromEntries(comments);
  }
}
result['none/4'] = await reader.comments(4, 'none');
console.log(JSON.stringify(result));
