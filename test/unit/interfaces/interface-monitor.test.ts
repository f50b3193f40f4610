import { describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { InterfaceMonitor } from '../../../src/interfaces/interface-monitor.js';
import type { LinkEvent, LinkEventSource } from '../../../src/interfaces/link-events.js';
import { MonitorProcessSource, readMonitorLine } from '../../../src/interfaces/link-events.js';
import type { ProcessStreamHandlers } from '../../../src/kernel/process-stream.js';
import { FakeClock, flushMicrotasks } from '../../fakes/clock.js';
import { FakeRouteKernel, fakeLink, fakeRoute } from '../../fakes/route-kernel.js';

class ManualSource implements LinkEventSource {
  send: (event: LinkEvent) => void = () => undefined;
  start(onEvent: (event: LinkEvent) => void): void {
    this.send = onEvent;
  }
  stop(): void {
    this.send = () => undefined;
  }
}

function addAddress(kernel: FakeRouteKernel, interfaceName: string, address: string): void {
  kernel.putRoute(4, 255, fakeRoute(`${address}/32`, { type: 'local', interfaceName, scope: 254, protocol: 2 }));
}

function setUp() {
  const clock = new FakeClock();
  const kernel = new FakeRouteKernel();
  kernel.addLink(fakeLink('eth0', 2));
  kernel.addLink(fakeLink('cali1', 3));
  addAddress(kernel, 'eth0', '192.168.0.1');
  addAddress(kernel, 'cali1', '169.254.1.1');
  const source = new ManualSource();
  const told: string[] = [];
  const monitor = new InterfaceMonitor({
    source,
    lister: kernel,
    clock,
    logger: silentLogger,
    interfaceExclude: ['kube-ipvs0', '/^dummy/'],
    workloadPrefixes: ['cali'],
    refreshIntervalMs: 90_000,
  });
  const start = async (): Promise<void> => {
    monitor.start(
      ({ name, state, ifindex }) => told.push(`${name} ${state} ${ifindex}`),
      ({ name, addresses }) => told.push(`${name} [${addresses === null ? 'gone' : [...addresses].join(' ')}]`),
      () => told.push('in sync'),
    );
    await flushMicrotasks();
  };
  const link = (name: string, ifindex: number, isRunning = true): void =>
    source.send({ kind: 'link', name, ifindex, isRunning });
  const take = async (): Promise<string[]> => {
    await flushMicrotasks();
    return told.splice(0);
  };
  return { clock, kernel, source, monitor, start, link, take };
}

describe('InterfaceMonitor', () => {
  it('tells all interfaces, addresses of host interfaces only, then that it is in sync', async () => {
    const { start, take } = setUp();
    await start();
    expect(await take()).toEqual(['eth0 up 2', 'cali1 up 3', 'eth0 [192.168.0.1]', 'in sync']);
  });

  it('lists the local routes of those links alone whose addresses are told, also at start', async () => {
    const { start, kernel } = setUp();
    kernel.addLink(fakeLink('kube-ipvs0', 8));
    const listings = vi.spyOn(kernel, 'listRoutes');
    await start();
    expect(listings.mock.calls).toEqual([
      [4, 255, ['eth0']],
      [6, 255, ['eth0']],
    ]);
  });

  it('tells state but no addresses of excluded interfaces', async () => {
    const { start, take, kernel } = setUp();
    kernel.addLink(fakeLink('kube-ipvs0', 8, { isRunning: false }));
    kernel.addLink(fakeLink('dummy7', 9));
    addAddress(kernel, 'kube-ipvs0', '10.96.0.1');
    addAddress(kernel, 'dummy7', '10.97.0.1');
    await start();
    const told = await take();
    expect(told).toContain('kube-ipvs0 down 8');
    expect(told.filter((line) => line.includes('[10.9'))).toEqual([]);
  });

  it('tells a new interface at once, with its addresses', async () => {
    const { start, take, kernel, link } = setUp();
    await start();
    await take();
    kernel.addLink(fakeLink('eth1', 7));
    addAddress(kernel, 'eth1', '10.0.0.7');
    link('eth1', 7);
    expect(await take()).toEqual(['eth1 up 7', 'eth1 [10.0.0.7]']);
  });

  it('holds a link that goes down back for 100 ms, and tells both ends of a flap in order', async () => {
    const { start, take, clock, link } = setUp();
    await start();
    await take();
    link('cali1', 3, false);
    await clock.advance(50);
    expect(await take()).toEqual([]);
    link('cali1', 3, true);
    await clock.advance(49);
    expect(await take()).toEqual([]);
    await clock.advance(1);
    expect(await take()).toEqual(['cali1 down 3', 'cali1 up 3']);
  });

  it('takes an address that is gone and back within 100 ms for no news', async () => {
    const { start, take, clock, source } = setUp();
    await start();
    await take();
    source.send({ kind: 'address', interfaceName: 'eth0', dst: '192.168.0.1/32', isGone: true });
    await clock.advance(50);
    source.send({ kind: 'address', interfaceName: 'eth0', dst: '192.168.0.1/32', isGone: false });
    await clock.advance(1_000);
    expect(await take()).toEqual([]);
    source.send({ kind: 'address', interfaceName: 'eth0', dst: '192.168.0.9/32', isGone: false });
    expect(await take()).toEqual(['eth0 [192.168.0.1 192.168.0.9]']);
    source.send({ kind: 'address', interfaceName: 'eth0', dst: '192.168.0.1/32', isGone: true });
    await clock.advance(100);
    expect(await take()).toEqual(['eth0 [192.168.0.9]']);
  });

  it('takes news of an address by index for a link that was there before, without a listing', async () => {
    const { start, take, kernel, source } = setUp();
    await start();
    await take();
    const listings = vi.spyOn(kernel, 'listRoutes');
    source.send({ kind: 'address', ifindex: 2, dst: '192.168.0.9/32', isGone: false });
    source.send({ kind: 'address', ifindex: 99, dst: '192.168.0.9/32', isGone: false });
    expect(await take()).toEqual(['eth0 [192.168.0.1 192.168.0.9]']);
    expect(listings).not.toHaveBeenCalled();
  });

  it('lists the addresses of many new links at once', async () => {
    const { start, take, kernel, link } = setUp();
    await start();
    await take();
    const listings = vi.spyOn(kernel, 'listRoutes');
    for (let index = 0; index < 100; index++) {
      kernel.addLink(fakeLink(`eth${100 + index}`, 100 + index));
      addAddress(kernel, `eth${100 + index}`, `10.0.0.${index}`);
      link(`eth${100 + index}`, 100 + index);
    }
    const told = await take();
    for (let index = 0; index < 100; index++) expect(told).toContain(`eth${100 + index} [10.0.0.${index}]`);
    // Each family: the first link alone, then all that came meanwhile.
    expect(listings.mock.calls.length).toBeLessThanOrEqual(4);
  });

  it('tells a rename as the end of one and the start of another', async () => {
    const { start, take, link } = setUp();
    await start();
    await take();
    link('cali2', 3);
    expect(await take()).toEqual(['cali1 absent 0', 'cali2 up 3']);
  });

  it('keeps silent about two interfaces of one name until one is left', async () => {
    const { start, take, link, source, clock, kernel } = setUp();
    await start();
    await take();
    addAddress(kernel, 'eth0', '192.168.0.1');
    link('eth0', 22);
    expect(await take()).toEqual([]);
    source.send({ kind: 'link-gone', name: 'eth0', ifindex: 2 });
    await clock.advance(100);
    expect(await take()).toEqual(['eth0 absent 0', 'eth0 [gone]', 'eth0 up 22', 'eth0 [192.168.0.1]']);
  });

  it('finds by a full listing what was lost', async () => {
    const { start, take, source, kernel } = setUp();
    await start();
    await take();
    kernel.deleteLink('cali1');
    kernel.addLink(fakeLink('cali5', 5));
    source.send({ kind: 'lost' });
    expect(await take()).toEqual(['cali1 absent 0', 'cali5 up 5']);
  });

  it('lists everything again after InterfaceRefreshInterval', async () => {
    const { start, take, clock, kernel } = setUp();
    await start();
    await take();
    kernel.deleteLink('eth0');
    await clock.advance(89_999);
    expect(await take()).toEqual([]);
    await clock.advance(1);
    expect(await take()).toEqual(['eth0 absent 0', 'eth0 [gone]']);
  });

  it('trusts news over a listing that was begun before them', async () => {
    const { start, take, source, kernel, link } = setUp();
    await start();
    await take();
    kernel.setDown('cali1');
    source.send({ kind: 'lost' });
    link('cali1', 3, true);
    link('cali9', 9, true);
    expect(await take()).toEqual(['cali9 up 9']);
  });

  it('tries again after a listing that failed, and is in sync only then', async () => {
    const { start, take, clock, kernel } = setUp();
    kernel.listError = new Error('no such tool');
    await start();
    expect(await take()).toEqual([]);
    await clock.advance(1_000);
    expect(await take()).toContain('in sync');
  });

  it('goes silent after stop', async () => {
    const { start, take, clock, link, monitor } = setUp();
    await start();
    await take();
    link('cali1', 3, false);
    monitor.stop();
    await clock.advance(200_000);
    expect(await take()).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('readMonitorLine', () => {
  it.each<[string, LinkEvent | null]>([
    [
      '3: cali1@p1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group 0 \\    link/ether',
      { kind: 'link', ifindex: 3, name: 'cali1', isRunning: true },
    ],
    [
      '3: cali1@if2: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500',
      { kind: 'link', ifindex: 3, name: 'cali1', isRunning: false },
    ],
    [
      '4: vxlan.calico: <BROADCAST,MULTICAST> mtu 1450',
      { kind: 'link', ifindex: 4, name: 'vxlan.calico', isRunning: false },
    ],
    ['Deleted 3: cali2@NONE: <BROADCAST,MULTICAST> mtu 1500', { kind: 'link-gone', ifindex: 3, name: 'cali2' }],
    [
      '2 10.9.9.9 dev eth0 table 255 proto 2 scope 254 src 10.9.9.9 ',
      { kind: 'address', interfaceName: 'eth0', dst: '10.9.9.9/32', isGone: false },
    ],
    [
      'Deleted 2 fd00::1 dev eth0 table 255 proto 2 metric 0 pref medium',
      { kind: 'address', interfaceName: 'eth0', dst: 'fd00::1/128', isGone: true },
    ],
    [
      'local 10.9.9.9 dev eth0 table local proto kernel scope host src 10.9.9.9 ',
      { kind: 'address', interfaceName: 'eth0', dst: '10.9.9.9/32', isGone: false },
    ],
    ['1 10.65.0.2 dev cali1 table 254 proto 3 scope 253 metric 1024 ', null],
    ['Deleted 5 ff00::/8 dev cali1 table 255 proto 2 metric 256 pref medium', null],
    ['fe80::/64 dev cali1 proto 2 metric 256 pref medium', null],
    ['\tnexthop via 192.168.0.7 dev eth0 weight 1 onlink ', null],
    ['', null],
  ])('reads %j', (line, event) => {
    expect(readMonitorLine(line)).toEqual(event);
  });
});

describe('MonitorProcessSource', () => {
  it('starts another child a second after one ends, and says that news may be lost', async () => {
    const clock = new FakeClock();
    const children: ProcessStreamHandlers[] = [];
    const events: LinkEvent[] = [];
    const source = new MonitorProcessSource({
      startStream: (_argv, handlers) => {
        children.push(handlers);
        return { stop: () => undefined };
      },
      clock,
      logger: silentLogger,
    });
    source.start((event) => events.push(event));
    await clock.advance(10_000);
    expect(events.splice(0)).toEqual([{ kind: 'lost' }, { kind: 'lost' }]);
    children[0]?.onLine('3: cali1: <UP,LOWER_UP> mtu 1500');
    children[0]?.onErrorLine('Error: Peer netns reference is invalid.');
    children[0]?.onErrorLine('netlink receive error No buffer space available (105)');
    expect(events.splice(0)).toEqual([{ kind: 'link', ifindex: 3, name: 'cali1', isRunning: true }, { kind: 'lost' }]);
    children[0]?.onExit('ended with SIGKILL');
    await clock.advance(999);
    expect(children).toHaveLength(1);
    await clock.advance(1);
    expect(children).toHaveLength(2);
    expect(events.splice(0)).toEqual([{ kind: 'lost' }]);
    source.stop();
    children[1]?.onExit('ended with SIGKILL');
    await clock.advance(10_000);
    expect(children).toHaveLength(2);
  });
});
