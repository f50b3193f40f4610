import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { BandwidthReconciler } from '../../../src/interfaces/bandwidth.js';
import { detectHostMtu, podMtu, tunnelMtus, writeMtuFile } from '../../../src/interfaces/host-mtu.js';
import type { BandwidthLimit } from '../../../src/interfaces/interface-settings.js';
import { InterfaceSysctlsReconciler } from '../../../src/interfaces/interface-sysctls.js';
import { setUpKernel } from '../../../src/interfaces/kernel-setup.js';
import { ifbNameFor, sameTokenBucket, tokenBucketFor } from '../../../src/interfaces/token-bucket.js';
import type { HostFiles } from '../../../src/kernel/files.js';
import type { Operation } from '../../../src/model/operation.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { FakeRouteKernel, fakeLink } from '../../fakes/route-kernel.js';

/** Files in memory; folders exist while they have a file. */
class MemoryFiles implements HostFiles {
  readonly files = new Map<string, string>();
  readonly unwritable = new Set<string>();

  read(path: string): Promise<string | null> {
    return Promise.resolve(this.files.get(path) ?? null);
  }
  write(path: string, text: string): Promise<void> {
    if (!this.files.has(path) || this.unwritable.has(path)) return Promise.reject(new Error(`cannot write ${path}`));
    this.files.set(path, text);
    return Promise.resolve();
  }
  replace(path: string, text: string): Promise<void> {
    this.files.set(path, text);
    return Promise.resolve();
  }
  remove(path: string): Promise<void> {
    this.files.delete(path);
    return Promise.resolve();
  }
  stamp(path: string): Promise<string | null> {
    return Promise.resolve(this.files.get(path) ?? null);
  }
  list(path: string): Promise<string[]> {
    return Promise.resolve([...this.files.keys()].filter((file) => file.startsWith(`${path}/`)));
  }
}

const CONF = '/proc/sys/net/ipv4/conf/cali1';

function createSysctls() {
  const files = new MemoryFiles();
  const operations: Operation[] = [];
  const sysctls = new InterfaceSysctlsReconciler({
    files,
    logger: silentLogger,
    observe: (operation) => operations.push(operation),
    procSys: '/proc/sys',
    lister: null,
  });
  files.files.set(`${CONF}/proxy_arp`, '0\n');
  files.files.set(`${CONF}/rp_filter`, '1\n');
  files.files.set('/proc/sys/net/ipv6/conf/cali1/accept_ra', '1\n');
  return { files, operations, sysctls };
}

const WRITES = [
  { path: 'net/ipv6/conf/cali1/accept_ra', value: '0', bestEffort: true },
  { path: 'net/ipv4/conf/cali1/proxy_arp', value: '1' },
  { path: 'net/ipv4/conf/cali1/rp_filter', value: '1' },
];

