// The ipset plane over the real kernel: starts, changes, faults, sets in use, a million members.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/base/logger.js';
import { IpSetCleanup } from '../../src/ipsets/cleanup.js';
import { commandIpSetIo } from '../../src/ipsets/command-io.js';
import { IpSetPlane } from '../../src/ipsets/ip-set-plane.js';
import { systemClock } from '../../src/kernel/system-clock.js';
import type { Family } from '../../src/model/family.js';
import type { IpSetSpec, IpSetType } from '../../src/model/ip-set.js';
import type { Operation } from '../../src/model/operation.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { FaultyRunner } from './support/faulty-runner.js';

const MAX_SIZE = 1_048_576;

let namespace: Namespace;
let runner: FaultyRunner;
let operations: Operation[];

beforeEach(async () => {
  namespace = await createNamespace('ipset');
  runner = new FaultyRunner(namespace);
  operations = [];
});

afterEach(async () => {
  await namespace.remove();
});

function newPlane(family: Family = 4): IpSetPlane {
  operations.length = 0;
  return new IpSetPlane({
    family,
    maxDeletionsPerApply: 1,
    io: commandIpSetIo(runner),
    clock: systemClock,
    log: silentLogger,
    onOperation: (operation) => operations.push(operation),
  });
}

function spec(id: string, type: IpSetType = 'hash:net', maxSize = MAX_SIZE): IpSetSpec {
  return { id, type, maxSize };
}

/** Applies until nothing is left to delete. */
async function applyAll(plane: IpSetPlane): Promise<void> {
  for (let count = 0; count < 100; count++) {
    const apply = await plane.apply();
    const deletions = await plane.applyDeletions();
    if (apply.rescheduleAfterMs === undefined && deletions.rescheduleAfterMs === undefined) return;
  }
  throw new Error('The plane does not come to rest');
}

/** Sorted `ipset save` without the figures that are the kernel's own. */
async function saved(): Promise<string[]> {
  const text = await namespace.run(['ipset', 'save']);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/ (hashsize|bucketsize|initval) \S+/g, ''))
    .sort();
}

const EVERY_TYPE: readonly (readonly [Family, IpSetSpec, readonly string[]])[] = [
  [4, spec('s:nets'), ['10.0.0.0/8', '10.1.2.3/32', '0.0.0.0/1', '128.0.0.0/1', '172.16.5.5/16']],
  [4, spec('all-istio-weps', 'hash:ip'), ['10.0.0.1', '127.0.0.0', '255.255.255.255']],
  [4, spec('n:ports', 'hash:ip,port'), ['10.0.0.1,TCP:80', '10.0.0.1,udp:80', '10.0.0.2,sctp:65535', '10.0.0.3,tcp:0']],
  [6, spec('s:nets'), ['fd00::/8', 'fd00::1/128', '::/1', '8000::/1', '2001:DB8:0:0:1::/80']],
  [6, spec('this-host', 'hash:ip'), ['::1', 'fe80::1', '::ffff:10.0.0.1', '::10.0.0.1', '1:0:0:2::3']],
  [6, spec('n:ports', 'hash:ip,port'), ['fd00::1,tcp:80', '::1,SCTP:1', '::ffff:1.2.3.4,udp:53']],
];

