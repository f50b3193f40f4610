// Every call to ipset fails once, in every way; then the state must be right without another event.
import { describe, expect, test } from 'vitest';
import { ToolError } from '../../../src/base/errors.js';
import { type FakeFault, KILLED } from '../../fakes/command-runner.js';
import { MAX_SIZE, PlaneFixture, want } from './plane-fixture.js';

const FAULTS: readonly (readonly [string, FakeFault])[] = [
  ['is killed before it starts', { when: 'before', answer: KILLED }],
  ['is killed half-way', { when: 'half', answer: KILLED }],
  ['is killed after its work', { when: 'after', answer: KILLED }],
  ['times out', { when: 'half', answer: { ...KILLED, timedOut: true } }],
  ['cannot be started', { when: 'before', answer: { exitCode: 127, stderr: 'ENOENT' } }],
  ['refuses without a line', { when: 'before', answer: { exitCode: 1, stderr: 'ipset v7.17: Kernel error\n' } }],
  ['refuses after half of its work', { when: 'half', answer: { exitCode: 1, stderr: 'ipset v7.17: Kernel error\n' } }],
  ['is lost with the broker before', { when: 'gone-before' }],
  ['is lost with the broker after', { when: 'gone-after' }],
  ['answers nothing', { when: 'before', answer: {} }],
];

/** A start over leftovers, then a change, with a rebuild and a deletion in it. */
async function story(host: PlaneFixture): Promise<void> {
  want(host.plane, { 's:a': ['10.0.0.1', '10.0.0.2'], 's:b': ['10.0.1.0/24'], 's:small': ['10.0.2.0/24'] });
  await host.applyAll();
  host.plane.addMembers('s:a', ['10.0.0.3']);
  host.plane.removeMembers('s:a', ['10.0.0.1']);
  host.plane.removeSet('s:b');
  want(host.plane, { 's:c': ['10.0.3.0/24'] });
  await host.applyAll();
}

function leftovers(): PlaneFixture {
  const host = new PlaneFixture();
  host.kernel.put('cali40s:a', 'hash:net', 4, ['10.0.0.9', '10.0.0.2'], { maxElem: MAX_SIZE });
  host.kernel.put('cali40s:small', 'hash:net', 4, ['10.0.0.9'], { maxElem: 5, references: 1 });
  host.kernel.put('cali40old', 'hash:net', 4, []);
  host.kernel.put('foreign', 'hash:net', 4, ['10.0.0.9']);
  return host;
}

describe('the plane converges when', async () => {
  const clean = leftovers();
  await story(clean);
  const expected = clean.kernel.print();
  const callCount = clean.runner.calls.length;

  test('nothing fails, and the state is right', () => {
    expect(expected).toBe(
      [
        'create cali40s:a hash:net family inet maxelem 1048576',
        'add cali40s:a 10.0.0.2',
        'add cali40s:a 10.0.0.3',
        'create cali40s:c hash:net family inet maxelem 1048576',
        'add cali40s:c 10.0.3.0/24',
        'create cali40s:small hash:net family inet maxelem 1048576',
        'add cali40s:small 10.0.2.0/24',
        'create foreign hash:net family inet maxelem 65536',
        'add foreign 10.0.0.9',
        '',
      ].join('\n'),
    );
  });

  test.each(FAULTS)('any one call %s', async (_name, fault) => {
    for (let index = 0; index < callCount; index++) {
      const host = leftovers();
      host.runner.fault = (at) => (at === index ? fault : null);
      await story(host);
      // A deletion that failed, and a restore that lied, are put right by the refresh timer.
      host.plane.queueResync();
      await host.applyAll();
      expect(host.kernel.print(), `call ${index}`).toBe(expected);
    }
  });
});

describe('the documented limit', () => {
  test('ipset missing for ever: ten attempts over more than a second, then a ToolError', async () => {
    const host = new PlaneFixture();
    host.runner.uninstall('ipset');
    want(host.plane, { 's:a': ['10.0.0.1'] });
    const startMs = host.clock.nowMs();
    const failure = host.settle(host.plane.apply());
    await expect(failure).rejects.toThrow(ToolError);
    await expect(failure).rejects.toThrow(/IP sets of IPv4 could not be programmed in 10 attempts/);
    expect(host.clock.nowMs() - startMs).toBeGreaterThanOrEqual(511);
    expect(host.runner.calls).toHaveLength(10);
  });

  test('restore killed for ever, as well', async () => {
    const host = new PlaneFixture();
    host.runner.fault = (_index, command) =>
      command.argv.includes('restore') ? { when: 'half', answer: KILLED } : null;
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await expect(host.settle(host.plane.apply())).rejects.toThrow(ToolError);
  });

  test('ipset that returns within the attempts: nothing is lost', async () => {
    const host = new PlaneFixture();
    host.runner.fault = (index) => (index < 9 ? { when: 'before', answer: { exitCode: 127 } } : null);
    want(host.plane, { 's:a': ['10.0.0.1'] });
    await host.apply();
    expect(host.members('s:a')).toEqual(['10.0.0.1']);
  });
});