describe('InterfaceSysctlsReconciler', () => {
  it('writes in order, and only what differs', async () => {
    const { sysctls, operations } = createSysctls();
    sysctls.request('cali1', 'v4', WRITES);
    expect(sysctls.isConfigured('cali1', 'v4')).toBe(false);
    const result = await sysctls.apply();
    expect(result).toEqual({ refused: [], operations: 2 });
    expect(operations.map(({ object }) => object)).toEqual([
      'net/ipv6/conf/cali1/accept_ra',
      'net/ipv4/conf/cali1/proxy_arp',
    ]);
    expect(sysctls.isConfigured('cali1', 'v4')).toBe(true);
    expect(sysctls.isConfigured('cali1', 'v6')).toBe(false);
    expect((await sysctls.apply()).operations).toBe(0);
  });

  it('goes on past a best-effort failure', async () => {
    const { sysctls, files } = createSysctls();
    files.unwritable.add('/proc/sys/net/ipv6/conf/cali1/accept_ra');
    sysctls.request('cali1', 'v4', WRITES);
    expect((await sysctls.apply()).failed).toBeUndefined();
    expect(sysctls.isConfigured('cali1', 'v4')).toBe(true);
  });

  it('stays unconfigured, and tries again, while a write fails', async () => {
    const { sysctls, files } = createSysctls();
    files.unwritable.add(`${CONF}/proxy_arp`);
    sysctls.request('cali1', 'v4', WRITES);
    expect((await sysctls.apply()).failed).toBe(true);
    expect(sysctls.isConfigured('cali1', 'v4')).toBe(false);
    files.unwritable.clear();
    expect((await sysctls.apply()).failed).toBeUndefined();
    expect(sysctls.isConfigured('cali1', 'v4')).toBe(true);
  });

  it('forgives an interface that is gone', async () => {
    const { sysctls } = createSysctls();
    sysctls.request('cali7', 'v4', [{ path: 'net/ipv4/conf/cali7/proxy_arp', value: '1' }]);
    expect((await sysctls.apply()).failed).toBeUndefined();
    expect(sysctls.isConfigured('cali7', 'v4')).toBe(false);
  });

  it.each([
    ['all', 'net/ipv4/conf/all/rp_filter'],
    ['default', 'net/ipv4/conf/default/rp_filter'],
    ['..', 'net/ipv4/conf/../ip_forward'],
    ['cali1', 'net/ipv4/conf/cali2/rp_filter'],
    ['cali1', 'kernel/core_pattern'],
  ])('never writes outside the interface: %s %s', async (name, path) => {
    const { sysctls, files } = createSysctls();
    files.files.set(`/proc/sys/${path}`, 'before');
    sysctls.request(name, 'v4', [{ path, value: '0' }]);
    await sysctls.apply();
    expect(files.files.get(`/proc/sys/${path}`)).toBe('before');
    expect(sysctls.isConfigured(name, 'v4')).toBe(false);
  });
});

const MEGABIT: BandwidthLimit = { rate: 1_000_000n, burst: 4_000_000n, peakRate: 0n, minBurst: 0n };

describe('tokenBucketFor', () => {
  it('computes the figures of the recording', () => {
    expect(tokenBucketFor(MEGABIT, 1500)).toEqual({
      rate: 125_000,
      bufferTicks: 62_500_000,
      limit: 62_503_125,
      peakRate: 0,
      minBurst: 0,
    });
  });

  it('caps the buffer at 32 bits', () => {
    expect(tokenBucketFor({ ...MEGABIT, burst: 4_000_000_000n }, 1500)).toMatchObject({
      bufferTicks: 0xffffffff,
      limit: 0xffffffff,
    });
  });

  it('raises minburst to the MTU and the Ethernet header when a peak rate is set', () => {
    const bucket = tokenBucketFor({ ...MEGABIT, peakRate: 8_000_000n, minBurst: 100n }, 1500);
    // 1514 bytes at 1,000,000 bytes a second are 1514 microseconds.
    expect(bucket).toMatchObject({ peakRate: 1_000_000, minBurst: Math.floor(1514 * 15.625) });
  });

  it.each<[string, BandwidthLimit]>([
    ['a rate below one byte a second', { ...MEGABIT, rate: 7n }],
    ['no burst', { ...MEGABIT, burst: 0n }],
    ['a minburst without a peak rate', { ...MEGABIT, minBurst: 5n }],
  ])('refuses %s', (_what, limit) => {
    expect(tokenBucketFor(limit, 1500)).toHaveProperty('fault');
  });
});

describe('sameTokenBucket', () => {
  it('forgives what is lost between bytes and ticks, nothing more', () => {
    const bucket = { rate: 125_000, bufferTicks: 62_500_000, limit: 1, peakRate: 0, minBurst: 0 };
    expect(sameTokenBucket(bucket, { ...bucket, bufferTicks: 62_500_016, peakRate: null })).toBe(true);
    expect(sameTokenBucket(bucket, { ...bucket, bufferTicks: 62_510_000 })).toBe(false);
    expect(sameTokenBucket(bucket, { ...bucket, rate: 125_001 })).toBe(false);
    expect(sameTokenBucket(bucket, null)).toBe(false);
  });
});

describe('ifbNameFor', () => {
  it('is what Felix makes', () => {
    expect(ifbNameFor('cali1234567890a')).toBe('bwcali800c13c17');
    expect(ifbNameFor('cali3')).toBe('bwcali54d884bb7');
  });
});

function createBandwidth(kernel = new FakeRouteKernel()) {
  if (kernel.links.size === 0) kernel.addLink(fakeLink('cali3', 3));
  const bandwidth = new BandwidthReconciler({ kernel, logger: silentLogger, observe: () => undefined });
  return { kernel, bandwidth };
}

