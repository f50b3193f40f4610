import { describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { Operation } from '../../../src/model/operation.js';
import { LinkAddressesReconciler } from '../../../src/routes/link-addresses-reconciler.js';
import { RouteRulesReconciler } from '../../../src/routes/route-rules-reconciler.js';
import type { KernelRule } from '../../../src/routes/route-kernel.js';
import type { TunnelDevice } from '../../../src/routes/route-table.js';
import { TunnelDevicesReconciler } from '../../../src/routes/tunnel-devices-reconciler.js';
import { VxlanFdbReconciler } from '../../../src/routes/vxlan-fdb-reconciler.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeRouteKernel, fakeLink } from '../../fakes/route-kernel.js';

function createContext(kernel = new FakeRouteKernel()) {
  const operations: Operation[] = [];
  return {
    kernel,
    operations,
    context: { kernel, logger: silentLogger, observe: (operation: Operation) => void operations.push(operation) },
  };
}

const RULE = { family: 4, priority: 99, table: 1, mark: 0x100000, mask: 0x100000, invert: true } as const;
const KERNEL_RULE: KernelRule = { ...RULE, source: null };

describe('RouteRulesReconciler', () => {
  const ownTables = new Map([
    [4, new Set([1])],
    [6, new Set([2])],
  ] as const);

  it('adds what is missing, deletes what is left in its tables, and touches no other rule', async () => {
    const { kernel, context } = createContext();
    const foreign = { ...KERNEL_RULE, table: 7, priority: 50 };
    kernel.rules.push(foreign, { ...KERNEL_RULE, priority: 98 });
    const rules = new RouteRulesReconciler({ ...context, ownTables });
    rules.setRules([RULE, { ...RULE, family: 6, table: 2 }]);
    expect((await rules.apply()).operations).toBe(3);
    expect(kernel.rules).toEqual([foreign, KERNEL_RULE, { ...KERNEL_RULE, family: 6, table: 2 }]);
    expect((await rules.apply()).operations).toBe(0);
    rules.setRules([]);
    await rules.apply();
    expect(kernel.rules).toEqual([foreign]);
  });

  it('writes nothing over an unchanged kernel, and lists nothing when nothing changed', async () => {
    const { kernel, context, operations } = createContext();
    kernel.rules.push(KERNEL_RULE);
    const rules = new RouteRulesReconciler({ ...context, ownTables });
    rules.setRules([RULE]);
    await rules.apply();
    kernel.lists.length = 0;
    rules.setRules([RULE]);
    await rules.apply();
    expect(operations).toEqual([]);
    expect(kernel.lists).toEqual([]);
  });

  it('leaves a rule for a foreign table out', async () => {
    const { kernel, context } = createContext();
    const rules = new RouteRulesReconciler({ ...context, ownTables });
    rules.setRules([{ ...RULE, table: 254 }]);
    await rules.apply();
    expect(kernel.rules).toEqual([]);
  });

  it('tries again after a failure', async () => {
    const { kernel, context } = createContext();
    const rules = new RouteRulesReconciler({ ...context, ownTables });
    rules.setRules([RULE]);
    kernel.fail = () => ({ reason: 'other', message: 'Busy' });
    expect((await rules.apply()).failed).toBe(true);
    kernel.fail = () => null;
    expect((await rules.apply()).failed).toBeUndefined();
    expect(kernel.rules).toEqual([KERNEL_RULE]);
  });
});

describe('LinkAddressesReconciler', () => {
  function create(kernel = new FakeRouteKernel(), family: 4 | 6 = 4) {
    const parts = createContext(kernel);
    if (kernel.links.size === 0) {
      kernel.addLink(fakeLink('cali1', 3));
      kernel.addLink(fakeLink('eth0', 2));
    }
    const reconciler = new LinkAddressesReconciler({
      ...parts.context,
      family,
      workloadPrefixes: ['cali'],
      disabled: false,
    });
    return { ...parts, reconciler };
  }
  const address = (interfaceName: string, text: string, length = 32) =>
    ({ interfaceName, family: text.includes(':') ? 6 : 4, address: text, length, scope: 253 }) as const;

  it('sets one link-scope address, replaces it, and removes it', async () => {
    const { kernel, reconciler } = create();
    reconciler.setAddress('cali1', '169.254.1.1/32');
    await reconciler.apply();
    expect(kernel.addresses).toEqual([address('cali1', '169.254.1.1')]);
    reconciler.setAddress('cali1', '169.254.1.2/32');
    await reconciler.apply();
    expect(kernel.log).toEqual([
      'add-address 169.254.1.1/32 dev cali1',
      'delete-address 169.254.1.1/32 dev cali1',
      'add-address 169.254.1.2/32 dev cali1',
    ]);
    reconciler.setAddress('cali1', null);
    await reconciler.apply();
    expect(kernel.addresses).toEqual([]);
  });

  it.each(['listed', 'written'])('sets the address of an interface that is made anew while it is %s', async (when) => {
    const { kernel, reconciler } = create();
    const renew = (): void => {
      kernel.deleteLink('cali1');
      kernel.addLink(fakeLink('cali1', 33));
      reconciler.onInterfaceState({ name: 'cali1', state: 'absent', ifindex: 0 });
      reconciler.onInterfaceState({ name: 'cali1', state: 'up', ifindex: 33 });
    };
    reconciler.setAddress('cali1', '169.254.1.1/32');
    if (when === 'listed') {
      await reconciler.apply();
      reconciler.queueResync();
      const listAddresses = kernel.listAddresses.bind(kernel);
      kernel.listAddresses = () => {
        kernel.listAddresses = listAddresses;
        const answer = listAddresses();
        renew();
        return answer;
      };
    } else {
      const apply = kernel.apply.bind(kernel);
      kernel.apply = async (operations) => {
        kernel.apply = apply;
        const failures = await apply(operations);
        renew();
        return failures;
      };
    }
    await reconciler.apply();
    expect(kernel.addresses).toEqual([]);
    await reconciler.apply();
    expect(kernel.addresses).toEqual([address('cali1', '169.254.1.1')]);
  });

  it('removes what an earlier run left, but not from other interfaces nor what the kernel made', async () => {
    const { kernel, reconciler } = create(new FakeRouteKernel(), 6);
    kernel.addresses.push(
      address('cali1', 'fd00::9', 128),
      address('cali1', 'fe80::1', 64),
      address('eth0', 'fd00::8', 128),
      address('cali1', '169.254.1.1'),
    );
    await reconciler.apply();
    expect(kernel.log).toEqual(['delete-address fd00::9/128 dev cali1']);
  });

  it('waits for the interface, and sets the address again on a re-created one', async () => {
    const { kernel, reconciler } = create();
    await reconciler.apply();
    reconciler.setAddress('cali9', '169.254.1.1/32');
    expect((await reconciler.apply()).failed).toBeUndefined();
    for (const ifindex of [9, 10]) {
      kernel.addLink(fakeLink('cali9', ifindex));
      reconciler.onInterfaceState({ name: 'cali9', state: 'down', ifindex });
      await reconciler.apply();
      expect(kernel.addresses).toHaveLength(1);
      kernel.deleteLink('cali9');
      reconciler.onInterfaceState({ name: 'cali9', state: 'absent', ifindex: 0 });
    }
  });

  it('writes nothing over an unchanged kernel', async () => {
    const { kernel, reconciler, operations } = create();
    kernel.addresses.push(address('cali1', '169.254.1.1'));
    reconciler.setAddress('cali1', '169.254.1.1/32');
    await reconciler.apply();
    expect(operations).toEqual([]);
  });

  it('tries again after a failure', async () => {
    const { kernel, reconciler } = create();
    reconciler.setAddress('cali1', '169.254.1.1/32');
    kernel.fail = () => ({ reason: 'other', message: 'Busy' });
    expect((await reconciler.apply()).failed).toBe(true);
    kernel.fail = () => null;
    await reconciler.apply();
    expect(kernel.addresses).toHaveLength(1);
  });
});

describe('VxlanFdbReconciler', () => {
  const vtep = (n: number) => ({
    mac: `66:00:00:00:00:0${n}`,
    tunnelAddress: `10.65.${n}.1`,
    underlay: `192.168.0.${n}`,
  });

  function create(kernel = new FakeRouteKernel()) {
    const parts = createContext(kernel);
    if (kernel.links.size === 0) kernel.addLink(fakeLink('vxlan.calico', 8, { kind: 'vxlan' }));
    const fdb = new VxlanFdbReconciler({ ...parts.context, family: 4, deviceName: 'vxlan.calico' });
    return { ...parts, fdb, up: () => fdb.onInterfaceState({ name: 'vxlan.calico', state: 'up', ifindex: 8 }) };
  }

  it('does nothing before the device is up', async () => {
    const { kernel, fdb, up } = create();
    fdb.setVteps([vtep(2)]);
    expect((await fdb.apply()).operations).toBe(0);
    expect(kernel.lists).toEqual([]);
    up();
    expect((await fdb.apply()).operations).toBe(2);
    expect([...kernel.fdb.values()]).toEqual([
      { interfaceName: 'vxlan.calico', mac: '66:00:00:00:00:02', remote: '192.168.0.2' },
    ]);
  });

  it('fills a device that is made anew while it is listed', async () => {
    const { kernel, fdb, up } = create();
    up();
    fdb.setVteps([vtep(2)]);
    await fdb.apply();
    fdb.queueResync();
    const applying = fdb.apply();
    // The listing has been answered with what was there before, and the answer is on its way.
    kernel.deleteLink('vxlan.calico');
    kernel.addLink(fakeLink('vxlan.calico', 88, { kind: 'vxlan' }));
    fdb.onInterfaceState({ name: 'vxlan.calico', state: 'absent', ifindex: 0 });
    fdb.onInterfaceState({ name: 'vxlan.calico', state: 'up', ifindex: 88 });
    await applying;
    await fdb.apply();
    expect(kernel.neighbours.size).toBe(1);
    expect(kernel.fdb.size).toBe(1);
  });

  it('changes only what differs, and removes what is no longer wanted', async () => {
    const { kernel, fdb, up } = create();
    up();
    fdb.setVteps([vtep(2), vtep(3)]);
    await fdb.apply();
    kernel.log.length = 0;
    fdb.setVteps([{ ...vtep(2), underlay: '192.168.9.2' }]);
    await fdb.apply();
    expect(kernel.log).toEqual([
      'replace-fdb 66:00:00:00:00:02 dst 192.168.9.2',
      'delete-neighbour 10.65.3.1 dev vxlan.calico',
      'delete-fdb 66:00:00:00:00:03 dst 192.168.0.3',
    ]);
  });

  it('writes nothing on a restart, and puts entries back when the device comes up again', async () => {
    const { kernel, fdb, up } = create();
    up();
    fdb.setVteps([vtep(2)]);
    await fdb.apply();
    const second = create(kernel);
    second.up();
    second.fdb.setVteps([vtep(2)]);
    await second.fdb.apply();
    expect(second.operations).toEqual([]);
    kernel.setDown('vxlan.calico');
    kernel.setUp('vxlan.calico');
    second.up();
    expect((await second.fdb.apply()).operations).toBe(1);
  });

  it('waits for the device when it goes while it writes', async () => {
    const { kernel, fdb, up } = create();
    up();
    fdb.setVteps([vtep(2)]);
    kernel.deleteLink('vxlan.calico');
    expect((await fdb.apply()).failed).toBeUndefined();
    kernel.lists.length = 0;
    await fdb.apply();
    expect(kernel.lists).toEqual([]);
  });

  it('tries again after another failure', async () => {
    const { kernel, fdb, up } = create();
    up();
    fdb.setVteps([vtep(2)]);
    kernel.fail = () => ({ reason: 'other', message: 'Busy' });
    expect((await fdb.apply()).failed).toBe(true);
    kernel.fail = () => null;
    expect((await fdb.apply()).failed).toBeUndefined();
    expect(kernel.fdb.size).toBe(1);
  });
});

describe('TunnelDevicesReconciler', () => {
  const VXLAN: TunnelDevice = {
    kind: 'vxlan',
    name: 'vxlan.calico',
    vni: 4096,
    port: 4789,
    mac: '66:00:00:00:00:01',
    mtu: 1450,
    address: '10.65.1.1',
    underlayAddress: '192.168.0.1',
    parent: 'eth0',
  };

  function create(kernel = new FakeRouteKernel()) {
    const parts = createContext(kernel);
    const clock = new FakeClock();
    const devices = new TunnelDevicesReconciler({ ...parts.context, clock, checksumOffloadFix: null });
    return { ...parts, clock, devices };
  }

  it('creates and configures a vxlan device, and looks after it every ten seconds', async () => {
    const { kernel, devices, clock } = create();
    expect(await devices.apply()).toEqual({ refused: [], operations: 0 });
    devices.setDevice('vxlan.calico', VXLAN);
    expect(await devices.apply()).toEqual({ refused: [], operations: 3, rescheduleAfterMs: 10_000 });
    expect(kernel.log).toEqual([
      'add-link vxlan.calico',
      'add-address 10.65.1.1/32 dev vxlan.calico',
      'set-link-up vxlan.calico',
    ]);
    kernel.lists.length = 0;
    await clock.advance(9_999);
    expect(await devices.apply()).toEqual({ refused: [], operations: 0, rescheduleAfterMs: 1 });
    expect(kernel.lists).toEqual([]);
    kernel.deleteLink('vxlan.calico');
    await clock.advance(1);
    expect((await devices.apply()).operations).toBe(3);
  });

  it('asks for its own devices alone, of a node that may have thousands', async () => {
    const { kernel, devices } = create();
    const links = vi.spyOn(kernel, 'listLinks');
    const addresses = vi.spyOn(kernel, 'listAddresses');
    devices.setDevice('vxlan.calico', VXLAN);
    await devices.apply();
    expect([links.mock.calls, addresses.mock.calls]).toEqual([[[['vxlan.calico']]], [[['vxlan.calico']]]]);
  });

  it('writes nothing on a restart over an unchanged device', async () => {
    const { kernel, devices } = create();
    devices.setDevice('vxlan.calico', VXLAN);
    await devices.apply();
    const second = create(kernel);
    second.devices.setDevice('vxlan.calico', VXLAN);
    await second.devices.apply();
    expect(second.operations).toEqual([]);
  });

  it.each<[string, TunnelDevice, string[]]>([
    ['MTU', { ...VXLAN, mtu: 1400 }, ['set-link-mtu vxlan.calico']],
    [
      'address',
      { ...VXLAN, address: '10.65.1.2' },
      ['delete-address 10.65.1.1/32 dev vxlan.calico', 'add-address 10.65.1.2/32 dev vxlan.calico'],
    ],
    ...(['vni', 'port', 'mac', 'parent', 'underlayAddress'] as const).map((key): [string, TunnelDevice, string[]] => [
      key,
      { ...VXLAN, [key]: key === 'vni' || key === 'port' ? 99 : key === 'mac' ? '66:00:00:00:00:09' : 'other' },
      [
        'delete-link vxlan.calico',
        'add-link vxlan.calico',
        'add-address 10.65.1.1/32 dev vxlan.calico',
        'set-link-up vxlan.calico',
      ],
    ]),
  ])('changes or makes anew for another %s', async (_what, wanted, log) => {
    const { kernel, devices } = create();
    devices.setDevice('vxlan.calico', VXLAN);
    await devices.apply();
    kernel.log.length = 0;
    devices.setDevice('vxlan.calico', wanted);
    await devices.apply();
    expect(kernel.log).toEqual(log);
  });

  it('removes a vxlan device that is not wanted, then cares no more', async () => {
    const { kernel, devices } = create();
    kernel.addLink(fakeLink('vxlan.calico', 8, { kind: 'vxlan' }));
    devices.setDevice('vxlan.calico', null);
    await devices.apply();
    expect([...kernel.links.keys()]).toEqual([]);
    expect((await devices.apply()).rescheduleAfterMs).toBeUndefined();
  });

  it('only empties an ipip device that is not wanted', async () => {
    const { kernel, devices } = create();
    kernel.addLink(fakeLink('tunl0', 8, { kind: 'ipip' }));
    kernel.addresses.push({ interfaceName: 'tunl0', family: 4, address: '10.65.1.9', length: 32, scope: 0 });
    devices.setDevice('tunl0', null);
    await devices.apply();
    expect([...kernel.links.keys()]).toEqual(['tunl0']);
    expect(kernel.addresses).toEqual([]);
  });

  it('adopts the tunl0 that loading the module makes', async () => {
    const { kernel, devices } = create();
    kernel.fail = (operation) => {
      if (operation.op !== 'add-link') return null;
      kernel.addLink(fakeLink('tunl0', 8, { kind: 'ipip', isUp: false, isRunning: false, mtu: 1480 }));
      return { reason: 'exists', message: 'File exists' };
    };
    devices.setDevice('tunl0', { kind: 'ipip', name: 'tunl0', mtu: 1440, address: '10.65.1.9' });
    await devices.apply();
    expect(kernel.links.get('tunl0')).toMatchObject({ mtu: 1440, isUp: true });
  });

  it('goes on without a device that the kernel cannot make, at the usual interval', async () => {
    const { devices, kernel } = create();
    devices.setDevice('tunl0', { kind: 'ipip', name: 'tunl0', mtu: 1480, address: '10.65.1.9' });
    devices.setDevice('vxlan.calico', VXLAN);
    const result = await devices.apply();
    expect(result.failed).toBeUndefined();
    expect(result.rescheduleAfterMs).toBe(10_000);
    expect([...kernel.links.keys()]).toEqual(['vxlan.calico']);
  });

  it('tries again after a second when the kernel cannot be read', async () => {
    const { devices, kernel, clock } = create();
    devices.setDevice('vxlan.calico', VXLAN);
    kernel.listError = new Error('no tool');
    expect((await devices.apply()).rescheduleAfterMs).toBe(1_000);
    await clock.advance(1_000);
    expect((await devices.apply()).operations).toBe(3);
  });
});
