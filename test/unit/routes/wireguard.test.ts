import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { HostFiles } from '../../../src/kernel/files.js';
import type { Operation } from '../../../src/model/operation.js';
import type { RouteRule } from '../../../src/model/route.js';
import { deviceTableOwnership } from '../../../src/routes/ownership.js';
import { ownRuleTables, wireguardTables } from '../../../src/routes/table-index.js';
import type { WireguardChange, WireguardControl, WireguardKernelPeer } from '../../../src/routes/wireguard.js';
import { WireguardReconciler } from '../../../src/routes/wireguard-reconciler.js';
import { testConfig } from '../../fakes/config.js';
import { FakeRouteKernel, fakeLink, fakeRoute } from '../../fakes/route-kernel.js';

class FakeWireguard implements WireguardControl {
  readonly peers = new Map<string, WireguardKernelPeer>();
  readonly log: string[] = [];
  publicKey = '';
  listenPort = 0;
  mark = 0;
  reads = 0;
  fail: Error | null = null;
  constructor(readonly kernel: FakeRouteKernel) {}

  read(deviceName: string) {
    this.reads += 1;
    if (this.kernel.links.get(deviceName)?.kind !== 'wireguard') return Promise.resolve(null);
    const { publicKey, listenPort, mark } = this;
    return Promise.resolve({ publicKey, listenPort, mark, peers: [...this.peers.values()] });
  }

  traffic(): null {
    return null;
  }

  configure(_deviceName: string, changes: readonly WireguardChange[]): Promise<void> {
    if (this.fail !== null) return Promise.reject(this.fail);
    for (const change of changes) {
      this.log.push(change.op);
      if (change.op === 'generate-key') this.publicKey = 'ours';
      else if (change.op === 'set-listen-port') this.listenPort = change.port;
      else if (change.op === 'set-mark') this.mark = change.mark;
      else if (change.op === 'set-peer') this.peers.set(change.peer.publicKey, change.peer);
      else this.peers.delete(change.publicKey);
    }
    return Promise.resolve();
  }
}

const RULE: RouteRule = { family: 4, priority: 99, table: 1, mark: 0x100000, mask: 0x100000, invert: true };

function setUp(
  over: { enabled?: boolean; noControl?: boolean; kernel?: FakeRouteKernel; control?: FakeWireguard } = {},
) {
  const kernel = over.kernel ?? new FakeRouteKernel();
  const control = over.control ?? new FakeWireguard(kernel);
  const operations: Operation[] = [];
  const keys: string[] = [];
  const files = new Map<string, string>([['/sys/class/net/wireguard.cali/threaded', '0\n']]);
  const hostFiles: HostFiles = {
    read: (path) => Promise.resolve(files.get(path) ?? null),
    write: (path, text) => Promise.resolve(void files.set(path, text)),
    replace: () => Promise.resolve(),
    remove: () => Promise.resolve(),
    list: () => Promise.resolve([]),
    stamp: () => Promise.resolve(null),
  };
  let rules: readonly RouteRule[] | null = null;
  const wireguard = new WireguardReconciler({
    kernel,
    control: over.noControl === true ? null : control,
    logger: silentLogger,
    observe: (operation) => void operations.push(operation),
    family: 4,
    enabled: over.enabled ?? true,
    files: hostFiles,
    procSys: '/proc/sys',
    sysClassNet: '/sys/class/net',
    deviceName: 'wireguard.cali',
    mtu: 1440,
    settings: { listenPort: 51820, mark: 0x100000, keepaliveMs: 0 },
    hostEncryption: true,
    napiThreading: true,
    rule: RULE,
    rules: { setRules: (list) => void (rules = list) },
    onPublicKey: (key) => void keys.push(key),
  });
  return { kernel, control, operations, keys, files, wireguard, rules: () => rules };
}

const PEER = { publicKey: 'two', endpoint: '192.168.0.2', allowedIps: ['10.65.2.0/26'] };