describe('BandwidthReconciler', () => {
  it('shapes both directions, the bucket of the ifb before its redirect', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', MEGABIT, { ...MEGABIT, rate: 2_000_000n });
    expect((await bandwidth.apply()).failed).toBeUndefined();
    expect(kernel.log).toEqual([
      'replace-tbf cali3',
      'add-link bwcali54d884bb7',
      'set-link-up bwcali54d884bb7',
      'add-ingress cali3',
      'replace-tbf bwcali54d884bb7',
      'add-redirect cali3',
    ]);
    expect(kernel.links.get('bwcali54d884bb7')?.mtu).toBe(1500);
  });

  it('writes nothing on a restart over an unchanged kernel', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', MEGABIT, MEGABIT);
    await bandwidth.apply();
    const second = createBandwidth(kernel).bandwidth;
    second.setLimits('cali3', MEGABIT, MEGABIT);
    expect((await second.apply()).operations).toBe(0);
  });

  it('takes everything away when the limits go, and looks no more', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', MEGABIT, MEGABIT);
    await bandwidth.apply();
    bandwidth.setLimits('cali3', null, null);
    await bandwidth.apply();
    expect([...kernel.links.keys()]).toEqual(['cali3']);
    expect(kernel.shaping('cali3')).toEqual({ tbf: null, hasIngress: false, redirects: [] });
    kernel.lists.length = 0;
    bandwidth.setLimits('cali3', null, null);
    await bandwidth.apply();
    expect(kernel.lists).toEqual([]);
  });

  it('removes the device of an interface that is gone', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', MEGABIT, MEGABIT);
    await bandwidth.apply();
    kernel.deleteLink('cali3');
    bandwidth.forget('cali3');
    await bandwidth.apply();
    expect([...kernel.links.keys()]).toEqual([]);
  });

  it('removes devices that an earlier run left behind without an interface, once', async () => {
    const { kernel, bandwidth } = createBandwidth();
    kernel.addLink(fakeLink('bwcali000000000', 77, { kind: 'ifb' }));
    await bandwidth.apply();
    expect([...kernel.links.keys()]).toEqual(['cali3']);
  });

  it('takes over from the CNI bandwidth plugin', async () => {
    const { kernel, bandwidth } = createBandwidth();
    kernel.addLink(fakeLink('bwp1234', 50, { kind: 'ifb' }));
    await kernel.apply([
      { op: 'add-ingress', interfaceName: 'cali3' },
      { op: 'add-redirect', interfaceName: 'cali3', target: 'bwp1234' },
    ]);
    bandwidth.setLimits('cali3', null, MEGABIT);
    await bandwidth.apply();
    expect([...kernel.links.keys()]).toEqual(['cali3', 'bwcali54d884bb7']);
    expect(kernel.shaping('cali3').redirects).toEqual(['bwcali54d884bb7']);
  });

  it('shapes an interface that appears later, or again', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali4', MEGABIT, null);
    await bandwidth.apply();
    kernel.addLink(fakeLink('cali4', 4));
    bandwidth.onInterfaceState({ name: 'cali4', state: 'up', ifindex: 4 });
    await bandwidth.apply();
    expect(kernel.shaping('cali4').tbf).not.toBeNull();
  });

  it('shapes an interface that is made anew while it is being shaped', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', MEGABIT, MEGABIT);
    const applying = bandwidth.apply();
    const apply = kernel.apply.bind(kernel);
    kernel.apply = async (operations) => {
      kernel.apply = apply;
      const failures = await apply(operations);
      kernel.deleteLink('cali3');
      kernel.addLink(fakeLink('cali3', 33));
      bandwidth.onInterfaceState({ name: 'cali3', state: 'absent', ifindex: 0 });
      bandwidth.onInterfaceState({ name: 'cali3', state: 'up', ifindex: 33 });
      return failures;
    };
    await applying;
    expect(kernel.shaping('cali3').tbf).toBeNull();
    await bandwidth.apply();
    expect(kernel.shaping('cali3').tbf).not.toBeNull();
    expect(kernel.shaping('cali3').redirects).toEqual(['bwcali54d884bb7']);
  });

  it('leaves a senseless limit out and does not try it again and again', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', { ...MEGABIT, minBurst: 1n }, null);
    expect((await bandwidth.apply()).failed).toBeUndefined();
    kernel.lists.length = 0;
    await bandwidth.apply();
    expect(kernel.lists).toEqual([]);
    expect(kernel.log).toEqual([]);
  });

  it('tries again after an operation failed', async () => {
    const { kernel, bandwidth } = createBandwidth();
    bandwidth.setLimits('cali3', MEGABIT, null);
    kernel.fail = () => ({ reason: 'other', message: 'Out of memory' });
    expect((await bandwidth.apply()).failed).toBe(true);
    kernel.fail = () => null;
    expect((await bandwidth.apply()).failed).toBeUndefined();
    expect(kernel.shaping('cali3').tbf).not.toBeNull();
  });
});