describe('a start', () => {
  test('writes every type of both families; a restart over it writes nothing and lists each set once', async () => {
    for (const family of [4, 6] as const) {
      const fill = (plane: IpSetPlane): void => {
        for (const [of, each, members] of EVERY_TYPE) if (of === family) plane.setSet(each, members);
      };
      const first = newPlane(family);
      fill(first);
      expect((await first.apply()).refused).toEqual([]);
      const before = await saved();
      const calls = runner.calls.length;
      const second = newPlane(family);
      fill(second);
      expect(await second.apply()).toEqual({ refused: [], operations: 0 });
      expect(await second.applyDeletions()).toEqual({ refused: [], operations: 0 });
      expect(operations).toEqual([]);
      expect(await saved()).toEqual(before);
      expect(runner.calls.slice(calls).map((call) => call.argv.slice(1, 2))).toEqual(Array(4).fill(['list']));
    }
    expect(await saved()).toContain('create cali40s:nets hash:net family inet maxelem 1048576');
    expect(await saved()).toContain('add cali60n:ports fd00::1,tcp:80');
  });

  test('all addresses are two halves, which the next start takes for the same', async () => {
    for (const family of [4, 6] as const) {
      for (const operationCount of [2, 0]) {
        const plane = newPlane(family);
        plane.setSet(spec('all-hosts-net'), ['0.0.0.0/0', '::/0']);
        expect(await plane.apply()).toEqual({ refused: [], operations: operationCount });
      }
    }
    for (const member of ['40all-hosts-net 0.0.0.0/1', '40all-hosts-net 128.0.0.0/1', '60all-hosts-net 8000::/1'])
      expect(await saved()).toContain(`add cali${member}`);
  });

  test('cleans what former versions left, one by one, and nothing foreign', async () => {
    await namespace.shell(`
      ipset create cali40s:old hash:net
      ipset create cali4t0 hash:ip
      ipset create felix-4x bitmap:port range 0-10
      ipset create felix-masq-ipam-pools hash:net
      ipset create cali60s:six hash:net family inet6
      ipset create mine bitmap:port range 0-10
      ipset create KUBE-X hash:ip
    `);
    const plane = newPlane();
    await plane.apply();
    expect((await plane.applyDeletions()).operations).toBe(1);
    await applyAll(plane);
    expect((await namespace.run(['ipset', 'list', '-name'])).trim().split('\n').sort()).toEqual([
      'KUBE-X',
      'cali60s:six',
      'mine',
    ]);
  });
});

describe('a set in use by a rule', () => {
  beforeEach(async () => {
    await namespace.shell(`
      ipset create cali40s:a hash:net maxelem 10
      ipset add cali40s:a 10.0.0.1
      iptables-legacy -A FORWARD -m set --match-set cali40s:a src -j ACCEPT
    `);
  });

  test('gets another maxelem by a swap, and the temporary set goes', async () => {
    const plane = newPlane();
    const members = Array.from({ length: 50 }, (_, index) => `10.0.1.${index}`);
    plane.setSet(spec('s:a'), members);
    await applyAll(plane);
    const lines = await saved();
    expect(lines.filter((line) => line.startsWith('create'))).toEqual([
      'create cali40s:a hash:net family inet maxelem 1048576',
    ]);
    expect(lines).toHaveLength(51);
  });

  test('is not destroyed while it is used, and is after the resync that follows its release', async () => {
    const plane = newPlane();
    expect((await plane.apply()).operations).toBe(0);
    // Ten tries for a kernel that lets go late, then only a resync looks again.
    for (let tries = 1; tries <= 10; tries++) {
      const wait = tries === 10 ? {} : { rescheduleAfterMs: 100 };
      expect(await plane.applyDeletions(), `try ${tries}`).toEqual({ refused: [], operations: 0, ...wait });
    }
    expect(await saved()).toHaveLength(2);
    await namespace.shell('iptables-legacy -F FORWARD');
    expect(await plane.applyDeletions()).toEqual({ refused: [], operations: 0 });
    plane.queueResync();
    await applyAll(plane);
    expect(await saved()).toEqual([]);
  });

  test('of a wrong type is refused with its content kept, others go on, and is corrected when released', async () => {
    const plane = newPlane();
    plane.setSet(spec('s:a', 'hash:ip,port'), ['10.0.0.1,tcp:80']);
    plane.setSet(spec('s:b'), ['10.0.0.2']);
    const { refused } = await plane.apply();
    expect(refused).toMatchObject([{ family: 4, kind: 'set', object: 's:a' }]);
    expect(await saved()).toContain('add cali40s:a 10.0.0.1');
    expect(await saved()).toContain('add cali40s:b 10.0.0.2');
    await namespace.shell('iptables-legacy -F FORWARD');
    // A changed wish is tried at once.
    plane.addMembers('s:a', ['10.0.0.1,tcp:81']);
    expect((await plane.apply()).refused).toEqual([]);
    await applyAll(plane);
    expect(await saved()).toEqual([
      'add cali40s:a 10.0.0.1,tcp:80',
      'add cali40s:a 10.0.0.1,tcp:81',
      'add cali40s:b 10.0.0.2',
      'create cali40s:a hash:ip,port family inet maxelem 1048576',
      'create cali40s:b hash:net family inet maxelem 1048576',
    ]);
  });

  test('made with a timeout, comments and nomatch members is rebuilt', async () => {
    await namespace.shell(`
      iptables-legacy -F FORWARD
      ipset destroy cali40s:a
      ipset create cali40s:a hash:net maxelem ${MAX_SIZE} timeout 600 comment
      ipset add cali40s:a 10.0.0.0/24 nomatch
      iptables-legacy -A FORWARD -m set --match-set cali40s:a src -j ACCEPT
    `);
    const plane = newPlane();
    plane.setSet(spec('s:a'), ['10.0.0.0/24']);
    await applyAll(plane);
    expect(await saved()).toEqual([
      'add cali40s:a 10.0.0.0/24',
      'create cali40s:a hash:net family inet maxelem 1048576',
    ]);
  });
});

