// Reads restore scripts from standard input (JSON: [family, script] after each other), plays them in its namespace once
// by iptables-legacy-restore and once by our own writes, and prints for each script whether it was written without the
// tool, and the first entry that the kernel then holds otherwise, byte by byte. Before each script, rules and policies
// get counters, the same in both runs, so that it shows what becomes of them.
import { readFileSync } from 'node:fs';
import { FileLock } from '../../../src/kernel/file-lock.js';
import { IpsetIndex } from '../../../src/kernel/netlink/ipset-index.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import {
  COUNTER_BYTES,
  COUNTERS_AT,
  ENTRIES_AT,
  XTABLES_LAYOUTS,
  type XtablesInfo,
  XtablesSocket,
} from '../../../src/kernel/netlink/xtables-socket.js';
import { XtablesMemory } from '../../../src/kernel/netlink/xtables-memory.js';
import { XtablesReader } from '../../../src/kernel/netlink/xtables-reader.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { type Family, FAMILIES } from '../../../src/model/family.js';
import { CommandIptablesIo } from '../../../src/tables/iptables/command-io.js';
import type { IptablesIo } from '../../../src/tables/iptables/io.js';
import { LegacyIptablesIo } from '../../../src/tables/iptables/legacy-io.js';
import { HASH_COMMENT_PREFIX } from '../../../src/tables/ownership.js';
import type { RestoreFinding } from '../support/restore-comparison.js';
import { CountingTool } from './counting-tool.js';

const { library } = loadNativeLibrary();
if (library === null) throw new Error('no native library');

function open(family: Family): XtablesSocket {
  const socket = library === null ? null : XtablesSocket.open(library, family);
  if (socket === null) throw new Error('no socket');
  return socket;
}

const sockets = { 4: open(4), 6: open(6) };
const lockPath = process.env['XTABLES_LOCKFILE'] ?? '';
if (lockPath === '') throw new Error('XTABLES_LOCKFILE is not set');

const memory = new XtablesMemory(library);
const reader = new XtablesReader(library, HASH_COMMENT_PREFIX, memory);
const runner = directRunner;
const tool = new CommandIptablesIo({ runner, backend: 'legacy', restoreSupportsLock: true, lockProbeIntervalMs: 50 });
const counted = new CountingTool(tool);
const own = new LegacyIptablesIo({
  sockets,
  lock: new FileLock(library, lockPath),
  sets: new IpsetIndex(library),
  clock: systemClock,
  memory,
  readTags: (...args) => reader.taggedRulesIn(...args),
  tool: counted,
});

const tableOf = (script: string): string => script.slice(1, script.indexOf('\n'));

async function read(family: Family, table: string): Promise<{ info: XtablesInfo; memory: Buffer }> {
  const info = sockets[family].info(table);
  const memory = Buffer.alloc(ENTRIES_AT + (info?.size ?? 0));
  if (info === null || !(await sockets[family].entries(table, info.size, memory))) throw new Error('cannot read');
  return { info, memory };
}

/** Gives each entry other counters than the one before it, as traffic would. */
async function count(family: Family, table: string, seed: number): Promise<void> {
  const { info } = await read(family, table);
  const counters = Buffer.alloc(COUNTERS_AT + COUNTER_BYTES * info.entries);
  for (let entry = 0; entry < info.entries; entry++) {
    // Nobody counts at the heads of chains: there we leave our stamp.
    counters.writeUInt32LE(isHead.has(entry) ? 0 : seed + entry, COUNTERS_AT + COUNTER_BYTES * entry);
    counters.writeUInt32LE(isHead.has(entry) ? 0 : 100 * entry, COUNTERS_AT + COUNTER_BYTES * entry + 8);
  }
  if (!(await sockets[family].addCounters(table, counters, info.entries))) throw new Error('cannot count');
}

const isHead = new Set<number>();

/** All entries as text, without the stamp; notes which are heads of chains. */
async function dump(family: Family, table: string): Promise<string[]> {
  const { info, memory } = await read(family, table);
  const { nextOffset, targetOffset, counters } = XTABLES_LAYOUTS[family];
  const lines = [JSON.stringify(info)];
  isHead.clear();
  let at = ENTRIES_AT;
  for (let entry = 0; entry < info.entries; entry++) {
    const next = at + memory.readUInt16LE(at + nextOffset);
    const target = at + memory.readUInt16LE(at + targetOffset);
    if (memory.toString('latin1', target + 2, target + 7) === 'ERROR') {
      if (isHead.size === 0) memory.fill(0, at + counters, at + counters + COUNTER_BYTES);
      isHead.add(entry);
    }
    lines.push(memory.toString('hex', at, next));
    at = next;
  }
  return lines;
}

async function emptyAll(): Promise<void> {
  for (const name of ['iptables', 'ip6tables'])
    for (const table of ['filter', 'nat', 'mangle', 'raw'])
      for (const flag of ['-F', '-X']) await runner.run({ argv: [`${name}-legacy`, '-t', table, flag] });
}

/** What others have in the tables, in forms that we never write. */
const FOREIGN = `*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER2 - [0:0]
:zz-last - [0:0]
-A INPUT -m statistic --mode nth --every 3 --packet 1
-A FORWARD -j DOCKER
-A DOCKER -p tcp -m recent --name seen --set
-A DOCKER -m statistic --mode random --probability 0.5 -g zz-last
-A DOCKER -m limit --limit 7/min -j LOG
-A zz-last -p tcp -m tcp --sport 1:5 --tcp-option 7
-A zz-last -j DOCKER2
COMMIT
*nat
:AAA - [0:0]
-A OUTPUT -p udp -m udp --dport 53 -j AAA
-A AAA -p tcp -j REDIRECT --to-ports 81-99
COMMIT
`;

const scripts = JSON.parse(readFileSync(0, 'utf8')) as readonly (readonly [Family, string])[];

async function play(io: IptablesIo, after: (index: number, lines: string[]) => void): Promise<void> {
  await emptyAll();
  for (const family of FAMILIES) await tool.restore(family, FOREIGN);
  for (const [index, [family, script]] of scripts.entries()) {
    const table = tableOf(script);
    await dump(family, table);
    await count(family, table, 1000 * (index % 50));
    counted.restores = 0;
    await io.restore(family, script);
    const lines: string[] = await dump(family, table);
    for (const each of FAMILIES)
      for (const other of ['filter', 'nat', 'mangle', 'raw'])
        if (index === scripts.length - 1) lines.push(...(await dump(each, other)));
    after(index, lines);
  }
}

const expected: string[][] = [];
const findings: RestoreFinding[] = [];
await play(tool, (_, lines) => void expected.push(lines));
await play(own, (index, lines) => {
  const byTool = expected[index] ?? [];
  const at = lines.findIndex((line, position) => line !== byTool[position]);
  const isEqual = at < 0 && lines.length === byTool.length;
  const difference = {
    byTool: `${at}: ${byTool[at] ?? '(more lines)'}`,
    own: `${at}: ${lines[at] ?? '(fewer lines)'}`,
  };
  findings.push({ isOwn: counted.restores === 0, ...(isEqual ? {} : difference) });
});
console.log(JSON.stringify(findings));
process.exit(0);
