// Tools that fail, hang, die or are missing (tests.md F4, F11, F16): the driver converges, or ends with the reason as its
// last line, and what was enforced before is enforced after.
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import type { Mode } from '../fixtures/recording.js';
import { ipSetDelta } from '../fakes/messages.js';
import { waitFor } from './support/driver-process.js';
import { dumpKernel, type KernelDump } from './support/dump.js';
import { CLIENTS_SET, type FaultNode, pod, useFaultNodes, useFaultyTools } from './support/faults.js';

const start = useFaultNodes();
const makeTools = useFaultyTools();
const EXIT_DATAPLANE = 1;
const FAIL = "cat >/dev/null; echo 'injected failure' >&2; exit 1";

/** Mode, the tools that write in it (one for each family), and a change that needs them. */
const WRITERS = [
  [
    'iptables-legacy',
    ['iptables-legacy-restore', 'ip6tables-legacy-restore'],
    (node: FaultNode) => node.send(pod(2, [])),
  ],
  ['iptables-nft', ['iptables-nft-restore', 'ip6tables-nft-restore'], (node: FaultNode) => node.send(pod(2, []))],
  ['nftables', ['nft'], (node: FaultNode) => node.send(pod(2, []))],
  ['iptables-nft', ['ipset'], (node: FaultNode) => node.send(ipSetDelta(CLIENTS_SET, ['10.65.7.7/32']))],
] as const;

const statesAfter = new Map<string, KernelDump>();

/** What a driver without faults makes of the same change. */
async function stateAfter(
  mode: Mode,
  names: readonly string[],
  change: (node: FaultNode) => void,
): Promise<KernelDump> {
  const known = statesAfter.get(`${mode} ${names.join()}`);
  if (known !== undefined) return known;
  const node = await start({ mode });
  await node.settled();
  const from = node.driver.logs.length;
  change(node);
  await waitFor(
    () => node.operations(from).length > 0,
    () => node.problems(),
  );
  const state = await node.settled();
  statesAfter.set(`${mode} ${names.join()}`, state);
  return state;
}

describe('F4 writing fails', () => {
  describe.each(WRITERS)('in %s by %s', (mode, names, change) => {
    test.each([1, 5])('%i times, then it converges', async (times) => {
      const tools = makeTools();
      const node = await start({ mode, environment: tools.environment });
      await node.settled();
      const wanted = await stateAfter(mode, names, change);
      await tools.failTimes(names, times, 'injected failure');
      change(node);
      await node.becomes(wanted);
      await node.settled();
      await node.becomes(wanted);
      await node.statusBecomes(() => node.podStatus(2), 'up');
    });

    test('always: it ends with the reason as its last line, and the kernel is as before', async () => {
      const tools = makeTools();
      const node = await start({ mode, environment: tools.environment });
      const before = await node.settled();
      // An ipset that says no refuses a set, which closes its users (faults-sets); one that dies does not work.
      await tools.set(names, names.some((name) => name === 'ipset') ? 'kill -9 $$' : FAIL);
      change(node);
      expect(await node.driver.exited).toEqual({ code: EXIT_DATAPLANE, signal: null });
      expect(node.lastLine()).toMatch(/^Ending: .*(injected failure|SIGKILL)/);
      expect(await dumpKernel(node.namespace, mode)).toEqual(before);
      await tools.heal(names);
      node.startDriver(tools.environment);
      await node.statusBecomes(() => node.podStatus(2), 'up');
    });
  });
});

describe('F11 a tool', () => {
  test.each(WRITERS)('in %s: %s killed by a signal once is tried again', async (mode, names, change) => {
    const tools = makeTools();
    const node = await start({ mode, environment: tools.environment });
    await node.settled();
    const wanted = await stateAfter(mode, names, change);
    await tools.set(names, 'mkdir "$here.once" 2>/dev/null && kill -9 $$\nreal "$@"');
    change(node);
    await node.becomes(wanted);
  });

  test.each(WRITERS)('in %s: %s that is slow delays and breaks nothing', async (mode, names, change) => {
    const tools = makeTools();
    const node = await start({ mode, environment: tools.environment });
    await node.settled();
    const wanted = await stateAfter(mode, names, change);
    await tools.set(names, 'sleep 1.5\nreal "$@"');
    change(node);
    await node.becomes(wanted);
    expect(node.problems()).toBe('');
  });

  test.each([
    ['iptables-nft', 'xtables-nft-multi'],
    ['nftables', 'nft'],
  ] as const)('in %s: %s missing ends the driver with the reason, and nothing is changed', async (mode, program) => {
    const node = await start({ mode, environment: { DATAPLANE_KERNEL_DRIVER: 'spawn' } });
    const before = await node.settled();
    const { stdout: path } = await execa('sh', ['-c', `readlink -f $(command -v ${program})`]);
    // Only the driver and its children see this mount: `ip netns exec` gave them a mount namespace.
    await execa('nsenter', ['-t', `${node.driver.pid}`, '-m', 'mount', '--bind', '/dev/null', path]);
    node.send(pod(2, []));
    expect(await node.driver.exited).toEqual({ code: EXIT_DATAPLANE, signal: null });
    expect(node.lastLine()).toMatch(/^Ending: /);
    expect(await dumpKernel(node.namespace, mode)).toEqual(before);
  });
});

describe('F16 SIGTERM while a tool hangs', () => {
  const hang = { 'before its work': 'sleep 300', 'after its work': 'real "$@"; sleep 300' };
  const cases = WRITERS.flatMap(([mode, names, change]) =>
    (['before its work', 'after its work'] as const).map((when) => [mode, names, when, change] as const),
  );
  test.each(cases)(
    'in %s: %s hangs %s; the driver ends in time and leaves the state before or after',
    async (mode, names, when, change) => {
      const tools = makeTools();
      const node = await start({ mode, environment: tools.environment });
      const before = await node.settled();
      const after = await stateAfter(mode, names, change);
      await tools.set(names, `touch $here.called\n${hang[when]}`);
      change(node);
      await waitFor(
        async () =>
          (await execa('ip', ['netns', 'pids', node.namespace.name])).stdout.split('\n').length > 2 &&
          (await called(tools.folder, names)),
        () => 'the tool was not called',
      );
      if (when === 'after its work') await node.becomes(after);
      node.driver.signal('SIGTERM');
      const killed = setTimeout(() => node.driver.signal('SIGKILL'), 4_000);
      expect(await node.driver.exited, 'Felix kills after four seconds').toEqual({ code: 0, signal: null });
      clearTimeout(killed);
      await waitFor(
        async () => (await execa('ip', ['netns', 'pids', node.namespace.name])).stdout === '',
        () => 'processes of the driver are left',
      );
      expect(await dumpKernel(node.namespace, mode)).toEqual(when === 'before its work' ? before : after);
    },
  );
});

async function called(folder: string, [tool = '']: readonly string[]): Promise<boolean> {
  return (await execa('test', ['-e', `${folder}/${tool}.called`], { reject: false })).exitCode === 0;
}
