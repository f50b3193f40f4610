// The seams to the kernel behave alike whether a tool is started for each call or kept open: same effects, same errors,
// same line numbers, foreign changes seen, and work goes on after an error, a kill and a timeout.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ToolError } from '../../src/base/errors.js';
import { silentLogger } from '../../src/base/logger.js';
import { commandIpSetIo } from '../../src/ipsets/command-io.js';
import type { CommandRunner } from '../../src/kernel/command.js';
import { CoprocessRunner } from '../../src/kernel/coprocess-runner.js';
import { CommandIptablesIo } from '../../src/tables/iptables/command-io.js';
import { CommandNftIo } from '../../src/tables/nftables/command-io.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { NamespaceBroker } from './support/namespace-broker.js';
import { statementsOf } from '../fakes/nft-statements.js';

const WAYS = ['spawn', 'coprocess'] as const;
type Way = (typeof WAYS)[number];

let namespace: Namespace;
let broker: NamespaceBroker;

beforeEach(async () => {
  namespace = await createNamespace('io');
  broker = new NamespaceBroker(namespace);
});

afterEach(async () => {
  await broker.close();
  await namespace.remove();
});

function runnerOf(way: Way): CommandRunner {
  return way === 'spawn' ? broker : new CoprocessRunner(broker, silentLogger);
}

/** Makes sure that a test of co-processes ran co-processes. */
function expectWay(way: Way): void {
  const kinds = new Set(
    broker.calls.filter((call) => call.command.stdin !== undefined).map((call) => call.how === 'run'),
  );
  expect([...kinds]).toEqual([way === 'spawn']);
}

/** Process ids of the named program in the namespace. */
async function pidsOf(program: string): Promise<number[]> {
  const text = await namespace.run(
    ['sh', '-c', `ip netns pids ${namespace.name} | xargs -r -n1 ps -o pid= -o comm= -p`],
    {
      reject: false,
    },
  );
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, comm]) => comm?.startsWith(program))
    .map(([pid]) => Number(pid));
}

async function failure(work: Promise<unknown>): Promise<ToolError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ToolError)) throw new Error(`Expected a ToolError, got ${String(error)}`);
  return error;
}

describe.each(['legacy', 'nft'] as const)('IptablesIo of %s', (backend) => {
  const tool = `iptables-${backend}-r`.slice(0, 15);
  const save = (table: string): Promise<string> => namespace.run([`iptables-${backend}-save`, '-t', table]);
  const io = (way: Way): CommandIptablesIo => {
    const options = { backend, restoreSupportsLock: true, lockProbeIntervalMs: 50 } as const;
    return new CommandIptablesIo({ runner: runnerOf(way), ...options });
  };

  test.each(WAYS)('%s: writes, says which line is refused, and goes on', async (way) => {
    const iptables = io(way);
    await iptables.restore(4, '*filter\n:c1 - [0:0]\n-A c1 -j ACCEPT\nCOMMIT\n');
    await iptables.restore(4, '*mangle\n:m1 - [0:0]\n-A m1 -j RETURN\nCOMMIT\n*raw\n:r1 - [0:0]\nCOMMIT\n');
    await iptables.restore(6, '*filter\n:c6 - [0:0]\nCOMMIT\n');
    const bad: readonly (readonly [string, number | undefined, string])[] = [
      ['*filter\n:c2 - [0:0]\n-A c1 -j DROP\n-A c1 --bogus\nCOMMIT\n', 4, 'bogus'],
      ['*filter\n-A nowhere -j ACCEPT\nCOMMIT\n', 2, 'line 2 failed'],
      ['*filter\n:c2 - [0:0]\n-D c1 -s 10.0.0.1/32 -j ACCEPT\nCOMMIT\n', 3, 'line 3 failed'],
      ['*mangle\n:c2 - [0:0]\n-A c2 -j ACCEPT\n-A c2 -j REJECT\nCOMMIT\n', backend === 'nft' ? 4 : 5, 'line'],
    ];
    for (const [script, line, text] of bad) {
      const error = await failure(iptables.restore(4, script));
      expect(error.failure).toMatchObject({ inputLine: line });
      expect(error.message).toContain(text);
      expect(await save('filter')).not.toContain('c2');
      await iptables.restore(4, '*filter\n-A c1 -s 10.0.0.9/32 -j ACCEPT\nCOMMIT\n');
    }
    expect((await save('filter')).match(/-A c1 -s 10\.0\.0\.9\/32/g)).toHaveLength(4);
    expect(await iptables.save(6, 'filter')).toContain(':c6');
    expectWay(way);
  });

  test.each(WAYS)('%s: a failed second table leaves the first committed', async (way) => {
    const error = await failure(
      io(way).restore(4, '*filter\n:done - [0:0]\nCOMMIT\n*raw\n:not - [0:0]\n-A x -j ACCEPT\nCOMMIT\n'),
    );
    expect(error.failure.inputLine).toBe(6);
    expect(await save('filter')).toContain(':done');
    expect(await save('raw')).not.toContain(':not');
  });

  test.each(WAYS)('%s: sees what others change in between', async (way) => {
    const iptables = io(way);
    await iptables.restore(4, '*filter\n:c1 - [0:0]\nCOMMIT\n');
    await namespace.shell(`iptables-${backend} -N theirs; iptables-${backend} -A FORWARD -j theirs`);
    await iptables.restore(4, '*filter\n-A c1 -j theirs\nCOMMIT\n');
    const text = await save('filter');
    expect(text).toContain('-A FORWARD -j theirs');
    expect(text).toContain('-A c1 -j theirs');
    expectWay(way);
  });

  test.each(WAYS)('%s: a long script, and restores at the same time', async (way) => {
    const iptables = io(way);
    const rules = Array.from(
      { length: 2_000 },
      (_, i) => `-A big -s 10.0.${i >> 8}.${i & 255} -m comment --comment "x y" -j ACCEPT`,
    );
    await Promise.all([
      iptables.restore(4, ['*filter', ':big - [0:0]', ...rules, 'COMMIT', ''].join('\n')),
      iptables.restore(4, '*mangle\n:small - [0:0]\nCOMMIT\n'),
      iptables.restore(6, '*filter\n:six - [0:0]\nCOMMIT\n'),
    ]);
    expect((await save('filter')).match(/-A big/g)).toHaveLength(2_000);
    expect(await save('mangle')).toContain(':small');
    expectWay(way);
  });

  test('coprocess: killed in between, the next restore works or fails as unknown once', async () => {
    const iptables = io('coprocess');
    await iptables.restore(4, '*filter\n:c1 - [0:0]\nCOMMIT\n');
    const pids = await pidsOf(tool);
    expect(pids).toHaveLength(1);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    const again = (): Promise<void> => iptables.restore(4, '*filter\n:c2 - [0:0]\nCOMMIT\n');
    await again().catch(again);
    expect(await save('filter')).toContain(':c2');
    expectWay('coprocess');
  });

  test('coprocess: is one process for many transactions, and holds no lock between them', async () => {
    const iptables = io('coprocess');
    for (let i = 0; i < 20; i++) await iptables.restore(4, `*filter\n:c${i} - [0:0]\nCOMMIT\n`);
    expect(await pidsOf(tool)).toHaveLength(1);
    await namespace.shell(`iptables-${backend} -w 1 -N theirs`);
    await broker.close();
    await expect.poll(() => pidsOf(tool)).toEqual([]);
  });
});