describe('WireguardReconciler', () => {
  it('makes device, address, key and peers, and only then the rule', async () => {
    const { kernel, control, wireguard, keys, files, rules } = setUp();
    wireguard.setDeviceAddress('10.65.1.9');
    wireguard.setPeer(PEER);
    control.fail = new Error('busy');
    expect((await wireguard.apply()).failed).toBe(true);
    expect(rules()).toBeNull();
    control.fail = null;
    expect((await wireguard.apply()).failed).toBeUndefined();
    expect(kernel.log).toEqual([
      'add-link wireguard.cali',
      'add-address 10.65.1.9/32 dev wireguard.cali',
      'set-link-up wireguard.cali',
    ]);
    expect(control.log).toEqual(['generate-key', 'set-listen-port', 'set-mark', 'set-peer']);
    expect(control.peers.get('two')).toEqual({
      publicKey: 'two',
      endpoint: { address: '192.168.0.2', port: 51820 },
      allowedIps: ['10.65.2.0/26'],
      keepaliveMs: 0,
    });
    expect(keys).toEqual(['ours']);
    expect(rules()).toEqual([RULE]);
    expect(files.get('/proc/sys/net/ipv4/conf/all/src_valid_mark')).toBe('1');
    expect(files.get('/sys/class/net/wireguard.cali/threaded')).toBe('1');
  });

  it('writes nothing on a restart over an unchanged device', async () => {
    const { kernel, control, wireguard } = setUp();
    wireguard.setPeer(PEER);
    await wireguard.apply();
    const second = setUp({ kernel, control });
    second.files.set('/proc/sys/net/ipv4/conf/all/src_valid_mark', '1');
    second.files.set('/sys/class/net/wireguard.cali/threaded', '1');
    second.wireguard.setPeer(PEER);
    await second.wireguard.apply();
    expect(second.operations).toEqual([]);
  });

  it('sends only the peers that changed, without reading the device', async () => {
    const { control, wireguard } = setUp();
    wireguard.setPeer(PEER);
    await wireguard.apply();
    const { reads } = control;
    control.log.length = 0;
    wireguard.setPeer({ ...PEER, publicKey: 'three' });
    wireguard.removePeer('two');
    await wireguard.apply();
    expect(control.log).toEqual(['remove-peer', 'set-peer']);
    expect([...control.peers.keys()]).toEqual(['three']);
    expect(control.reads).toBe(reads);
  });

  it('tells our key again when the control plane has another', async () => {
    const { wireguard, keys } = setUp();
    await wireguard.apply();
    wireguard.setPublishedKey('ours');
    await wireguard.apply();
    expect(keys).toEqual(['ours']);
    wireguard.setPublishedKey('stale');
    await wireguard.apply();
    expect(keys).toEqual(['ours', 'ours']);
  });

  it('puts a device back that somebody removed', async () => {
    const { kernel, wireguard, control } = setUp();
    wireguard.setPeer(PEER);
    await wireguard.apply();
    kernel.deleteLink('wireguard.cali');
    control.peers.clear();
    wireguard.onInterfaceState({ name: 'wireguard.cali', state: 'absent', ifindex: 0 });
    wireguard.queueResync();
    await wireguard.apply();
    expect(control.peers.size).toBe(1);
  });

  it('gives up until the next resync where the kernel has no Wireguard', async () => {
    const { kernel, wireguard, keys, rules } = setUp();
    kernel.fail = (operation) =>
      operation.op === 'add-link' ? { reason: 'unsupported', message: 'Unknown device type' } : null;
    expect((await wireguard.apply()).failed).toBeUndefined();
    expect(keys).toEqual(['']);
    kernel.lists.length = 0;
    await wireguard.apply();
    expect(kernel.lists).toEqual([]);
    expect(rules()).toBeNull();
    kernel.fail = () => null;
    wireguard.queueResync();
    await wireguard.apply();
    expect(keys).toEqual(['', 'ours']);
  });

  it('counts as unsupported without a way to the kernel', async () => {
    const { kernel, wireguard, keys } = setUp({ noControl: true });
    await wireguard.apply();
    expect(keys).toEqual(['']);
    expect(kernel.log).toEqual([]);
  });

  it('removes what an earlier run left when it is disabled, once', async () => {
    const kernel = new FakeRouteKernel();
    kernel.addLink(fakeLink('wireguard.cali', 7, { kind: 'wireguard' }));
    const { wireguard, keys, rules } = setUp({ kernel, enabled: false });
    await wireguard.apply();
    expect([...kernel.links.keys()]).toEqual([]);
    expect(rules()).toEqual([]);
    expect(keys).toEqual(['']);
    kernel.lists.length = 0;
    await wireguard.apply();
    expect(kernel.lists).toEqual([]);
  });

  it('never takes over an interface of another kind', async () => {
    const kernel = new FakeRouteKernel();
    kernel.addLink(fakeLink('wireguard.cali', 7));
    const { wireguard } = setUp({ kernel });
    expect((await wireguard.apply()).failed).toBe(true);
    const disabled = setUp({ kernel, enabled: false });
    await disabled.wireguard.apply();
    expect([...kernel.links.keys()]).toEqual(['wireguard.cali']);
  });
});

describe('wireguardTables', () => {
  it('takes the two lowest free numbers, one for each family', () => {
    expect(wireguardTables(testConfig())).toEqual({ 4: 1, 6: 2 });
    expect(wireguardTables(testConfig({ routeTableRanges: [{ min: 252, max: 257 }] }))).toEqual({ 4: 252, 6: 256 });
    expect(wireguardTables(testConfig({ routeTableRanges: [{ min: 9, max: 9 }] }))).toEqual({ 4: 9, 6: null });
  });

  it("owns IPv6 rules for IPv4's table too, where Felix put them", () => {
    expect(ownRuleTables(testConfig())).toEqual(
      new Map([
        [4, new Set([1])],
        [6, new Set([1, 2])],
      ]),
    );
    expect(ownRuleTables(testConfig({ ipv6Support: false })).has(6)).toBe(false);
  });
});

describe('deviceTableOwnership', () => {
  it('owns throws and what leads over the device, nothing else', () => {
    const ownership = deviceTableOwnership('wireguard.cali');
    const unicast = fakeRoute('10.0.0.0/8', { interfaceName: 'wireguard.cali' });
    expect(ownership.isOurs(unicast, 'wireguard.cali')).toBe(true);
    expect(ownership.isOurs(unicast, 'eth0')).toBe(false);
    expect(ownership.isOurs(fakeRoute('10.0.0.0/8', { type: 'throw' }), null)).toBe(true);
    expect(ownership.isOurs(fakeRoute('10.0.0.0/8', { type: 'blackhole' }), null)).toBe(false);
  });
});
