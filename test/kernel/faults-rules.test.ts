// Other programs flush, reorder and delete our rules, or hold the lock, while the driver runs (tests.md F1, F5, F6, F19).
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { MODES } from '../fixtures/recording.js';
import { waitFor } from './support/driver-process.js';
import { dumpKernel } from './support/dump.js';
import { pod, useFaultNodes } from './support/faults.js';

const start = useFaultNodes();
/** Every second all is read again. */
const REFRESH = { IptablesRefreshInterval: '1', NftablesRefreshInterval: '1' };
const FOREIGN = '-s 203.0.113.9/32 -j ACCEPT';
const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function flushAll(mode: (typeof MODES)[number]): string {
  if (mode === 'nftables') return 'nft flush table ip calico; nft flush table ip6 calico';
  const lines = ['', '6'].flatMap((family) =>
    ['raw', 'mangle', 'nat', 'filter'].map(
      (table) => `ip${family}tables-${mode === 'iptables-nft' ? 'nft' : 'legacy'} -w -t ${table} -F`,
    ),
  );
  return lines.join('\n');
}

describe('F1 all rules flushed', () => {
  test.each(MODES)('in %s come back with the next refresh, and no set is written', async (mode) => {
    const node = await start({ mode, parameters: REFRESH });
    const before = await node.settled();
    const seen = node.driver.logs.length;
    await node.namespace.shell(flushAll(mode));
    await node.becomes(before);
    expect(node.operations(seen).filter((line) => /set|member/.test(line))).toEqual([]);
    expect(node.driver.logs.slice(seen).filter((line) => Number(line['level']) >= 50)).toEqual([]);
  });
});

describe('F5 order and hooks', () => {
  test.each(['iptables-legacy', 'iptables-nft'] as const)(
    'in %s our hook is first again after a foreign insert, a deleted jump is back, the foreign rule stays',
    async (mode) => {
      const node = await start({ mode, parameters: REFRESH });
      await node.settled();
      const iptables = mode === 'iptables-nft' ? 'iptables-nft' : 'iptables-legacy';
      const hooks = async (): Promise<string[]> => {
        const rules = await node.namespace.run([iptables, '-S']);
        return rules.split('\n').filter((line) => /^-A (INPUT|FORWARD|OUTPUT)/.test(line));
      };
      const before = await hooks();
      await node.namespace.shell(`
        ${iptables} -w -I FORWARD 1 ${FOREIGN}
        ${iptables} -w -D INPUT 1`);
      const wanted = [...before];
      wanted.splice(
        before.findLastIndex((line) => /^-A FORWARD.*cali-FORWARD/.test(line)) + 1,
        0,
        `-A FORWARD ${FOREIGN}`,
      );
      await waitFor(
        async () => JSON.stringify(await hooks()) === JSON.stringify(wanted),
        () => `${wanted.join('\n')}\n${node.problems()}`,
      ).catch(async () => expect(await hooks()).toEqual(wanted));
    },
  );

  test('in nftables a foreign rule in our table goes, and a deleted jump is back', async () => {
    const node = await start({ mode: 'nftables', parameters: REFRESH });
    const before = await node.settled();
    const listing = await node.namespace.run(['nft', '-a', 'list', 'chain', 'ip', 'calico', 'filter-INPUT']);
    const handle = /jump filter-cali-INPUT.*# handle (\d+)/.exec(listing)?.[1] ?? '';
    await node.namespace.shell(`
      nft insert rule ip calico filter-FORWARD ip saddr 203.0.113.9 accept
      nft delete rule ip calico filter-INPUT handle ${handle}`);
    await node.becomes(before);
  });

  test('in nftables a foreign table with a hook before ours stays untouched', async () => {
    const node = await start({ mode: 'nftables', parameters: REFRESH });
    await node.settled();
    await node.namespace.shell(`nft add table inet firewall
      nft 'add chain inet firewall forward { type filter hook forward priority -5; }'
      nft add rule inet firewall forward ip saddr 203.0.113.9 accept`);
    const before = await dumpKernel(node.namespace, 'nftables');
    await node.namespace.shell(flushAll('nftables'));
    await node.becomes(before);
  });
});

