import { describe, expect, it } from 'vitest';
import { FlowtableDevicesManager } from '../../../src/managers/flowtable-devices-manager.js';
import type { InterfaceState } from '../../../src/model/interface.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { workload, workloadRemove } from '../../fakes/messages.js';

class Node {
  readonly written: string[][] = [];
  readonly manager: FlowtableDevicesManager;

  constructor(family: 4 | 6 = 4, pattern = '') {
    this.manager = new FlowtableDevicesManager({
      family,
      config: testConfig({ nftablesFlowTableDataIfacePattern: pattern, wireguardEnabled: true }),
      environment: testEnvironment({ vxlanEnabled: true, vxlanEnabledV6: true, ipipEnabled: true }),
      flowtable: { setFlowtable: (devices) => void this.written.push([...(devices ?? [])]) },
    });
  }

  set(name: string, state: InterfaceState): this {
    this.manager.onInterfaceState({ name, state, ifindex: 1 });
    return this;
  }

  apply(): string[] | undefined {
    this.manager.completeDeferredWork();
    return this.written.at(-1);
  }
}

describe('FlowtableDevicesManager', () => {
  it('writes an empty flowtable at start', () => {
    expect(new Node().apply()).toEqual([]);
  });

  it('takes interfaces of endpoints that are up, overlays of its family, and what the pattern matches', () => {
    for (const [family, expected] of [
      [4, ['cali1', 'eth0', 'tunl0', 'vxlan.calico', 'wireguard.cali']],
      [6, ['cali1', 'eth0', 'vxlan-v6.calico']],
    ] as const) {
      const node = new Node(family, '^eth');
      node.manager.onMessage(workload('p', 'cali1'));
      node.manager.onMessage(workload('q', 'cali2'));
      node.set('cali2', 'down');
      for (const name of [
        'cali1',
        'cali3',
        'eth0',
        'ens1',
        'tunl0',
        'vxlan.calico',
        'vxlan-v6.calico',
        'wireguard.cali',
      ]) {
        node.set(name, 'up');
      }
      expect(node.apply()).toEqual(expected);
    }
  });

  it('takes a device out when it goes down, and when its endpoint goes, unless another claims it', () => {
    const node = new Node().set('cali1', 'up');
    node.manager.onMessage(workload('p', 'cali1'));
    node.manager.onMessage(workload('q', 'cali1'));
    node.manager.onMessage(workloadRemove('p'));
    expect(node.apply()).toEqual(['cali1']);
    expect(node.set('cali1', 'absent').apply()).toEqual([]);
    node.set('cali1', 'up').manager.onMessage(workload('q', 'cali2'));
    expect(node.apply()).toEqual([]);
  });

  it('writes nothing for what does not concern it', () => {
    const node = new Node();
    node.manager.onMessage(workload('p', 'cali1'));
    node.set('cali1', 'up').apply();
    node.manager.onMessage(workload('p', 'cali1', { profileIds: ['x'] }));
    node.set('ens1', 'up').set('cali1', 'up').apply();
    expect(node.written).toEqual([['cali1']]);
  });
});
