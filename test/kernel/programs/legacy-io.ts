// Plays stories with others who change legacy tables at the same time, in its own namespace, and prints what came of
// them as JSON. XTABLES_LOCKFILE must name a file that nobody else locks.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ToolError } from '../../../src/base/errors.js';
import { FileLock } from '../../../src/kernel/file-lock.js';
import { IpsetIndex } from '../../../src/kernel/netlink/ipset-index.js';
import { loadNativeLibrary } from '../../../src/kernel/netlink/library.js';
import { XtablesSocket } from '../../../src/kernel/netlink/xtables-socket.js';
import { XtablesMemory } from '../../../src/kernel/netlink/xtables-memory.js';
import { XtablesReader } from '../../../src/kernel/netlink/xtables-reader.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { CommandIptablesIo } from '../../../src/tables/iptables/command-io.js';
import type { IptablesIo } from '../../../src/tables/iptables/io.js';
import { LegacyIptablesIo } from '../../../src/tables/iptables/legacy-io.js';
import type { KnownTable } from '../../../src/tables/iptables/read.js';
import { HASH_COMMENT_PREFIX } from '../../../src/tables/ownership.js';

const { library } = loadNativeLibrary();
const socket = library === null ? null : XtablesSocket.open(library, 4);
const lockPath = process.env['XTABLES_LOCKFILE'] ?? '';
if (library === null || socket === null || lockPath === '') throw new Error('no native library, socket or lock');

const memory = new XtablesMemory(library);
const reader = new XtablesReader(library, HASH_COMMENT_PREFIX, memory);
const runner = directRunner;
const command = new CommandIptablesIo({
  runner,
  backend: 'legacy',
  restoreSupportsLock: true,
  lockProbeIntervalMs: 50,
  readTags: (family, table) => reader.taggedRules(family, table),
});
const calls = { reads: 0, checks: 0, tool: 0 };
const tool: IptablesIo = {
  epoch: () => null,
  isAsKnown: () => Promise.reject(new Error('it has sockets to ask')),
  save: (family, table) => command.save(family, table),
  readTags: () => Promise.resolve(null),
  restore: (family, script) => {
    calls.tool += 1;
    return command.restore(family, script);
  },
};
let beforeReplace = (): Promise<unknown> => Promise.resolve();
const watched: ConstructorParameters<typeof LegacyIptablesIo>[0]['sockets'][4] = {
  info: (table) => socket.info(table),
  entries: (...args) => {
    calls.reads += 1;
    return socket.entries(...args);
  },
  firstEntries: (...args) => {
    calls.checks += 1;
    return socket.firstEntries(...args);
  },
  replace: async (...args) => {
    await beforeReplace();
    return socket.replace(...args);
  },
  addCounters: (...args) => socket.addCounters(...args),
};
const sets = new IpsetIndex(library);
const lock = new FileLock(library, lockPath);
const readTags: ConstructorParameters<typeof LegacyIptablesIo>[0]['readTags'] = (...args) =>
  reader.taggedRulesIn(...args);
/** As a process that knows nothing of the tables. */
const newProcess = (): LegacyIptablesIo =>
  new LegacyIptablesIo({ sockets: { 4: watched, 6: null }, lock, sets, clock: systemClock, memory, readTags, tool });
let io = newProcess();

/** Another program; `lock` is the file that it takes for the lock. */
async function other(args: readonly string[], lock = lockPath): Promise<void> {
  const child = spawn('iptables-legacy', ['--wait', ...args], {
    stdio: 'inherit',
    env: { ...process.env, XTABLES_LOCKFILE: lock },
  });
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) throw new Error(`iptables-legacy ${args.join(' ')} ended with ${code}`);
}

const saved = async (): Promise<string[]> => {
  const { stdout } = await runner.run({ argv: ['iptables-legacy-save', '-c', '-t', 'filter'] });
  return stdout.split('\n').filter((line) => line.startsWith(':') || line.includes('-A '));
};

function chain(...rules: readonly string[]): string {
  return `*filter\n:cali-a - -\n${rules.map((rule) => `-A cali-a ${rule}\n`).join('')}COMMIT\n`;
}

async function write(
  script: string,
): Promise<{ reads: number; checks: number; tool: number; error: string; line: number }> {
  Object.assign(calls, { reads: 0, checks: 0, tool: 0 });
  try {
    await io.restore(4, script);
    return { ...calls, error: '', line: 0 };
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return { ...calls, error: error.message, line: error.failure.inputLine ?? 0 };
  }
}

/** Between our writes others change the table: by more rules, by another of the same size, by counters alone. */
async function foreignChanges(): Promise<unknown> {
  const first = await write(chain('--jump ACCEPT'));
  const again = await write(chain('--jump DROP'));
  await other(['-A', 'FORWARD', '-s', '10.0.0.1', '-j', 'ACCEPT']);
  const afterMore = await write(chain('--jump ACCEPT'));
  await other(['-R', 'FORWARD', '1', '-s', '10.0.0.2', '-j', 'ACCEPT']);
  const afterSameSize = await write(chain('--jump DROP'));
  await other(['-P', 'FORWARD', 'DROP']);
  const afterPolicy = await write(chain('--jump ACCEPT'));
  await other(['-Z']);
  const afterZero = await write(chain('--jump DROP'));
  const last = await write(chain('--jump RETURN'));
  return { first, again, afterMore, afterSameSize, afterPolicy, afterZero, last, saved: await saved() };
}

