import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/logger.js';
import { systemClock } from '../../src/kernel/system-clock.js';
import type { Operation } from '../../src/model/operation.js';
import { NO_INTERFACE, type RouteTarget } from '../../src/model/route.js';
import { CommandRouteKernel } from '../../src/routes/command-kernel.js';
import { CommandConntrackCleaner } from '../../src/routes/conntrack-cleaner.js';
import { MainTableOwnership } from '../../src/routes/ownership.js';
import { RouteTableReconciler } from '../../src/routes/route-table-reconciler.js';
import { fakeRoute } from '../fakes/route-kernel.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { createNamespaceRunner, type NamespaceRunner } from './support/namespace-runner.js';

let namespace: Namespace;
let runner: NamespaceRunner;
let kernel: CommandRouteKernel;

beforeEach(async () => {
  namespace = await createNamespace('routes');
  runner = createNamespaceRunner(namespace.name);
  kernel = new CommandRouteKernel({ runner, logger: silentLogger });
  await namespace.shell(`
    sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip link add eth0 type veth peer name ext0
    ip addr add 192.168.0.1/24 dev eth0
    ip -6 addr add fd00:10::1/64 dev eth0 nodad
    ip link set eth0 up; ip link set ext0 up
    for n in 1 2; do ip link add cali$n type veth peer name p$n; ip link set cali$n up; ip link set p$n up; done
    ip link add cali3 type veth peer name p3`);
});

afterEach(async () => {
  await namespace.remove();
});

function createTable(family: 4 | 6, operations: Operation[] = []): RouteTableReconciler {
  const ownership = new MainTableOwnership({
    workloadPrefixes: ['cali'],
    removeExternalRoutes: true,
    deviceRouteProtocol: 3,
    vxlanDevice: family === 4 ? 'vxlan.calico' : 'vxlan-v6.calico',
    ownsBirdIpipRoutes: false,
  });
  const observe = (operation: Operation): void => {
    operations.push(operation);
  };
  return new RouteTableReconciler({
    family,
    table: 254,
    kernel,
    ownership,
    conntrack: new CommandConntrackCleaner({ runner, logger: silentLogger, observe }),
    staticNeighbours: family === 4,
    disabled: false,
    clock: systemClock,
    logger: silentLogger,
    observe,
  });
}

function pod(dst: string, mac?: string): RouteTarget {
  const target = { dst, type: 'unicast', scope: 'link', protocol: 3, priority: 1024 } as const;
  return mac === undefined ? target : { ...target, neighbourMac: mac };
}

function fill(table: RouteTableReconciler): void {
  const v4 = table.family === 4;
  table.setRoutes('local-workload', 'cali1', [pod(v4 ? '10.65.0.2/32' : 'fd00:65::2/128', 'ee:ee:ee:ee:ee:01')]);
  table.setRoutes('local-workload', 'cali3', [pod(v4 ? '10.65.0.4/32' : 'fd00:65::4/128', 'ee:ee:ee:ee:ee:03')]);
  table.setRoutes('no-encap', 'eth0', [
    {
      dst: v4 ? '10.65.9.0/26' : 'fd00:66::/122',
      type: 'unicast',
      scope: 'universe',
      gateway: v4 ? '192.168.7.7' : 'fd00:77::7',
      onlink: true,
      mtu: 1450,
      protocol: 80,
      priority: 0,
    },
  ]);
  table.setRoutes('blackhole-vxlan', NO_INTERFACE, [
    { dst: v4 ? '10.65.0.0/26' : 'fd00:65::/122', type: 'blackhole', scope: 'universe', protocol: 80, priority: 0 },
  ]);
}

const showRoutes = async (family: 4 | 6): Promise<string[]> =>
  (await namespace.run(['ip', `-${family}`, 'route']))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.includes('proto kernel'));