describe('IpSetIo', () => {
  const io = (way: Way): ReturnType<typeof commandIpSetIo> => commandIpSetIo(runnerOf(way));
  const CREATE = 'create a hash:net family inet maxelem 4\nflush a\n';
  const members = async (name: string): Promise<string[]> => {
    const set = await commandIpSetIo(broker).list(name);
    return set === null ? ['(no such set)'] : [...set.members].sort();
  };

  test.each(WAYS)('%s: writes, says which line is refused, and goes on', async (way) => {
    const ipset = io(way);
    await ipset.restore(`${CREATE}add a 10.0.0.1\nadd a 10.0.0.1\ndel a 10.0.0.7\n`);
    expect(await members('a')).toEqual(['10.0.0.1']);
    const bad: readonly (readonly [string, number, string])[] = [
      ['add a 10.0.0.2\nadd a 10.0.0.3\nadd a 10.0.0.4\nadd a 10.0.0.5\nadd a 10.0.0.6\n', 4, 'Hash is full'],
      ['del a 10.0.0.2\nadd nope 10.0.0.5\ndel a 10.0.0.3\n', 2, 'does not exist'],
      ['create a hash:ip family inet maxelem 4\n', 1, 'already exists'],
      ['create t hash:ip family inet maxelem 4\nswap t a\n', 2, 'type does not match'],
    ];
    for (const [script, line, text] of bad) {
      const error = await failure(ipset.restore(script));
      expect(error.failure).toMatchObject({ inputLine: line, exitCode: 1 });
      expect(error.message).toContain(text);
      await ipset.restore('del a 10.0.0.4\nadd a 10.0.0.1\n');
    }
    // The deletion before the refused line was still in ipset's buffer: lost, whichever way it is run.
    expect(await members('a')).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    expectWay(way);
  });

  test.each(WAYS)('%s: swaps, destroys, and lists what is missing as null', async (way) => {
    const ipset = io(way);
    await ipset.restore(`${CREATE}add a 10.0.0.1\n`);
    await ipset.restore('create t hash:net family inet maxelem 9\nflush t\nadd t 10.0.0.2\n');
    await ipset.restore('swap t a\n');
    expect(await members('a')).toEqual(['10.0.0.2']);
    await ipset.restore('destroy t\n');
    expect(await ipset.list('t')).toBeNull();
    expect(await ipset.list('a')).toMatchObject({ type: 'hash:net', family: 4, maxElem: 9, foreignOptions: [] });
    expect(await ipset.listNames()).toEqual(['a']);
    // With -exist, gone is as good as destroyed.
    await ipset.restore('destroy t\n');
  });

  test.each(WAYS)('%s: two thousand lines, and scripts at the same time keep apart', async (way) => {
    const ipset = io(way);
    const lines = Array.from({ length: 2_000 }, (_, i) => `add a 10.1.${i >> 8}.${i & 255}`);
    await Promise.all([
      ipset.restore(['create a hash:net family inet maxelem 65536', ...lines, ''].join('\n')),
      failure(ipset.restore('add b 10.0.0.1\n')).then((error) => expect(error.failure.inputLine).toBe(1)),
      ipset.restore('create c hash:ip family inet6 maxelem 10\nadd c fd00::1\n'),
    ]);
    expect(await members('a')).toHaveLength(2_000);
    expect(await members('c')).toEqual(['fd00::1']);
    expectWay(way);
  });

  test('coprocess: killed in between, the next script works or fails as unknown once', async () => {
    const ipset = io('coprocess');
    await ipset.restore(CREATE);
    for (const pid of await pidsOf('ipset')) process.kill(pid, 'SIGKILL');
    const again = (): Promise<void> => ipset.restore('add a 10.0.0.1\n');
    await again().catch(again);
    expect(await members('a')).toEqual(['10.0.0.1']);
  });
});

