import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../src/base/logger.js';
import { BandwidthReconciler } from '../../src/interfaces/bandwidth.js';
import { InterfaceMonitor } from '../../src/interfaces/interface-monitor.js';
import { InterfaceSysctlsReconciler } from '../../src/interfaces/interface-sysctls.js';
import { MonitorProcessSource } from '../../src/interfaces/link-events.js';
import type { HostFiles } from '../../src/kernel/files.js';
import { systemClock } from '../../src/kernel/system-clock.js';
import { CommandRouteKernel } from '../../src/routes/command-kernel.js';
import { loadRecording } from '../fixtures/recording.js';
import { dumpKernel } from './support/dump.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { createNamespaceRunner, createNamespaceStreams } from './support/namespace-runner.js';

let namespace: Namespace;
let kernel: CommandRouteKernel;

beforeEach(async () => {
  namespace = await createNamespace('ifaces');
  kernel = new CommandRouteKernel({ runner: createNamespaceRunner(namespace.name), logger: silentLogger });
});

afterEach(async () => {
  await namespace.remove();
});

/** Waits until the condition holds; fails with the last difference after half a minute. */
async function until(condition: () => void): Promise<void> {
  await vi.waitFor(condition, { timeout: 30_000, interval: 20 });
}

describe('InterfaceMonitor over `ip monitor`', () => {
  it('follows links and addresses of a real kernel, also after its child was killed', async () => {
    await namespace.shell(`
      sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
      ip link add eth0 type veth peer name ext0
      ip addr add 192.168.0.1/24 dev eth0
      ip link set eth0 up; ip link set ext0 up`);
    const states = new Map<string, string>();
    const addresses = new Map<string, string | null>();
    let inSync = false;
    const pids: number[] = [];
    const streams = createNamespaceStreams(namespace.name);
    const source = new MonitorProcessSource({ startStream: streams, clock: systemClock, logger: silentLogger });
    const monitor = new InterfaceMonitor({
      source,
      lister: kernel,
      clock: systemClock,
      logger: silentLogger,
      interfaceExclude: ['kube-ipvs0'],
      workloadPrefixes: ['cali'],
      refreshIntervalMs: 0,
    });
    try {
      monitor.start(
        (event) => {
          states.set(event.name, event.state);
        },
        (event) => {
          addresses.set(event.name, event.addresses === null ? null : [...event.addresses].sort().join(' '));
        },
        () => {
          inSync = true;
        },
      );
      await until(() => expect(inSync).toBe(true));
      expect(states.get('eth0')).toBe('up');
      expect(addresses.get('eth0')).toBe('192.168.0.1');
      expect(addresses.get('lo')).toBe('127.0.0.0 127.0.0.1');

      await namespace.shell('ip link add cali1 type veth peer name p1; ip link set cali1 up; ip link set p1 up');
      await until(() => expect(states.get('cali1')).toBe('up'));
      await namespace.shell('ip link set p1 down');
      await until(() => expect(states.get('cali1')).toBe('down'));
      await namespace.shell('ip addr add 10.0.0.9/32 dev eth0');
      await until(() => expect(addresses.get('eth0')).toBe('10.0.0.9 192.168.0.1'));
      await namespace.shell('ip addr del 10.0.0.9/32 dev eth0');
      await until(() => expect(addresses.get('eth0')).toBe('192.168.0.1'));
      await namespace.shell('ip link set cali1 down; ip link set cali1 name cali2');
      await until(() => {
        expect(states.get('cali1')).toBe('absent');
        expect(states.get('cali2')).toBe('down');
      });

      const running = await namespace.run(['sh', '-c', `ip netns pids ${namespace.name}`]);
      for (const pid of running.trim().split('\n').map(Number)) {
        const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
        if (command.split('\0').includes('monitor')) pids.push(pid);
      }
      expect(pids).toHaveLength(1);
      process.kill(pids[0] ?? 0, 'SIGKILL');
      await namespace.shell('ip link del cali2');
      await until(() => expect(states.get('cali2')).toBe('absent'));
      await namespace.shell('ip link add cali7 type veth peer name p7; ip link set cali7 up; ip link set p7 up');
      await until(() => expect(states.get('cali7')).toBe('up'));
    } finally {
      monitor.stop();
    }
  });
});