describe('MTU', () => {
  it('is the smallest of the running interfaces that match', () => {
    const { mtuIfacePattern } = testConfig();
    const links = [
      fakeLink('eth0', 2, { mtu: 9000 }),
      fakeLink('ens5', 3, { mtu: 1500 }),
      fakeLink('eth1', 4, { mtu: 1400, isRunning: false }),
      fakeLink('cali1', 5, { mtu: 1300 }),
    ];
    expect(detectHostMtu(links, mtuIfacePattern)).toBe(1500);
    expect(detectHostMtu([], mtuIfacePattern)).toBe(1460);
    // MTUIfacePattern `none`: no interface counts, rather than each.
    expect(detectHostMtu(links, '')).toBe(1460);
  });

  it('of tunnels is the configured one, or the host MTU less the overhead', () => {
    expect(tunnelMtus(testConfig(), 1500)).toEqual({
      ipip: 1480,
      vxlan: 1450,
      vxlanV6: 1430,
      wireguard: 1440,
      wireguardV6: 1420,
    });
    const aks = testConfig({ clusterType: 'k8s,AKS', wireguardHostEncryptionEnabled: true, vxlanMTU: 1300 });
    expect(tunnelMtus(aks, 1500)).toMatchObject({ vxlan: 1300, wireguard: 1340, wireguardV6: 1320 });
  });

  it('of pods is the smallest of the enabled tunnels', () => {
    const environment = testEnvironment({ hostMtu: 1500 });
    expect(podMtu(testConfig(), environment)).toBe(1500);
    expect(podMtu(testConfig(), { ...environment, vxlanEnabled: true, ipipEnabled: true })).toBe(1450);
    expect(podMtu(testConfig({ wireguardEnabled: true }), { ...environment, ipipEnabled: true })).toBe(1440);
  });

  it('file has the bare number and is not written twice', async () => {
    const files = new MemoryFiles();
    await writeMtuFile(files, '/var/lib/calico/mtu', 1450);
    expect(files.files.get('/var/lib/calico/mtu')).toBe('1450');
    files.replace = () => Promise.reject(new Error('written twice'));
    await writeMtuFile(files, '/var/lib/calico/mtu', 1450);
  });
});

describe('setUpKernel', () => {
  it('loads modules, sets forwarding and accounting, and survives what cannot be had', async () => {
    const files = new MemoryFiles();
    files.files.set('/proc/sys/net/ipv4/ip_forward', '0\n');
    files.files.set('/proc/sys/net/ipv6/conf/all/forwarding', '1\n');
    const operations: Operation[] = [];
    const argvs: (readonly string[])[] = [];
    await setUpKernel({
      config: testConfig({ wireguardEnabled: true }),
      runner: {
        run: ({ argv }) => {
          argvs.push(argv);
          return Promise.resolve({
            exitCode: 1,
            signal: null,
            stdout: '',
            stderr: 'not found',
            timedOut: false,
            durationMs: 0,
          });
        },
      },
      files,
      logger: silentLogger,
      observe: (operation) => operations.push(operation),
      procSys: '/proc/sys',
    });
    expect(argvs).toEqual([
      ['modprobe', 'nf_conntrack_proto_sctp'],
      ['modprobe', 'wireguard'],
    ]);
    expect(operations.map(({ object }) => object)).toEqual(['net/ipv4/ip_forward']);
    expect(files.files.get('/proc/sys/net/ipv4/ip_forward')).toBe('1');
  });
});
