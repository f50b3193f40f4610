import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { DataplaneLoop, type LoopOptions } from '../../../src/driver/loop.js';
import type { ApplyOutcome } from '../../../src/driver/phases.js';
import type { IpSetReconciler } from '../../../src/ipsets/ip-sets.js';
import type { DataplaneMessage, Manager } from '../../../src/managers/manager.js';
import type { ApplyResult, Reconciler } from '../../../src/model/reconciler.js';
import { InSyncSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { FakeClock } from '../../fakes/clock.js';

const CLEAN: ApplyResult = { refused: [], operations: 0 };
const MESSAGE: DataplaneMessage = { case: 'inSync', value: create(InSyncSchema) };

class Rig {
  readonly clock = new FakeClock();
  readonly trace: string[] = [];
  tablesAreSent: Promise<void> = Promise.resolve();
  readonly outcomes: ApplyOutcome[] = [];
  readonly results = new Map<string, () => Promise<ApplyResult>>();
  waiting: DataplaneMessage[] = [];
  inSync = 0;
  fatal: unknown = null;
  refusals: readonly unknown[] = [];
  managerDone = true;
  /** Time that the manager needs for a message. */
  messageMs = 0;
  readonly loop: DataplaneLoop;

  constructor(refreshIntervalMs = 0) {
    const reconciler = (name: string): Reconciler => ({
      name,
      queueResync: () => this.trace.push(`resync ${name}`),
      apply: () => {
        this.trace.push(name);
        return this.results.get(name)?.() ?? Promise.resolve(CLEAN);
      },
    });
    const sets = {
      ...reconciler('sets'),
      applyDeletions: () => {
        this.trace.push('deletions');
        return this.results.get('deletions')?.() ?? Promise.resolve(CLEAN);
      },
    } as unknown as IpSetReconciler;
    const manager: Manager = {
      name: 'manager',
      onMessage: (message) => {
        this.clock.skip(this.messageMs);
        this.trace.push(`message ${message.case ?? ''}`);
      },
      onInterfaceState: (event) => this.trace.push(`interface ${event.name} ${event.state}`),
      completeDeferredWork: () => {
        this.trace.push('work');
        return this.managerDone;
      },
    };
    const tables = reconciler('tables');
    const options: LoopOptions = {
      phases: {
        managers: [manager],
        interfaceSettings: [reconciler('settings')],
        ipSets: [sets],
        links: [reconciler('links')],
        routes: [reconciler('routes')],
        tables: [tables],
        untilTablesAreSent: () => this.tablesAreSent,
        cleanups: [reconciler('cleanup')],
      },
      refreshes: [{ name: 'refresh', intervalMs: refreshIntervalMs, queueResync: () => tables.queueResync() }],
      clock: this.clock,
      log: silentLogger,
      jitter: () => 0,
      tookInterfaceEvents: () => undefined,
      takeMessages: () => this.waiting.splice(0),
      setRefusals: (refusals) => {
        this.refusals = refusals;
      },
      closeUsersOfSets: (refusals) => this.trace.push(`close ${refusals.map(({ object }) => object).join()}`),
      publish: () => this.trace.push('publish'),
      afterApply: (outcome) => this.outcomes.push(outcome),
      onInSync: () => {
        this.trace.push('in sync');
        this.inSync += 1;
      },
      onFatal: (error) => {
        this.fatal = error;
      },
    };
    this.loop = new DataplaneLoop(options);
  }

  async start(): Promise<void> {
    this.loop.open();
    this.loop.setInterfacesInSync();
    await this.clock.advance(0);
  }
}

test('an apply that is long but gets on does not look hung', async () => {
  const rig = new Rig();
  const late = (ms: number) => (): Promise<ApplyResult> =>
    new Promise((resolve) => rig.clock.setTimer(ms, () => resolve(CLEAN)));
  for (const name of ['settings', 'sets', 'tables']) rig.results.set(name, late(60_000));
  rig.loop.open();
  rig.loop.setInterfacesInSync();
  await rig.clock.advance(59_000);
  expect(rig.loop.stalledMs()).toBe(59_000);
  await rig.clock.advance(60_000);
  expect(rig.loop.stalledMs(), 'the tables have been at it since sets and settings ended').toBe(59_000);
  await rig.clock.advance(200_000);
  expect(rig.loop.stalledMs(), 'idle').toBe(0);
});

describe('DataplaneLoop', () => {
  test('lets timers run each 20 ms while it hands out messages, and what comes meanwhile waits', async () => {
    const rig = new Rig();
    rig.messageMs = 5;
    rig.waiting.push(...Array.from({ length: 40 }, () => MESSAGE));
    let beats = 0;
    const beat = (): void => {
      beats += 1;
      rig.trace.push('beat');
      if (beats === 1) rig.waiting.push(MESSAGE);
      rig.clock.setTimer(10, beat);
    };
    rig.clock.setTimer(10, beat);
    await rig.start();
    for (let round = 0; round < 40 && !rig.trace.includes('work'); round++) await rig.clock.advance(0);
    const messages = rig.trace.slice(0, rig.trace.indexOf('work'));
    expect(messages.filter((line) => line !== 'beat')).toHaveLength(40);
    expect(beats, '40 messages of 5 ms are ten slices').toBeGreaterThanOrEqual(9);
    const longest = messages
      .join(' ')
      .split('beat')
      .map((part) => part.split('inSync').length - 1);
    expect(Math.max(...longest), 'messages without a break').toBeLessThanOrEqual(4);
    expect(rig.waiting).toEqual([MESSAGE]);
  });

  test('writes nothing before InSync, nor before the interface listing', async () => {
    const rig = new Rig();
    rig.waiting.push(MESSAGE);
    rig.loop.wake();
    await rig.clock.advance(60_000);
    rig.loop.open();
    await rig.clock.advance(60_000);
    expect(rig.trace).toEqual([]);
    rig.loop.setInterfacesInSync();
    await rig.clock.advance(0);
    expect(rig.trace).not.toEqual([]);
  });

  test('applies in the order that keeps sets before rules and deletions last, and tells before it cleans up', async () => {
    const rig = new Rig();
    rig.loop.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 3 });
    rig.waiting.push(MESSAGE);
    await rig.start();
    expect(rig.trace).toEqual([
      'interface cali1 up',
      'message inSync',
      'work',
      'sets',
      'tables',
      'links',
      'deletions',
      'settings',
      'routes',
      'publish',
      'in sync',
      'cleanup',
    ]);
  });

  test('links, settings and routes wait while the tables make their scripts, not for the kernel, and are left if tables fail', async () => {
    const rig = new Rig();
    let sent: () => void = () => undefined;
    const sending = (): void => {
      rig.tablesAreSent = new Promise((resolve) => {
        sent = resolve;
      });
    };
    let end: (result: Promise<ApplyResult>) => void = () => undefined;
    rig.results.set('tables', () => new Promise((resolve) => (end = resolve)));
    sending();
    await rig.start();
    expect(rig.trace.at(-1)).toBe('tables');
    sent();
    await rig.clock.advance(0);
    expect(rig.trace.slice(-3)).toEqual(['links', 'settings', 'routes']);
    end(Promise.resolve(CLEAN));
    await rig.clock.advance(0);
    expect(rig.inSync).toBe(1);

    sending();
    rig.loop.wake();
    await rig.clock.advance(1_000);
    expect(rig.trace.at(-1)).toBe('tables');
    rig.trace.length = 0;
    end(Promise.reject(new Error('no table')));
    await rig.clock.advance(0);
    sent();
    await rig.clock.advance(0);
    expect(rig.fatal).toBeDefined();
    expect(rig.trace, 'nothing after the end').toEqual([]);
  });

  test.each(['sets', 'tables'])('begins with settings and routes while %s are waited for', async (slow) => {
    const rig = new Rig();
    let release: () => void = () => undefined;
    const wait = (): Promise<ApplyResult> =>
      new Promise((resolve) => {
        release = () => resolve(CLEAN);
      });
    rig.results.set(slow, wait);
    await rig.start();
    expect(rig.trace).toContain('settings');
    expect(rig.trace).toContain('routes');
    expect(rig.trace).not.toContain('deletions');
    release();
    await rig.clock.advance(0);
    expect(rig.trace.filter((entry) => entry === 'routes')).toHaveLength(1);
    expect(rig.outcomes).toHaveLength(1);
  });

  test('covers everything that waited during an apply with one further apply', async () => {
    const rig = new Rig();
    await rig.start();
    await rig.clock.advance(1_000);
    let release: () => void = () => undefined;
    rig.results.set(
      'tables',
      () =>
        new Promise((resolve) => {
          release = () => resolve(CLEAN);
        }),
    );
    rig.loop.wake();
    await rig.clock.advance(0);
    rig.results.delete('tables');
    for (let index = 0; index < 50; index++) {
      rig.waiting.push(MESSAGE);
      rig.loop.wake();
    }
    const before = rig.outcomes.length;
    release();
    await rig.clock.advance(0);
    expect(rig.outcomes.length).toBe(before + 2);
    expect(rig.trace.filter((entry) => entry === 'message inSync')).toHaveLength(50);
  });

  test('reports in sync once, after the first apply that left nothing dirty', async () => {
    const rig = new Rig();
    rig.managerDone = false;
    await rig.start();
    expect(rig.inSync).toBe(0);
    rig.managerDone = true;
    await rig.clock.advance(1_000);
    expect(rig.inSync).toBe(1);
    rig.loop.wake();
    await rig.clock.advance(1_000);
    expect(rig.inSync).toBe(1);
  });

  test('retries a dirty dataplane with growing pauses, at most 10 s apart', async () => {
    const rig = new Rig();
    rig.results.set('routes', () => Promise.resolve({ ...CLEAN, failed: true }));
    await rig.start();
    await rig.clock.advance(120_000);
    const applies = rig.outcomes.length;
    expect(applies).toBeGreaterThan(12);
    expect(applies).toBeLessThan(25);
    rig.results.delete('routes');
    await rig.clock.advance(10_000);
    const settled = rig.outcomes.length;
    await rig.clock.advance(60_000);
    expect(rig.outcomes.length).toBe(settled);
  });

  test('is idle without timers when there is nothing to do', async () => {
    const rig = new Rig();
    await rig.start();
    expect(rig.clock.pendingTimers).toBe(0);
  });

  test('throttles to ten applies a second in the long run', async () => {
    const rig = new Rig();
    await rig.start();
    for (let ms = 0; ms < 10_000; ms += 5) {
      rig.loop.wake();
      await rig.clock.advance(5);
    }
    expect(rig.outcomes.length).toBeGreaterThan(90);
    expect(rig.outcomes.length).toBeLessThan(125);
  });

  test('runs the refresh timers only while open, and again after each interval', async () => {
    const rig = new Rig(90_000);
    await rig.clock.advance(300_000);
    expect(rig.trace).toEqual([]);
    await rig.start();
    await rig.clock.advance(270_500);
    expect(rig.trace.filter((entry) => entry === 'resync tables')).toHaveLength(3);
  });

  test('comes back when a reconciler asks for it', async () => {
    const rig = new Rig();
    rig.results.set('tables', () => Promise.resolve({ ...CLEAN, rescheduleAfterMs: 5_000 }));
    await rig.start();
    rig.results.delete('tables');
    await rig.clock.advance(4_900);
    expect(rig.outcomes).toHaveLength(1);
    await rig.clock.advance(200);
    expect(rig.outcomes).toHaveLength(2);
  });

  test('stops for good when a table cannot be written, after the running phases ended', async () => {
    const rig = new Rig();
    rig.results.set('tables', () => Promise.reject(new Error('table filter cannot be written')));
    await rig.start();
    expect(String(rig.fatal)).toContain('table filter cannot be written');
    rig.results.delete('tables');
    rig.loop.wake();
    await rig.clock.advance(60_000);
    expect(rig.trace.filter((entry) => entry === 'tables')).toHaveLength(1);
  });

  test('hands over refusals when they change, before the statuses are due', async () => {
    const rig = new Rig();
    const refusal = { family: 4, kind: 'chain', object: 'cali-pi-x', reason: 'no' } as const;
    rig.results.set('tables', () => Promise.resolve({ ...CLEAN, refused: [refusal] }));
    await rig.start();
    expect(rig.refusals).toEqual([refusal]);
    rig.results.delete('tables');
    rig.loop.wake();
    await rig.clock.advance(1_000);
    expect(rig.refusals).toEqual([]);
  });

  test('applies once more after refusals changed, so that what depends on them is closed or opened', async () => {
    const rig = new Rig();
    await rig.start();
    await rig.clock.advance(1_000);
    const applies = (): number => rig.trace.filter((entry) => entry === 'tables').length;
    expect(applies()).toBe(1);
    const refusal = { family: 4, kind: 'set', object: 's:big', reason: 'no' } as const;
    rig.results.set('sets', () => Promise.resolve({ ...CLEAN, refused: [refusal] }));
    rig.loop.wake();
    await rig.clock.advance(1_000);
    expect(applies()).toBe(3);
  });

  test('closes what uses a refused set before the tables of the same apply are written, once', async () => {
    const rig = new Rig();
    const refusal = { family: 4, kind: 'set', object: 's:big', reason: 'no' } as const;
    rig.results.set('sets', () => Promise.resolve({ ...CLEAN, refused: [refusal] }));
    await rig.start();
    expect(rig.trace.slice(1)).toEqual([
      'sets',
      'close s:big',
      'work',
      'tables',
      'links',
      'deletions',
      'settings',
      'routes',
      'publish',
      'in sync',
      'cleanup',
    ]);
    await rig.clock.advance(1_000);
    rig.loop.wake();
    await rig.clock.advance(1_000);
    expect(rig.trace.filter((entry) => entry === 'tables').length).toBeGreaterThan(1);
    expect(rig.trace.filter((entry) => entry === 'close s:big')).toHaveLength(1);
  });

  test('tells of sets that cannot be written also when the links take longer to end', async () => {
    const rig = new Rig();
    const unhandled: unknown[] = [];
    const listener = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', listener);
    let fail: (error: Error) => void = () => undefined;
    rig.results.set('sets', () => new Promise((_resolve, reject) => (fail = reject)));
    rig.results.set('links', () => new Promise((resolve) => setImmediate(() => setImmediate(() => resolve(CLEAN)))));
    await rig.start();
    expect(rig.trace.at(-1)).toBe('links');
    fail(new Error('ipset is gone'));
    for (let turn = 0; turn < 20 && rig.fatal === null; turn++) await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', listener);
    expect(unhandled).toEqual([]);
    expect(String(rig.fatal)).toContain('ipset is gone');
    expect(rig.trace).not.toContain('tables');
  });

  test('stop waits for the running apply and starts no other', async () => {
    const rig = new Rig();
    await rig.start();
    await rig.clock.advance(1_000);
    let release: () => void = () => undefined;
    rig.results.set(
      'tables',
      () =>
        new Promise((resolve) => {
          release = () => resolve(CLEAN);
        }),
    );
    rig.loop.wake();
    await rig.clock.advance(0);
    let stopped = false;
    const stopping = rig.loop.stop().then(() => {
      stopped = true;
    });
    await rig.clock.advance(0);
    expect(stopped).toBe(false);
    release();
    await stopping;
    rig.loop.wake();
    await rig.clock.advance(10_000);
    expect(rig.trace.filter((entry) => entry === 'tables')).toHaveLength(2);
  });
});