describe('drift', () => {
  test('flushed by hand, added to by hand, destroyed by hand: right after a resync', async () => {
    const plane = newPlane();
    for (const id of ['s:a', 's:b', 's:c']) plane.setSet(spec(id), ['10.0.0.1', '10.0.0.0/24']);
    await plane.apply();
    const before = await saved();
    await namespace.shell('ipset flush cali40s:a; ipset add cali40s:b 6.6.6.6; ipset destroy cali40s:c');
    plane.queueResync();
    await applyAll(plane);
    expect(await saved()).toEqual(before);
  });

  test('a delta into a set that was flushed, and one into a set that is gone, end right', async () => {
    const plane = newPlane();
    plane.setSet(spec('s:a'), ['10.0.0.1']);
    plane.setSet(spec('s:b'), ['10.0.0.2']);
    await plane.apply();
    await namespace.shell('ipset flush cali40s:a; ipset destroy cali40s:b');
    plane.removeMembers('s:a', ['10.0.0.1']);
    plane.addMembers('s:a', ['10.0.0.3']);
    plane.addMembers('s:b', ['10.0.0.4']);
    expect((await plane.apply()).refused).toEqual([]);
    expect((await saved()).filter((line) => line.startsWith('add'))).toEqual([
      'add cali40s:a 10.0.0.3',
      'add cali40s:b 10.0.0.2',
      'add cali40s:b 10.0.0.4',
    ]);
  });
});

describe('faults', () => {
  const faults = {
    'is missing': (command: { argv: readonly string[] }) => ({ ...command, argv: ['/nowhere/ipset'] }),
    'is killed at once': (command: { argv: readonly string[] }) => ({ ...command, argv: ['sh', '-c', 'kill -9 $$'] }),
    'is killed half-way': (command: { argv: readonly string[]; stdin?: string }) => {
      const lines = (command.stdin ?? '').split('\n');
      const half = lines.slice(0, Math.floor(lines.length / 2)).join('\n');
      return { argv: ['sh', '-c', 'ipset -exist restore; kill -9 $$'], stdin: `${half}\n` };
    },
    'hangs until its timeout': (command: { argv: readonly string[] }) => ({
      ...command,
      argv: ['sleep', '100'],
      timeoutMs: 100,
    }),
    'prints half a listing': (command: { argv: readonly string[]; stdin?: string }) => ({
      ...command,
      argv: ['sh', '-c', '"$@" | head -n 3; exit 1', 'sh', ...command.argv],
    }),
  };

  test.each(Object.entries(faults))('one call of each kind %s', async (_name, fault) => {
    await namespace.shell(`
      ipset create cali40s:a hash:net maxelem ${MAX_SIZE}
      ipset add cali40s:a 10.0.0.9
      ipset create cali40s:b hash:net maxelem 5
      ipset create cali40s:old hash:net
    `);
    const seen = new Set<string>();
    runner.change = (_index, command) => {
      const kind = `${command.argv[1] ?? ''} ${command.argv[2] ?? ''}`;
      if (seen.has(kind)) return command;
      seen.add(kind);
      return fault(command);
    };
    const plane = newPlane();
    plane.setSet(spec('s:a'), ['10.0.0.1', '10.0.0.2']);
    plane.setSet(spec('s:b'), ['10.0.0.3', '10.0.0.4']);
    await applyAll(plane);
    plane.queueResync();
    await applyAll(plane);
    expect((await plane.apply()).refused).toEqual([]);
    expect(await saved()).toEqual([
      'add cali40s:a 10.0.0.1',
      'add cali40s:a 10.0.0.2',
      'add cali40s:b 10.0.0.3',
      'add cali40s:b 10.0.0.4',
      'create cali40s:a hash:net family inet maxelem 1048576',
      'create cali40s:b hash:net family inet maxelem 1048576',
    ]);
  });

  test('ipset missing for ever ends the apply by the limit, with what is in force untouched', async () => {
    await namespace.shell('ipset create cali40s:a hash:net; ipset add cali40s:a 10.0.0.9');
    const before = await saved();
    runner.change = (_index, command) => faults['is missing'](command);
    const plane = newPlane();
    plane.setSet(spec('s:a'), ['10.0.0.1']);
    await expect(plane.apply()).rejects.toThrow(/could not be programmed in 10 attempts.*nowhere/s);
    expect(await saved()).toEqual(before);
  });
});

