// The clean-up of ipset sets in nftables mode.
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { IpSetCleanup } from '../../../src/ipsets/cleanup.js';
import { commandIpSetIo } from '../../../src/ipsets/command-io.js';
import type { Operation } from '../../../src/model/operation.js';
import { FakeCommandRunner } from '../../fakes/command-runner.js';
import { FakeIpSetKernel } from '../../fakes/ipset-kernel.js';

function host(): {
  kernel: FakeIpSetKernel;
  runner: FakeCommandRunner;
  operations: Operation[];
  cleanup: IpSetCleanup;
} {
  const kernel = new FakeIpSetKernel();
  const runner = new FakeCommandRunner({ ipset: kernel.program });
  const operations: Operation[] = [];
  const onOperation = (operation: Operation): number => operations.push(operation);
  const cleanup = new IpSetCleanup({
    maxDeletionsPerApply: 1,
    io: commandIpSetIo(runner),
    log: silentLogger,
    onOperation,
  });
  return { kernel, runner, operations, cleanup };
}

describe('IpSetCleanup', () => {
  test('destroys our sets of both families, one an apply, and no others', async () => {
    const { kernel, operations, cleanup } = host();
    for (const name of ['cali40a', 'cali60a', 'cali4t0', 'other']) kernel.put(name, 'hash:net', 4, []);
    expect(await cleanup.apply()).toEqual({ refused: [], operations: 1, rescheduleAfterMs: 100 });
    await cleanup.apply();
    expect(await cleanup.apply()).toEqual({ refused: [], operations: 1 });
    expect([...kernel.sets.keys()]).toEqual(['other']);
    expect(operations.map((operation) => operation.object)).toEqual(['cali40a', 'cali60a', 'cali4t0']);
  });

  test('a set in use goes after the resync that follows its release', async () => {
    const { kernel, runner, cleanup } = host();
    kernel.put('cali40a', 'hash:net', 4, [], { references: 1 });
    // The kernel lets go of a set some time after the last rule: ten tries, then only a resync looks again.
    for (let tries = 1; tries <= 10; tries++) {
      expect((await cleanup.apply()).rescheduleAfterMs, `try ${tries}`).toBe(tries === 10 ? undefined : 100);
    }
    const calls = runner.calls.length;
    await cleanup.apply();
    expect(runner.calls.length).toBe(calls);
    kernel.get('cali40a').references = 0;
    cleanup.queueResync();
    await cleanup.apply();
    expect(kernel.sets.size).toBe(0);
  });

  test('without ipset it does nothing, and looks again at the next resync', async () => {
    const { kernel, runner, cleanup } = host();
    kernel.put('cali40a', 'hash:net', 4, []);
    runner.uninstall('ipset');
    expect(await cleanup.apply()).toEqual({ refused: [], operations: 0 });
    runner.install('ipset', kernel.program);
    expect(await cleanup.apply()).toEqual({ refused: [], operations: 0 });
    cleanup.queueResync();
    expect(await cleanup.apply()).toEqual({ refused: [], operations: 1 });
  });
});
