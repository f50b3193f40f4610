import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { Family } from '../../../src/model/family.js';
import type { Operation } from '../../../src/model/operation.js';
import { NO_INTERFACE, type RouteTarget } from '../../../src/model/route.js';
import type { ConntrackCleaner } from '../../../src/routes/conntrack-cleaner.js';
import { MainTableOwnership } from '../../../src/routes/ownership.js';
import { RouteTableReconciler } from '../../../src/routes/route-table-reconciler.js';
import { FakeClock, flushMicrotasks } from '../../fakes/clock.js';
import { FakeRouteKernel, fakeLink, fakeRoute } from '../../fakes/route-kernel.js';

/** A cleaner whose removals end when the test says so. */
class ManualCleaner implements ConntrackCleaner {
  readonly asked: string[] = [];
  readonly #ends: (() => void)[] = [];
  isManual = false;

  clean(_family: Family, address: string): Promise<void> {
    this.asked.push(address);
    return this.isManual ? new Promise((resolve) => this.#ends.push(resolve)) : Promise.resolve();
  }

  endAll(): void {
    for (const end of this.#ends.splice(0)) end();
  }
}

function pod(dst: string, over: Partial<RouteTarget> = {}): RouteTarget {
  return { dst, type: 'unicast', scope: 'link', protocol: 3, priority: 1024, ...over };
}

function remote(dst: string, gateway: string, over: Partial<RouteTarget> = {}): RouteTarget {
  return { dst, type: 'unicast', scope: 'universe', gateway, onlink: true, protocol: 80, priority: 0, ...over };
}

function setUp(family: Family = 4, kernel = new FakeRouteKernel(), over: { disabled?: boolean } = {}) {
  const clock = new FakeClock();
  const conntrack = new ManualCleaner();
  const operations: Operation[] = [];
  const ownership = new MainTableOwnership({
    workloadPrefixes: ['cali'],
    removeExternalRoutes: true,
    deviceRouteProtocol: 3,
    vxlanDevice: 'vxlan.calico',
    ownsBirdIpipRoutes: false,
  });
  if (kernel.links.size === 0) {
    kernel.addLink(fakeLink('eth0', 2));
    kernel.addLink(fakeLink('cali1', 3));
    kernel.addLink(fakeLink('cali2', 4));
  }
  const table = new RouteTableReconciler({
    family,
    table: 254,
    kernel,
    ownership,
    conntrack,
    staticNeighbours: family === 4,
    disabled: over.disabled ?? false,
    clock,
    logger: silentLogger,
    observe: (operation) => operations.push(operation),
  });
  return { clock, conntrack, kernel, operations, ownership, table };
}

describe('RouteTableReconciler', () => {
  it('programs a pod route with its static neighbour', async () => {
    const { kernel, table, operations } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32', { neighbourMac: 'EE:ee:ee:ee:ee:01' })]);
    const result = await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
    expect([...kernel.neighbours.values()]).toEqual([
      { family: 4, interfaceName: 'cali1', address: '10.65.0.2', mac: 'ee:ee:ee:ee:ee:01' },
    ]);
    expect(result).toEqual({ refused: [], operations: 2 });
    expect(operations.map((operation) => operation.verb)).toEqual(['replace-route', 'replace-neighbour']);
  });

  it('writes nothing on a restart over an unchanged kernel', async () => {
    const first = setUp();
    const targets = [pod('10.65.0.2/32', { neighbourMac: 'ee:ee:ee:ee:ee:01' })];
    first.table.setRoutes('local-workload', 'cali1', targets);
    first.table.setRoutes('blackhole-vxlan', NO_INTERFACE, [
      { dst: '10.65.0.0/26', type: 'blackhole', scope: 'universe', protocol: 80, priority: 0 },
    ]);
    await first.table.apply();
    const second = setUp(4, first.kernel);
    second.table.setRoutes('local-workload', 'cali1', targets);
    second.table.setRoutes('blackhole-vxlan', NO_INTERFACE, [
      { dst: '10.65.0.0/26', type: 'blackhole', scope: 'universe', protocol: 80, priority: 0 },
    ]);
    const result = await second.table.apply();
    expect(result.operations).toBe(0);
    expect(second.operations).toEqual([]);
  });

  it('reads nothing again for a change after the first apply', async () => {
    const { kernel, table } = setUp();
    await table.apply();
    kernel.lists.length = 0;
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    expect(kernel.lists).toEqual([]);
  });

  it('waits for the interface to exist and to be up, but writes the neighbour while it is down', async () => {
    const { kernel, table } = setUp();
    kernel.addLink(fakeLink('cali9', 9, { isUp: false, isRunning: false }));
    table.setRoutes('local-workload', 'cali8', [pod('10.65.0.8/32', { neighbourMac: 'ee:ee:ee:ee:ee:08' })]);
    table.setRoutes('local-workload', 'cali9', [pod('10.65.0.9/32', { neighbourMac: 'ee:ee:ee:ee:ee:09' })]);
    await table.apply();
    expect(kernel.log).toEqual(['replace-neighbour 10.65.0.9 dev cali9']);
    kernel.addLink(fakeLink('cali8', 10));
    kernel.setUp('cali9');
    table.onInterfaceState({ name: 'cali8', state: 'up', ifindex: 10 });
    table.onInterfaceState({ name: 'cali9', state: 'up', ifindex: 9 });
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.8/32 dev cali8 metric 1024', '10.65.0.9/32 dev cali9 metric 1024']);
    expect(kernel.neighbours.size).toBe(2);
  });

  it('puts routes and neighbours back after an interface flap', async () => {
    const { kernel, table } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32', { neighbourMac: 'ee:ee:ee:ee:ee:01' })]);
    await table.apply();
    kernel.setDown('cali1');
    table.onInterfaceState({ name: 'cali1', state: 'down', ifindex: 3 });
    kernel.setUp('cali1');
    table.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 3 });
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
    expect(kernel.neighbours.size).toBe(1);
  });

  it('programs again on an interface that was re-created under the same name', async () => {
    const { kernel, table, conntrack } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    kernel.deleteLink('cali1');
    kernel.addLink(fakeLink('cali1', 33));
    table.onInterfaceState({ name: 'cali1', state: 'absent', ifindex: 0 });
    table.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 33 });
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
    expect(conntrack.asked).toEqual(['10.65.0.2']);
  });

  it.each(['one interface', 'everything'])(
    'programs an interface that is made anew while a listing of %s is under way',
    async (what) => {
      const { kernel, table } = setUp();
      table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32', { neighbourMac: 'ee:ee:ee:ee:ee:01' })]);
      await table.apply();
      if (what === 'everything') table.queueResync();
      else table.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 3 });
      const listNeighbours = kernel.listNeighbours.bind(kernel);
      kernel.listNeighbours = (family, names) => {
        kernel.listNeighbours = listNeighbours;
        const answer = listNeighbours(family, names);
        // The listing has been answered with what was there before, and the answer is on its way.
        kernel.deleteLink('cali1');
        kernel.addLink(fakeLink('cali1', 33));
        table.onInterfaceState({ name: 'cali1', state: 'absent', ifindex: 0 });
        table.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 33 });
        return answer;
      };
      await table.apply();
      expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
      expect(kernel.neighbours.size).toBe(1);
    },
  );

  it('lets the stronger class win, and the weaker one back when it goes', async () => {
    const { kernel, table } = setUp();
    table.setRoutes('no-encap', 'eth0', [remote('10.65.0.2/32', '192.168.0.2', { priority: 1024 })]);
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
    table.setRoutes('local-workload', 'cali1', []);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 via 192.168.0.2 dev eth0 metric 1024']);
  });

  it('lets the newer interface win within one class', async () => {
    const { kernel, table } = setUp();
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.2/32')]);
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali2 metric 1024']);
  });

  it('keeps routes to one destination with different metrics', async () => {
    const { kernel, table } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32'), pod('10.65.0.2/32', { priority: 512 })]);
    await table.apply();
    expect(kernel.routes(4)).toHaveLength(2);
    table.removeRoute('local-workload', 'cali1', '10.65.0.2/32');
    await table.apply();
    expect(kernel.routes(4)).toEqual([]);
  });

  it('takes IPv6 metric 0 for 1024 and IPv6 scopes for universe', async () => {
    const { kernel, table } = setUp(6);
    table.setRoutes('local-workload', 'cali1', [pod('fd00:65::2/128', { priority: 0 })]);
    await table.apply();
    expect(kernel.routes(6)[0]).toMatchObject({ priority: 1024, scope: 0 });
    table.queueResync();
    expect((await table.apply()).operations).toBe(0);
  });

  it('removes a foreign route on a workload interface after the grace period, and only then', async () => {
    const { kernel, table, clock } = setUp();
    kernel.putRoute(4, 254, fakeRoute('10.65.0.7/32', { interfaceName: 'cali1', scope: 253, protocol: 12 }));
    kernel.putRoute(4, 254, fakeRoute('10.77.0.0/16', { interfaceName: 'eth0', protocol: 12 }));
    const result = await table.apply();
    expect(result.operations).toBe(0);
    expect(result.rescheduleAfterMs).toBe(10_000);
    clock.skip(10_000);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.77.0.0/16 dev eth0']);
  });

  it('ends the grace period of an interface as soon as a route is wanted there', async () => {
    const { kernel, table } = setUp();
    kernel.putRoute(4, 254, fakeRoute('10.65.0.7/32', { interfaceName: 'cali1', scope: 253 }));
    await table.apply();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
  });

  it("leaves BIRD's routes on the interface of a local BGP peer", async () => {
    const { kernel, table, ownership, clock } = setUp();
    ownership.setPeerInterface('cali1', true);
    kernel.putRoute(4, 254, fakeRoute('10.88.0.0/24', { interfaceName: 'cali1', protocol: 12 }));
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    clock.skip(20_000);
    await table.apply();
    expect(kernel.routeTexts(4)).toContain('10.88.0.0/24 dev cali1');
  });

  it('moves an address: delete, remove its flows, then add', async () => {
    const { kernel, table, conntrack, clock } = setUp();
    conntrack.isManual = true;
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32'), pod('10.65.0.3/32')]);
    await table.apply();
    kernel.log.length = 0;
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.4/32')]);
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.2/32')]);
    const applied = table.apply();
    await flushMicrotasks();
    expect(conntrack.asked).toEqual(['10.65.0.3', '10.65.0.2']);
    expect(kernel.log).toEqual([
      'delete-route 10.65.0.3/32 dev cali1',
      'delete-route 10.65.0.2/32 dev cali1',
      'replace-route 10.65.0.4/32 dev cali1',
    ]);
    conntrack.endAll();
    const result = await applied;
    expect(result.rescheduleAfterMs).toBeUndefined();
    expect(kernel.log.at(-1)).toBe('replace-route 10.65.0.2/32 dev cali2');
    expect(clock.pendingTimers).toBe(0);
  });

  it('does not hold an apply up for flows that take long to remove', async () => {
    const { kernel, table, conntrack, clock } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    conntrack.isManual = true;
    table.setRoutes('local-workload', 'cali1', []);
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.2/32')]);
    const applied = table.apply();
    await clock.advance(300);
    const result = await applied;
    expect(result.rescheduleAfterMs).toBe(100);
    expect(kernel.routeTexts(4)).toEqual([]);
    conntrack.endAll();
    await flushMicrotasks();
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali2 metric 1024']);
  });

  it('removes no flows when only the metric changes', async () => {
    const { table, conntrack, kernel } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32', { priority: 512 })]);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 512']);
    expect(conntrack.asked).toEqual([]);
  });

  it('removes no flows between two remote classes', async () => {
    const { table, conntrack, kernel } = setUp();
    kernel.addLink(fakeLink('vxlan.calico', 8, { kind: 'vxlan' }));
    table.setRoutes('vxlan-tunnel', 'vxlan.calico', [remote('10.65.2.5/32', '10.65.2.1')]);
    await table.apply();
    table.setRoutes('vxlan-tunnel', 'vxlan.calico', []);
    table.setRoutes('vxlan-same-subnet', 'eth0', [remote('10.65.2.5/32', '192.168.0.2')]);
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.2.5/32 via 192.168.0.2 dev eth0']);
    expect(conntrack.asked).toEqual([]);
  });

  it('forgives an interface that vanishes while it writes', async () => {
    const { table, kernel } = setUp();
    await table.apply();
    kernel.deleteLink('cali1');
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.3/32')]);
    const result = await table.apply();
    expect(result.failed).toBeUndefined();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.3/32 dev cali2 metric 1024']);
  });

  it('keeps a refused write dirty and tries again, and programs the rest', async () => {
    const { table, kernel } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32'), pod('10.65.0.3/32')]);
    kernel.fail = (operation) =>
      operation.op === 'replace-route' && operation.route.dst === '10.65.0.2/32'
        ? { reason: 'other', message: 'Out of memory' }
        : null;
    expect((await table.apply()).failed).toBe(true);
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.3/32 dev cali1 metric 1024']);
    kernel.fail = () => null;
    expect((await table.apply()).failed).toBeUndefined();
    expect(kernel.routes(4)).toHaveLength(2);
  });

  it('does not write over a moved address whose old route could not be deleted', async () => {
    const { table, kernel, conntrack } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    await table.apply();
    kernel.fail = (operation) => (operation.op === 'delete-route' ? { reason: 'other', message: 'Busy' } : null);
    table.setRoutes('local-workload', 'cali1', []);
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.2/32')]);
    expect((await table.apply()).failed).toBe(true);
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
    expect(conntrack.asked).toEqual([]);
    kernel.fail = () => null;
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali2 metric 1024']);
    expect(conntrack.asked).toEqual(['10.65.0.2']);
  });

  it('leaves a malformed route out, names it, and goes on', async () => {
    const { table, kernel } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2'), pod('fd00::1/128'), pod('10.65.0.3/32')]);
    const result = await table.apply();
    expect(result.failed).toBeUndefined();
    expect(result.refused.map((refusal) => refusal.object)).toEqual(['10.65.0.2', 'fd00::1/128']);
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.3/32 dev cali1 metric 1024']);
    table.setRoutes('local-workload', 'cali1', []);
    expect((await table.apply()).refused).toEqual([]);
  });

  it('finds at a resync what another program did', async () => {
    const { table, kernel, clock } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32', { neighbourMac: 'ee:ee:ee:ee:ee:01' })]);
    await table.apply();
    kernel.setDown('cali1');
    kernel.setUp('cali1');
    kernel.putRoute(4, 254, fakeRoute('10.65.0.99/32', { interfaceName: 'cali1', scope: 253, priority: 77 }));
    clock.skip(20_000);
    table.queueResync();
    await table.apply();
    expect(kernel.routeTexts(4)).toEqual(['10.65.0.2/32 dev cali1 metric 1024']);
    expect(kernel.neighbours.size).toBe(1);
  });

  it('says failed and reads all again when the kernel cannot be listed', async () => {
    const { table, kernel } = setUp();
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    kernel.listError = new Error('interrupted');
    expect((await table.apply()).failed).toBe(true);
    expect((await table.apply()).failed).toBeUndefined();
    expect(kernel.routes(4)).toHaveLength(1);
  });

  it('programs a multi-path route while one of its interfaces is up', async () => {
    const { table, kernel } = setUp();
    table.setRoutes('vxlan-tunnel', NO_INTERFACE, [
      {
        dst: '10.66.0.0/26',
        type: 'unicast',
        scope: 'universe',
        onlink: true,
        protocol: 80,
        priority: 0,
        nextHops: [
          { gateway: '192.168.0.7', interfaceName: 'eth0' },
          { gateway: '10.1.1.1', interfaceName: 'cali1' },
        ],
      },
    ]);
    await table.apply();
    expect(kernel.routes(4)[0]?.nextHops).toHaveLength(2);
    table.onInterfaceState({ name: 'eth0', state: 'down', ifindex: 2 });
    await table.apply();
    expect(kernel.routes(4)).toHaveLength(1);
    table.onInterfaceState({ name: 'cali1', state: 'down', ifindex: 3 });
    await table.apply();
    expect(kernel.routes(4)).toHaveLength(0);
  });

  it('does nothing when RouteSyncDisabled is set', async () => {
    const { table, kernel } = setUp(4, new FakeRouteKernel(), { disabled: true });
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32')]);
    expect((await table.apply()).operations).toBe(0);
    expect(kernel.lists).toEqual([]);
  });
});
