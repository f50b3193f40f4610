// The broker with real tools: what a timeout and a dead broker leave in the kernel.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Broker } from '../../src/kernel/broker.js';
import { startTestBroker } from '../fakes/broker.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { FaultyRunner } from './support/faulty-runner.js';

let namespace: Namespace;
let broker: Broker;

beforeEach(async () => {
  namespace = await createNamespace('broker');
  broker = startTestBroker();
});

afterEach(async () => {
  await broker.close();
  await namespace.remove();
});

describe('broker in a namespace', () => {
  test('runs the real tools side by side', async () => {
    const runner = new FaultyRunner(namespace, broker);
    const rules = '*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i lo -j ACCEPT\nCOMMIT\n';
    const results = await Promise.all([
      runner.run({ argv: ['iptables-legacy-restore', '--noflush'], stdin: rules }),
      runner.run({ argv: ['ip6tables-nft-restore', '--noflush'], stdin: rules }),
      runner.run({ argv: ['ipset', 'restore'], stdin: 'create a hash:ip\nadd a 10.0.0.1\n' }),
      runner.run({ argv: ['nft', '-f', '-'], stdin: 'add table ip t\n' }),
    ]);
    expect(results.map((result) => [result.exitCode, result.stderr])).toEqual(results.map(() => [0, '']));
    expect(await namespace.run(['iptables-legacy-save'])).toContain('-A FORWARD -i lo -j ACCEPT');
    expect(await namespace.run(['ip6tables-nft-save'])).toContain('-A FORWARD -i lo -j ACCEPT');
    expect(await namespace.run(['ipset', 'save'])).toContain('add a 10.0.0.1');
  });

  test('a broker that dies under a big restore leaves a whole table or none', async () => {
    const runner = new FaultyRunner(namespace, broker);
    const pid = Number((await broker.run({ argv: ['sh', '-c', 'echo $PPID'] })).stdout);
    const lines = Array.from({ length: 5_000 }, (_, index) => `-A big -s 10.0.${index >> 8}.${index & 255} -j ACCEPT`);
    const restore = runner.run({
      argv: ['iptables-legacy-restore', '--noflush'],
      stdin: ['*filter', ':big - [0:0]', ...lines, 'COMMIT', ''].join('\n'),
    });
    const lost = expect(restore).rejects.toThrow(/outcome is unknown/);
    process.kill(pid, 'SIGKILL');
    await lost;
    // The lock is free again when whatever is still running has ended.
    const after = await runner.run({ argv: ['iptables-legacy', '-w', '10', '-S'] });
    const written = after.stdout.split('\n').filter((line) => line.startsWith('-A big')).length;
    expect([0, 5_000]).toContain(written);
  });

  test('an iptables-restore that is killed by its timeout before COMMIT changes nothing and frees the lock', async () => {
    const runner = new FaultyRunner(namespace, broker);
    const script = '(echo "*filter"; echo ":held - [0:0]"; sleep 100) | iptables-legacy-restore --noflush';
    const result = await runner.run({ argv: ['sh', '-c', script], timeoutMs: 500 });
    expect(result).toMatchObject({ timedOut: true, signal: 'SIGKILL' });
    const after = await runner.run({ argv: ['iptables-legacy', '-w', '5', '-S'] });
    expect(after).toMatchObject({ exitCode: 0 });
    expect(after.stdout).not.toContain('held');
  });
});