/** Another one, without the lock, writes after we looked and before we replace. */
async function unlockedWriter(): Promise<unknown> {
  await write(chain('--jump ACCEPT'));
  beforeReplace = () => other(['-A', 'INPUT', '-s', '10.0.0.3', '-j', 'ACCEPT'], `${lockPath}.other`);
  const written = await write(chain('--jump DROP'));
  beforeReplace = () => Promise.resolve();
  return { written, saved: await saved() };
}

/** Somebody holds the lock: we wait, and the event loop goes on. */
async function heldLock(): Promise<unknown> {
  const holder = spawn('flock', ['-o', lockPath, 'sh', '-c', 'echo held; read line'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  let isDone = false;
  const writing = write(chain('--jump ACCEPT')).finally(() => {
    isDone = true;
  });
  // Turns of the event loop, until the tool is there and waits for the lock.
  let turns = 0;
  while (!(await runner.run({ argv: ['fuser', lockPath] })).stdout.trim().includes(' ')) turns += 1;
  const wasDoneWhileHeld = isDone;
  holder.stdin.end('\n');
  return { written: await writing, wasDoneWhileHeld, turns, after: await write(chain('--jump DROP')) };
}

/** What the kernel refuses the tool says the line of; the next write is our own again. */
async function refused(): Promise<unknown> {
  await write(chain('--jump ACCEPT'));
  const loop = '*filter\n:cali-b - -\n-A cali-b --jump cali-b\n-A FORWARD --jump cali-b\nCOMMIT\n';
  const own = await write(loop);
  const byTool = await command.restore(4, loop).catch((error: unknown) => (error as Error).message);
  const missing = await write(chain('--jump cali-missing'));
  const referred = await write('*filter\n:cali-c - -\n-A FORWARD --jump cali-c\nCOMMIT\n');
  const deletion = await write('*filter\n:cali-c - -\n--delete-chain cali-c\nCOMMIT\n');
  return { own, byTool, missing, referred, deletion, next: await write(chain('--jump DROP')), saved: await saved() };
}

/** A chain with rules that are known by their tags, and more of them behind. */
function tagged(name: string, tag: string, more = 0): string {
  const rule = (text: string): string => `-A ${name} -m comment --comment "cali:${text}" --jump ACCEPT\n`;
  return `*filter\n:${name} - -\n${rule(tag)}${rule(FILLING).repeat(more)}COMMIT\n`;
}

const FILLING = 'ffffffffffffffff';
/** Makes a script one whose table is not kept. */
const MANY = 3_000;

/** What is known of the table, without a look at the stamp. */
async function readKnown(): Promise<KnownTable> {
  const known = await command.readTags(4, 'filter');
  if (known === null) throw new Error('cannot read');
  return known;
}

/** Whether a table is as it is known to be, and whether that was read from the kernel. */
async function ask(known: KnownTable): Promise<string> {
  calls.reads = 0;
  return `${await io.isAsKnown(4, 'filter', known)}${calls.reads > 0 ? ', read' : ''}`;
}

async function checks(): Promise<unknown> {
  await write(tagged('cali-a', 'abcdefghijklmnop'));
  const known = await readKnown();
  const told = { first: await ask(known), again: await ask(known) };
  // Ours, as it is known afterwards.
  await write(tagged('cali-b', 'bbbbbbbbbbbbbbbb'));
  known.set('cali-b', { hashes: ['bbbbbbbbbbbbbbbb'] });
  const afterOwn = await ask(known);
  await other(['-F', 'cali-a']);
  const afterFlush = await ask(known);
  await write(tagged('cali-b', 'bbbbbbbbbbbbbbbb'));
  const afterFlushAndWrite = await ask(known);
  await write(tagged('cali-a', 'abcdefghijklmnop'));
  return {
    ...told,
    afterOwn,
    afterFlush,
    afterFlushAndWrite,
    mended: await ask(known),
    byTool: await command.isAsKnown(4, 'filter', known),
  };
}

/** The same of a table that is not kept, and of one that an earlier process wrote. */
async function checksWithoutTable(): Promise<unknown> {
  await write(tagged('cali-a', 'abcdefghijklmnop', MANY));
  const known = await readKnown();
  const told = { first: await ask(known), again: await ask(known) };
  await write(tagged('cali-b', 'bbbbbbbbbbbbbbbb', MANY));
  known.set('cali-b', { hashes: ['bbbbbbbbbbbbbbbb', ...Array.from({ length: MANY }, () => FILLING)] });
  const afterOwn = await ask(known);
  io = newProcess();
  const inNewProcess = { first: await ask(known), again: await ask(known) };
  await other(['-F', 'cali-a']);
  await other(['-A', 'cali-a', '-j', 'RETURN']);
  const afterOther = await ask(known);
  await write(tagged('cali-a', 'abcdefghijklmnop', MANY));
  const mended = { first: await ask(known), again: await ask(known) };
  // A table that only others have written has no stamp.
  await other(['-A', 'INPUT', '-j', 'ACCEPT']);
  return { ...told, afterOwn, inNewProcess, afterOther, mended, foreign: [await ask(known), await ask(known)] };
}

const stories = { checks, checksWithoutTable, foreignChanges, unlockedWriter, heldLock, refused };
const told: Record<string, unknown> = {};
for (const [name, story] of Object.entries(stories)) {
  for (const args of [['-F'], ['-X'], ['-P', 'FORWARD', 'ACCEPT']]) await other(args);
  told[name] = await story();
}
console.log(JSON.stringify(told));
process.exit(0);