describe('RouteTableReconciler over CommandRouteKernel', () => {
  it('programs IPv4 routes and neighbours as the kernel shows Felix to', async () => {
    const table = createTable(4);
    fill(table);
    const result = await table.apply();
    expect(result.failed).toBeUndefined();
    expect(await showRoutes(4)).toEqual([
      'blackhole 10.65.0.0/26 proto 80',
      '10.65.0.2 dev cali1 scope link metric 1024',
      '10.65.9.0/26 via 192.168.7.7 dev eth0 proto 80 onlink mtu 1450',
    ]);
    // The kernel lists neighbours in the order of a hash that differs from boot to boot.
    const neighbours = (await namespace.run(['ip', 'neigh', 'show', 'nud', 'permanent'])).trim().split('\n');
    expect(neighbours.map((line) => line.trim()).sort()).toEqual([
      '10.65.0.2 dev cali1 lladdr ee:ee:ee:ee:ee:01 PERMANENT',
      '10.65.0.4 dev cali3 lladdr ee:ee:ee:ee:ee:03 PERMANENT',
    ]);
  });

  it('programs IPv6 routes', async () => {
    const table = createTable(6);
    fill(table);
    expect((await table.apply()).failed).toBeUndefined();
    expect(await showRoutes(6)).toEqual([
      'fd00:65::2 dev cali1 metric 1024 pref medium',
      'blackhole fd00:65::/122 dev lo proto 80 metric 1024 pref medium',
      'fd00:66::/122 via fd00:77::7 dev eth0 proto 80 metric 1024 onlink mtu 1450 pref medium',
    ]);
  });

  it('writes nothing on a restart over an unchanged kernel, in both families', async () => {
    for (const family of [4, 6] as const) {
      const before = createTable(family);
      fill(before);
      await before.apply();
      const operations: Operation[] = [];
      const after = createTable(family, operations);
      fill(after);
      const result = await after.apply();
      expect({ family, operations, count: result.operations }).toEqual({ family, operations: [], count: 0 });
    }
  });

  it('reads one interface again after a flap', async () => {
    const table = createTable(4);
    fill(table);
    await table.apply();
    await namespace.shell('ip link set cali1 down; ip link set cali1 up');
    const link = (await kernel.listLinks()).find(({ name }) => name === 'cali1');
    table.onInterfaceState({ name: 'cali1', state: 'up', ifindex: link?.ifindex ?? 0 });
    runner.commands.length = 0;
    expect((await table.apply()).operations).toBe(2);
    expect(await showRoutes(4)).toContain('10.65.0.2 dev cali1 scope link metric 1024');
    expect(runner.commands).toHaveLength(3);
  });

  it('moves an address and removes its flows in both directions', async () => {
    const table = createTable(4);
    fill(table);
    await table.apply();
    runner.commands.length = 0;
    table.setRoutes('local-workload', 'cali1', []);
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.2/32')]);
    const result = await table.apply();
    expect(result.failed).toBeUndefined();
    if (result.rescheduleAfterMs !== undefined) await table.apply();
    expect(await showRoutes(4)).toContain('10.65.0.2 dev cali2 scope link metric 1024');
    expect(runner.commands.filter(([program]) => program === 'conntrack')).toEqual([
      ['conntrack', '--family', 'ipv4', '--delete', '--orig-src', '10.65.0.2'],
      ['conntrack', '--family', 'ipv4', '--delete', '--reply-src', '10.65.0.2'],
    ]);
  });

  it('forgives an interface that is gone before the write', async () => {
    const table = createTable(4);
    await table.apply();
    await namespace.run(['ip', 'link', 'del', 'cali1']);
    table.setRoutes('local-workload', 'cali1', [pod('10.65.0.2/32', 'ee:ee:ee:ee:ee:01')]);
    table.setRoutes('local-workload', 'cali2', [pod('10.65.0.3/32', 'ee:ee:ee:ee:ee:02')]);
    expect((await table.apply()).failed).toBeUndefined();
    expect(await showRoutes(4)).toEqual(['10.65.0.3 dev cali2 scope link metric 1024']);
  });
});

describe('CommandRouteKernel', () => {
  it('gives each operation its own result, also past one that ends the batch', async () => {
    const good = fakeRoute('10.1.0.0/24', { interfaceName: 'cali1', scope: 253 });
    const results = await kernel.apply([
      { op: 'replace-route', family: 4, table: 254, route: good },
      { op: 'replace-route', family: 4, table: 254, route: { ...good, interfaceName: 'nope' } },
      // `ip neigh` ends the whole batch at an error.
      {
        op: 'delete-neighbour',
        neighbour: { family: 4, interfaceName: 'cali1', address: '10.9.9.9', mac: 'ee:ee:ee:ee:ee:01' },
      },
      { op: 'replace-route', family: 4, table: 254, route: { ...good, dst: '10.1.1.0/33' } },
      { op: 'replace-route', family: 4, table: 254, route: { ...good, interfaceName: 'a b' } },
      { op: 'delete-route', family: 4, table: 254, route: fakeRoute('10.2.0.0/24', { interfaceName: 'cali1' }) },
      { op: 'replace-route', family: 4, table: 254, route: { ...good, interfaceName: 'cali3' } },
      { op: 'replace-route', family: 4, table: 254, route: { ...good, dst: '10.1.2.0/24' } },
    ]);
    expect(results.map((result) => result?.reason ?? null)).toEqual([
      null,
      'interface-missing',
      'missing',
      'invalid',
      'invalid',
      'missing',
      'interface-down',
      null,
    ]);
  });

  it('takes a table that does not exist for an empty one, and a missing interface for one without routes', async () => {
    expect(await kernel.listRoutes(4, 77)).toEqual([]);
    const routes = await kernel.listRoutes(4, 254, ['nope', 'eth0', 'a b']);
    expect(routes.map(({ dst, interfaceName }) => ({ dst, interfaceName }))).toEqual([
      { dst: '192.168.0.0/24', interfaceName: 'eth0' },
    ]);
  });

  it('reads rules back as they were written', async () => {
    const rule = {
      family: 4,
      priority: 99,
      table: 1,
      mark: 0x100000,
      mask: 0x100000,
      invert: true,
      source: null,
    } as const;
    const rule6 = { ...rule, family: 6, table: 2 } as const;
    expect(
      await kernel.apply([
        { op: 'add-rule', rule },
        { op: 'add-rule', rule: rule6 },
      ]),
    ).toEqual([null, null]);
    expect((await kernel.listRules(4)).find(({ priority }) => priority === 99)).toEqual(rule);
    expect((await kernel.listRules(6)).find(({ priority }) => priority === 99)).toEqual(rule6);
    expect(
      await kernel.apply([
        { op: 'delete-rule', rule },
        { op: 'delete-rule', rule: rule6 },
      ]),
    ).toEqual([null, null]);
  });
});