describe('size', () => {
  test('more members than maxelem: refused, the others go on, the kernel keeps what it had', async () => {
    const plane = newPlane();
    plane.setSet(spec('s:a', 'hash:net', 3), ['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    await plane.apply();
    plane.addMembers('s:a', ['10.0.0.4']);
    plane.setSet(spec('s:b'), ['10.0.0.1']);
    expect((await plane.apply()).refused).toMatchObject([{ object: 's:a' }]);
    expect((await saved()).filter((line) => line.startsWith('add cali40s:a'))).toHaveLength(3);
    expect(await saved()).toContain('add cali40s:b 10.0.0.1');
  });

  test('a million members: filled, changed by one line, adopted by a restart without a write', async () => {
    const members = Array.from(
      { length: 1_000_000 },
      (_, index) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
    );
    const first = newPlane();
    first.setSet(spec('s:big'), members);
    expect((await first.apply()).refused).toEqual([]);
    first.addMembers('s:big', ['192.168.0.1']);
    const calls = runner.calls.length;
    await first.apply();
    expect(runner.calls.slice(calls).map((call) => call.stdin)).toEqual(['add cali40s:big 192.168.0.1\n']);
    const second = newPlane();
    second.setSet(spec('s:big'), [...members, '192.168.0.1']);
    expect(await second.apply()).toEqual({ refused: [], operations: 0 });
    const header = await namespace.run(['ipset', 'list', '-terse', 'cali40s:big']);
    expect(header).toContain('Number of entries: 1000001');
  });

  test('two thousand sets come, go one an apply, and come back before they are all gone', async () => {
    const ids = Array.from({ length: 2_000 }, (_, index) => `s:${index}`);
    const plane = newPlane();
    for (const id of ids) plane.setSet(spec(id), ['10.0.0.1']);
    await plane.apply();
    for (const id of ids) plane.removeSet(id);
    await plane.apply();
    await plane.applyDeletions();
    await plane.applyDeletions();
    for (const id of ids) plane.setSet(spec(id), ['10.0.0.1']);
    operations.length = 0;
    await plane.apply();
    expect(operations.filter((operation) => operation.verb === 'create-set')).toHaveLength(2);
    await applyAll(plane);
    expect(await saved()).toHaveLength(4_000);
  });
});

describe('IpSetCleanup', () => {
  test('destroys the sets of both families and leaves those in use for later', async () => {
    await namespace.shell(`
      ipset create cali40s:a hash:net
      ipset create cali60s:a hash:net family inet6
      ipset create foreign hash:net
      iptables-legacy -A FORWARD -m set --match-set cali40s:a src -j ACCEPT
    `);
    const cleanup = new IpSetCleanup({
      maxDeletionsPerApply: 5,
      io: commandIpSetIo(runner),
      log: silentLogger,
      onOperation: () => undefined,
    });
    expect((await cleanup.apply()).operations).toBe(1);
    expect((await namespace.run(['ipset', 'list', '-name'])).split('\n')).toEqual(['cali40s:a', 'foreign', '']);
    await namespace.shell('iptables-legacy -F FORWARD');
    cleanup.queueResync();
    await cleanup.apply();
    expect(await namespace.run(['ipset', 'list', '-name'])).toBe('foreign\n');
  });
});