describe('InterfaceSysctlsReconciler', () => {
  it('sets what a workload interface needs in /proc/sys of the namespace', async () => {
    await namespace.shell('ip link add cali1 type veth peer name p1; ip link set cali1 up; ip link set p1 up');
    const read = async (path: string): Promise<string> => namespace.run(['cat', path]);
    const files: HostFiles = {
      read: (path) => read(path).catch(() => null),
      write: async (path, text) => {
        await namespace.run(['tee', path], { input: text });
      },
      replace: (path, text) => writeFile(path, text),
      remove: () => Promise.reject(new Error('not used')),
      stamp: () => Promise.reject(new Error('not used')),
      list: async (path) =>
        (await namespace.run(['ls', path]).catch(() => '')).split('\n').filter((name) => name !== ''),
    };
    const written: string[] = [];
    const sysctls = new InterfaceSysctlsReconciler({
      files,
      logger: silentLogger,
      observe: ({ object }) => written.push(object),
      procSys: '/proc/sys',
      lister: null,
    });
    const writes = [
      { path: 'net/ipv6/conf/cali1/accept_ra', value: '0', bestEffort: true },
      { path: 'net/ipv4/conf/cali1/route_localnet', value: '1' },
      { path: 'net/ipv4/neigh/cali1/proxy_delay', value: '0', bestEffort: true },
      { path: 'net/ipv4/conf/cali1/proxy_arp', value: '1' },
    ];
    sysctls.request('cali1', 'v4', writes);
    expect((await sysctls.apply()).failed).toBeUndefined();
    expect(written).toHaveLength(4);
    expect((await read('/proc/sys/net/ipv4/conf/cali1/proxy_arp')).trim()).toBe('1');
    sysctls.request('cali1', 'v4', writes);
    expect((await sysctls.apply()).operations).toBe(0);
    await namespace.run(['ip', 'link', 'del', 'cali1']);
    sysctls.request('cali1', 'v4', writes);
    expect((await sysctls.apply()).failed).toBeUndefined();
    expect(sysctls.isConfigured('cali1', 'v4')).toBe(false);
  });
});

describe('BandwidthReconciler', () => {
  it('makes the queues of the recording pod-features, adopts them, and removes them', async () => {
    const recording = loadRecording('pod-features');
    await namespace.shell(recording.hostScript);
    const expected = recording.expected['iptables-nft'] ?? {};
    const create = (): BandwidthReconciler =>
      new BandwidthReconciler({ kernel, logger: silentLogger, observe: () => undefined });
    const limit = { burst: 4_000_000n, peakRate: 0n, minBurst: 0n };
    const first = create();
    first.setLimits('cali3', { rate: 1_000_000n, ...limit }, { rate: 2_000_000n, ...limit });
    expect((await first.apply()).failed).toBeUndefined();
    expect((await dumpKernel(namespace, 'nftables'))['qdisc']).toBe(expected['01-pods']?.['qdisc.txt']);
    const redirect = await namespace.run(['tc', 'filter', 'show', 'dev', 'cali3', 'parent', 'ffff:']);
    expect(redirect).toContain('Egress Redirect to device bwcali54d884bb7');

    const second = create();
    second.setLimits('cali3', { rate: 1_000_000n, ...limit }, { rate: 2_000_000n, ...limit });
    expect((await second.apply()).operations).toBe(0);
    second.setLimits('cali3', null, null);
    expect((await second.apply()).failed).toBeUndefined();
    const dump = await dumpKernel(namespace, 'nftables');
    expect(dump['qdisc']).toBeUndefined();
    expect(dump['links']).toBe(expected['02-changed']?.['links.txt']);
  });

  it('adopts limits with a peak rate and with the default burst', async () => {
    await namespace.shell('ip link add cali3 type veth peer name p3; ip link set cali3 up; ip link set p3 up');
    for (const limit of [
      { rate: 10_000_000n, burst: 4_000_000n, peakRate: 20_000_000n, minBurst: 2_000n },
      { rate: 10_000n, burst: 4_294_967_296n, peakRate: 0n, minBurst: 0n },
    ]) {
      const first = new BandwidthReconciler({ kernel, logger: silentLogger, observe: () => undefined });
      first.setLimits('cali3', limit, limit);
      expect((await first.apply()).failed).toBeUndefined();
      const second = new BandwidthReconciler({ kernel, logger: silentLogger, observe: () => undefined });
      second.setLimits('cali3', limit, limit);
      expect((await second.apply()).operations).toBe(0);
    }
  });
});
