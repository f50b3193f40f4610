// Reads restore scripts from standard input (JSON: [family, script] after each other), plays them in its namespace once
// by iptables-nft-restore and once by our own netlink batches, and prints for each script whether it was compiled and the
// first thing that the kernel then holds otherwise, byte by byte.
import { readFileSync } from 'node:fs';
import { IpsetIndex } from '../../../src/kernel/netlink/ipset-index.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { NfTablesNetlink } from '../../../src/kernel/netlink/nf-tables.js';
import { NETLINK, NetlinkSocket } from '../../../src/kernel/netlink/socket.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import type { Family } from '../../../src/model/family.js';
import { CommandIptablesIo } from '../../../src/tables/iptables/command-io.js';
import { NetlinkIptablesIo } from '../../../src/tables/iptables/netlink-io.js';
import type { RestoreFinding } from '../support/restore-comparison.js';
import { CountingTool } from './counting-tool.js';
import { dumpRuleset } from './ruleset-dump.js';

const { library } = loadNativeLibrary();
if (library === null) throw new Error('no native library');
const socket = new NetlinkSocket(library, NETLINK.netfilter);

/** Message → attributes that say what an object is; handles and use counts differ from load to load. */
const OBJECTS = [
  { get: 1, keep: [1, 2] },
  { get: 4, keep: [1, 3, 4, 5, 7, 10] },
  { get: 7, keep: [1, 2, 4, 5, 7] },
];

const dump = (): string[] => dumpRuleset(socket, OBJECTS, [2, 10]);

async function saved(): Promise<string[]> {
  const lines: string[] = [];
  for (const tool of ['iptables-nft-save', 'ip6tables-nft-save']) {
    const { stdout } = await directRunner.run({ argv: [tool] });
    lines.push(...stdout.split('\n').filter((line) => !line.startsWith('#')));
  }
  return lines;
}

const tool = new CommandIptablesIo({
  runner: directRunner,
  backend: 'nft',
  restoreSupportsLock: true,
  lockProbeIntervalMs: 50,
});
const counted = new CountingTool(tool);
const [four, six, short] = [new NfTablesNetlink(library), new NfTablesNetlink(library), new NfTablesNetlink(library)];
const netlink = { 4: four, 6: six, short };
const native = new NetlinkIptablesIo({
  netlink,
  sets: new IpsetIndex(library),
  tool: counted,
  clock: systemClock,
  allWait: () => Promise.resolve(),
});

const scripts = JSON.parse(readFileSync(0, 'utf8')) as readonly (readonly [Family, string])[];
const expected: string[][] = [];
for (const [family, script] of scripts) {
  await tool.restore(family, script);
  expected.push([...dump(), ...(await saved())]);
}
await directRunner.run({ argv: ['nft', 'flush', 'ruleset'] });
const findings: RestoreFinding[] = [];
for (const [index, [family, script]] of scripts.entries()) {
  counted.restores = 0;
  await native.restore(family, script);
  const own = [...dump(), ...(await saved())];
  const byTool = expected[index] ?? [];
  const at = own.findIndex((line, position) => line !== byTool[position]);
  const isEqual = at < 0 && own.length === byTool.length;
  const difference = { byTool: byTool[at] ?? '(more lines)', own: own[at] ?? '(fewer lines)' };
  findings.push({ isOwn: counted.restores === 0, ...(isEqual ? {} : difference) });
}
socket.close();
console.log(JSON.stringify(findings));
process.exit(0);
