import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { LiveMigrationState } from '../../../src/managers/endpoint-routes.js';
import { LiveMigrationMonitor } from '../../../src/managers/network/live-migration-monitor.js';
import {
  isAnnouncement,
  type MigrationInput,
  nextMigrationState,
} from '../../../src/managers/network/migration-state.js';
import {
  LiveMigrationRole,
  WorkloadEndpointRemoveSchema,
  WorkloadEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { FakeClock } from '../../fakes/clock.js';
import { workloadId } from '../../fakes/messages.js';

const STATES: readonly LiveMigrationState[] = ['base', 'target', 'live', 'time-wait'];

describe('nextMigrationState', () => {
  it.each<[MigrationInput, string]>([
    ['target', 'target target live time-wait'],
    ['announced', 'base live live time-wait'],
    ['no-role', 'base time-wait time-wait time-wait'],
    ['timer', 'base target live base'],
    ['source', 'base base base base'],
    ['deleted', 'base base base base'],
  ])('on %s leads from base, target, live, time-wait to %s', (input, expected) => {
    expect(STATES.map((state) => nextMigrationState(state, input)).join(' ')).toBe(expected);
  });
});

function arp(etherType: number, sender: number[], target: number[]): Buffer {
  const head = [...new Array<number>(12).fill(0xff), etherType >> 8, etherType & 255];
  const fixed = [0, 1, 8, 0, 6, 4, 0, 1];
  const mac = [2, 0, 0, 0, 0, 1];
  return Buffer.from([...head, ...fixed, ...mac, ...sender, ...mac, ...target]);
}

describe('isAnnouncement', () => {
  it.each([
    ['a gratuitous ARP', arp(0x0806, [10, 0, 0, 1], [10, 0, 0, 1]), true],
    ['an ARP request', arp(0x0806, [10, 0, 0, 1], [10, 0, 0, 2]), false],
    ['a RARP', arp(0x8035, [0, 0, 0, 0], [0, 0, 0, 1]), true],
    ['an IPv4 packet', arp(0x0800, [10, 0, 0, 1], [10, 0, 0, 1]), false],
    ['a cut frame', arp(0x0806, [10, 0, 0, 1], [10, 0, 0, 1]).subarray(0, 40), false],
    ['nothing', Buffer.alloc(0), false],
  ])('judges %s', (_what, frame, expected) => {
    expect(isAnnouncement(frame)).toBe(expected);
  });
});

function setUp(options: { canCapture?: boolean } = {}) {
  const clock = new FakeClock();
  const told: string[] = [];
  const captures: { name: string; announce: () => void; stopped: boolean }[] = [];
  let wakes = 0;
  const monitor = new LiveMigrationMonitor({
    clock,
    convergenceTimeMs: 30_000,
    startCapture: (name, announce) => {
      if (options.canCapture === false) throw new Error('no such device');
      const capture = { name, announce, stopped: false };
      captures.push(capture);
      return { stop: () => void (capture.stopped = true) };
    },
    wake: () => void (wakes += 1),
    log: silentLogger,
  });
  const listener = (family: number) => ({
    setLiveMigrationState: (_id: unknown, state: string) => void told.push(`v${family} ${state}`),
  });
  monitor.setListeners([listener(4), listener(6)]);
  const update = (role: LiveMigrationRole, name = 'cali1'): void =>
    monitor.onMessage({
      case: 'workloadEndpointUpdate',
      value: create(WorkloadEndpointUpdateSchema, {
        id: workloadId('default/vm1'),
        endpoint: { name, liveMigrationRole: role },
      }),
    });
  const remove = (): void =>
    monitor.onMessage({
      case: 'workloadEndpointRemove',
      value: create(WorkloadEndpointRemoveSchema, { id: workloadId('default/vm1') }),
    });
  const take = (): string[] => {
    monitor.resolveUpdateBatch();
    return told.splice(0);
  };
  return { clock, captures, monitor, update, remove, take, wakes: () => wakes };
}

const { NO_ROLE, SOURCE, TARGET } = LiveMigrationRole;

describe('LiveMigrationMonitor', () => {
  it('follows a migration from target to normal, and tells both families', async () => {
    const { update, take, captures, clock, wakes } = setUp();
    update(TARGET);
    expect(take()).toEqual(['v4 target', 'v6 target']);
    captures[0]?.announce();
    expect(wakes()).toBe(1);
    expect(take()).toEqual(['v4 live', 'v6 live']);
    expect(captures[0]?.stopped).toBe(true);
    update(NO_ROLE);
    expect(take()).toEqual(['v4 time-wait', 'v6 time-wait']);
    await clock.advance(29_999);
    expect(take()).toEqual([]);
    await clock.advance(1);
    expect(wakes()).toBe(2);
    expect(take()).toEqual(['v4 base', 'v6 base']);
  });

  it('prefers the routes until the timer also when the announcement was missed', async () => {
    const { update, take, clock } = setUp({ canCapture: false });
    update(TARGET);
    update(NO_ROLE);
    expect(take()).toEqual(['v4 time-wait', 'v6 time-wait']);
    await clock.advance(30_000);
    expect(take()).toEqual(['v4 base', 'v6 base']);
  });

  it('begins no new migration for an update that repeats the role of one that is over', async () => {
    const { update, remove, take, clock } = setUp();
    update(TARGET);
    update(NO_ROLE);
    update(TARGET);
    expect(take()).toEqual(['v4 time-wait', 'v6 time-wait']);
    await clock.advance(30_000);
    expect(take()).toEqual(['v4 base', 'v6 base']);
    update(TARGET);
    expect(take()).toEqual([]);
    remove();
    update(TARGET);
    expect(take()).toEqual(['v4 target', 'v6 target']);
  });

  it('drops an announcement that comes after the target state was left', () => {
    const { update, take, captures, wakes } = setUp();
    update(TARGET);
    update(SOURCE);
    captures[0]?.announce();
    expect(take()).toEqual(['v4 base', 'v6 base']);
    expect(wakes()).toBe(0);
  });

  it('cancels the timer when the endpoint goes', async () => {
    const { update, remove, take, clock } = setUp();
    update(TARGET);
    update(NO_ROLE);
    remove();
    expect(take()).toEqual(['v4 base', 'v6 base']);
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(60_000);
    expect(take()).toEqual([]);
  });

  it('ignores endpoints without a part in a migration', () => {
    const { update, remove, take, captures } = setUp();
    update(NO_ROLE);
    update(SOURCE);
    remove();
    expect(take()).toEqual([]);
    expect(captures).toEqual([]);
  });

  it('watches the interface once it appears, and the new one after a rename', () => {
    const { update, captures, monitor } = setUp();
    update(TARGET);
    monitor.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 5 });
    expect(captures.map(({ stopped }) => stopped)).toEqual([true, false]);
    update(TARGET, 'cali2');
    expect(captures.map(({ name, stopped }) => `${name} ${stopped}`)).toEqual([
      'cali1 true',
      'cali1 true',
      'cali2 false',
    ]);
    monitor.stop();
    expect(captures.every(({ stopped }) => stopped)).toBe(true);
  });
});