describe('F6 a table deleted whole', () => {
  test('in nftables is back with chains, sets and maps in one transaction', async () => {
    const node = await start({ mode: 'nftables', parameters: REFRESH });
    const before = await node.settled();
    let watched = '';
    const monitor: ChildProcess = spawn('ip', ['netns', 'exec', node.namespace.name, 'nft', 'monitor', 'ruleset'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    cleanups.push(() => monitor.kill());
    monitor.stdout?.on('data', (chunk: Buffer) => {
      watched += chunk.toString();
    });
    // The monitor listens as soon as it shows a transaction of ours.
    await waitFor(
      async () => {
        await node.namespace.shell('nft add table inet watched; nft delete table inet watched');
        return watched.includes('watched');
      },
      () => 'nft monitor shows nothing',
    );
    await node.namespace.run(['nft', 'delete', 'table', 'ip', 'calico']);
    await node.becomes(before);
    const transaction = (): string =>
      watched.split(/^# new generation.*$/m).find((part) => /^add table ip calico$/m.test(part)) ?? '';
    await waitFor(
      () => transaction() !== '',
      () => watched.slice(-2_000),
    );
    for (const part of [
      'add chain ip calico filter-cali-tw-cali1',
      'add chain ip calico filter-FORWARD',
      'add set ip calico',
      'add map ip calico',
      'add rule ip calico filter-FORWARD',
    ])
      expect(transaction(), 'chains, sets, maps and hooks come at once').toContain(part);
  });

  test('in iptables-nft is back at the next refresh', async () => {
    const node = await start({ mode: 'iptables-nft', parameters: REFRESH });
    const before = await node.settled();
    await node.namespace.shell('nft delete table ip filter; nft delete table ip6 nat');
    await node.becomes(before);
  });
});

describe('F19 the xtables lock', () => {
  test('held for longer than one restore waits delays the write, and nothing is lost', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fdp-lock-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const lock = join(folder, 'xtables.lock');
    const node = await start({ mode: 'iptables-legacy', environment: { XTABLES_LOCKFILE: lock } });
    const withTwo = await node.settled();
    await node.namespace.shell(
      'ip link add cali3 type veth peer name peer3; ip link set cali3 up; ip link set peer3 up',
    );
    const holder = spawn('flock', [lock, 'sleep', '13'], { stdio: 'ignore' });
    cleanups.push(() => holder.kill());
    const released = new Promise<void>((resolve) => holder.once('exit', () => resolve()));
    await waitFor(
      () => spawnedHolds(lock),
      () => 'flock does not hold the lock',
    );
    node.send(pod(3));
    await released;
    await waitFor(
      async () => (await node.namespace.run(['iptables-legacy', '-S'])).includes('cali-tw-cali3'),
      () => node.problems(),
    );
    await node.statusBecomes(() => node.podStatus(3), 'up');
    const withThree = await node.settled();
    const chains = (text: string | undefined): string[] =>
      (text ?? '').split('\n').filter((line) => line.startsWith('-A cali-tw-cali1 '));
    expect(chains(withThree['iptables-legacy'])).toEqual(chains(withTwo['iptables-legacy']));
    const waited = node.driver.logs.filter((line) => /Cannot write the table/.test(line.msg));
    expect(waited.length, 'one restore gave up waiting and was tried again').toBeGreaterThan(0);
  });
});

/** Whether somebody holds the lock. */
async function spawnedHolds(lock: string): Promise<boolean> {
  const probe = spawn('flock', ['--nonblock', lock, 'true'], { stdio: 'ignore' });
  return new Promise((resolve) => probe.once('exit', (code) => resolve(code === 1)));
}
