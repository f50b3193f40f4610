// Reads a table of its namespace, in which one chain has as many rules as argv says, while it is written anew, and then by
// one dump. Prints both as JSON: `{ generation, listed, tagged, whole }`.
import type { Slices } from '../../../src/kernel/netlink/socket.js';
import { LibNftables } from '../../../src/kernel/netlink/libnftables.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { FLAG, MessageWriter } from '../../../src/kernel/netlink/message.js';
import { RuleTagReader } from '../../../src/kernel/netlink/nf-rule-read.js';
import { NfTablesReader } from '../../../src/kernel/netlink/nf-tables-read.js';
import { NETLINK, NetlinkSocket } from '../../../src/kernel/netlink/socket.js';

const TABLE = 'calico';
const CHAINS = 60;
const COMMITS = 3;
const MANY_RULES = Number(process.argv[2]);
const DUMP_RULES = (10 << 8) | 7;
const IPV4 = 2;

const { library, reason } = loadNativeLibrary();
const nft = LibNftables.open();
if (library === null || nft.library === null) throw new Error(`${reason ?? ''} ${nft.reason ?? ''}`);
const tool = nft.library;
let generation = 0;

/** Each time all rules get other tags, and one chain another name. */
async function write(): Promise<void> {
  generation++;
  const rules = (chain: string, count: number): string =>
    Array.from({ length: count }, (_, at) => `counter comment "cali:G${generation}-${chain}-${at};"`).join('\n');
  const chains = Array.from({ length: CHAINS }, (_, at) => `chain c${at} {\n${rules(`c${at}`, at % 4)}\n}`);
  const table = [...chains, `chain many {\n${rules('many', MANY_RULES)}\n}`, `chain only-${generation} { }`].join('\n');
  await tool.run(
    `table ip ${TABLE} { }\ndelete table ip ${TABLE}\ntable ip ${TABLE} {\n${table}\nchain in { type filter hook input priority 0; }\n}`,
  );
}

/** Pauses at each chain and datagram, and somebody commits in every second pause. */
function disturbed(commits: number): Slices {
  let pauses = 0;
  let left = commits;
  return {
    isOver: () => true,
    pause: async () => {
      pauses++;
      if (left === 0 || pauses % 2 !== 0) return;
      left--;
      await write();
    },
  };
}

await write();
const reader = new NfTablesReader(library, 'cali:');
const table = await reader.listTable('ip', TABLE, disturbed(COMMITS));
const tagged = await reader.listTaggedRules('ip', TABLE, disturbed(COMMITS));
reader.close();

const socket = new NetlinkSocket(library, NETLINK.netfilter);
const whole = new RuleTagReader(TABLE, 'cali:');
const writer = new MessageWriter().begin(DUMP_RULES, FLAG.request | FLAG.dump, socket.takeSequences(1));
writer.u8(IPV4).u8(0).u16(0).attributeString(1, TABLE).end();
socket.scan(writer.finish(), whole.visit);
socket.close();

console.log(
  JSON.stringify({
    generation,
    listed: Object.fromEntries([...(table?.chains ?? [])].map(([name, { tags }]) => [name, tags])),
    tagged: Object.fromEntries(tagged.tags),
    whole: Object.fromEntries(whole.finish()),
  }),
);
await tool.close();