describe('NftIo', () => {
  const io = (way: Way): CommandNftIo => new CommandNftIo({ runner: runnerOf(way) });
  const list = (): Promise<string> => namespace.run(['nft', 'list', 'ruleset']);

  test.each(WAYS)('%s: all or nothing, says which line is refused, and goes on', async (way) => {
    const nft = io(way);
    await nft.transaction(
      statementsOf('add table ip t\nadd chain ip t c\nadd rule ip t c ip saddr 10.0.0.1 accept comment "a; b"\n'),
    );
    const bad: readonly (readonly [string, number, string])[] = [
      ['add chain ip t d\nadd rule ip t nowhere accept\nadd chain ip t e\n', 2, 'No such file or directory'],
      ['add chain ip t d\nadd rule ip t c bogus match\n', 2, 'Error: '],
      ['add chain ip t d\nadd rule ip t c ip saddr @nope accept\n', 2, 'No such file or directory'],
    ];
    for (const [script, line, text] of bad) {
      const error = await failure(nft.transaction(statementsOf(script)));
      expect(error.failure).toMatchObject({ inputLine: line, exitCode: 1 });
      expect(error.failure.stderrHead).toMatch(/^\/dev\/stdin:/);
      expect(error.message).toContain(text);
      expect(await list()).not.toContain('chain d');
      await nft.transaction(statementsOf('add rule ip t c drop\n'));
    }
    expect((await list()).match(/\bdrop\b/g)).toHaveLength(3);
    expectWay(way);
  });

  test.each(WAYS)('%s: sees what others change in between, also sets', async (way) => {
    const nft = io(way);
    await nft.transaction(statementsOf('add table ip t\nadd set ip t s { type ipv4_addr; flags interval; }\n'));
    await nft.transaction(statementsOf('add element ip t s { 10.0.0.0/24 }\n'));
    await namespace.shell("nft 'delete element ip t s { 10.0.0.0/24 }; add chain ip t theirs'");
    await nft.transaction(
      statementsOf('add element ip t s { 10.0.0.0/25 }\nadd chain ip t c\nadd rule ip t c jump theirs\n'),
    );
    await namespace.shell('nft flush ruleset');
    await nft.transaction(statementsOf('add table ip t\nadd set ip t s { type ipv4_addr; flags interval; }\n'));
    await nft.transaction(statementsOf('add element ip t s { 10.0.0.0/24 }\n'));
    expect(await list()).toContain('elements = { 10.0.0.0/24 }');
    expectWay(way);
  });

  test.each(WAYS)('%s: a long transaction', async (way) => {
    const lines = Array.from({ length: 2_000 }, (_, i) => `add rule ip t c ip saddr 10.0.${i >> 8}.${i & 255} accept`);
    await io(way).transaction(statementsOf(['add table ip t', 'add chain ip t c', ...lines, ''].join('\n')));
    expect((await list()).match(/accept/g)).toHaveLength(2_000);
    expectWay(way);
  });

  test('coprocess: its script files are gone afterwards', async () => {
    const nft = io('coprocess');
    await nft.transaction(statementsOf('add table ip t\n'));
    await failure(nft.transaction(statementsOf('bogus\n')));
    const pid = (await pidsOf('nft'))[0];
    expect(pid).toBeGreaterThan(0);
    const { stdout } = await broker.run({
      argv: ['sh', '-c', 'ls -d "${TMPDIR:-/tmp}"/fdp-nft-* 2>/dev/null | wc -l'],
    });
    expect(Number(stdout)).toBe(0);
  });
});
