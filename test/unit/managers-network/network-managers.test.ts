import { create, type MessageInitShape } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { DataplaneMessage, Manager } from '../../../src/managers/manager.js';
import { createNetworkManagers } from '../../../src/managers/network/create-network-managers.js';
import { ParentDevice } from '../../../src/managers/network/parent-device.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../../../src/model/config.js';
import type { Family } from '../../../src/model/family.js';
import {
  HostMetadataRemoveSchema,
  HostMetadataUpdateSchema,
  IPPoolType,
  RouteRemoveSchema,
  RouteType,
  RouteUpdateSchema,
  VXLANTunnelEndpointRemoveSchema,
  VXLANTunnelEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { TunnelDevice } from '../../../src/routes/route-table.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { MemoryIpSets } from '../../fakes/ip-sets.js';
import { MemoryRouteTable } from '../../fakes/route-table.js';

class MemoryFdb {
  vteps: readonly { mac: string; tunnelAddress: string; underlay: string }[] = [];
  constructor(readonly family: Family) {}
  setVteps(vteps: MemoryFdb['vteps']): void {
    this.vteps = vteps;
  }
}

class Node {
  readonly v4 = {
    routes: new MemoryRouteTable(4),
    fdb: new MemoryFdb(4),
    ipSets: new MemoryIpSets(4),
  };
  readonly v6 = {
    routes: new MemoryRouteTable(6),
    fdb: new MemoryFdb(6),
    ipSets: new MemoryIpSets(6),
  };
  readonly devices = new Map<string, TunnelDevice | null>();
  readonly managers: readonly Manager[];

  constructor(config: Partial<DataplaneConfig> = {}, environment: Partial<DataplaneEnvironment> = {}) {
    const network = createNetworkManagers({
      config: testConfig({ felixHostname: 'node1', ...config }),
      environment: testEnvironment({ hostMtu: 1500, ...environment }),
      v4: this.v4,
      v6: this.v6,
      devices: { setDevice: (name, device) => void this.devices.set(name, device) },
      log: silentLogger,
    });
    const { first = [], afterDscpV4 = [], beforeV6 = [], last = [] } = network;
    this.managers = [...first, ...afterDscpV4, ...beforeV6, ...last];
  }

  send(...messages: readonly DataplaneMessage[]): this {
    for (const message of messages) for (const manager of this.managers) manager.onMessage(message);
    return this;
  }

  addresses(name: string, ...addresses: string[]): this {
    for (const manager of this.managers) manager.onInterfaceAddresses?.({ name, addresses: new Set(addresses) });
    return this;
  }

  apply(): this {
    for (const manager of this.managers) manager.completeDeferredWork();
    return this;
  }

  snapshot(): unknown {
    return {
      routes: [this.v4.routes.snapshot(), this.v6.routes.snapshot()].map((table) =>
        (table as [string, { dst: string }[]][]).map(([key, routes]) => [
          key,
          [...routes].sort((a, b) => (a.dst < b.dst ? -1 : 1)),
        ]),
      ),
      vteps: [this.v4.fdb, this.v6.fdb].map(({ vteps }) => [...vteps].sort((a, b) => (a.mac < b.mac ? -1 : 1))),
      sets: [...this.v4.ipSets.sets].map(([id, { members }]) => [id, [...members].sort()]),
      devices: [...this.devices],
    };
  }
}

const { VXLAN, IPIP, NO_ENCAP } = IPPoolType;
const { REMOTE_WORKLOAD, REMOTE_TUNNEL, LOCAL_WORKLOAD } = RouteType;

function route(dst: string, over: MessageInitShape<typeof RouteUpdateSchema> = {}): DataplaneMessage {
  const base = { dst, types: REMOTE_WORKLOAD, ipPoolType: VXLAN, dstNodeName: 'node2', dstNodeIp: '192.168.0.2' };
  return { case: 'routeUpdate', value: create(RouteUpdateSchema, { ...base, ...over }) };
}

function routeRemove(dst: string): DataplaneMessage {
  return { case: 'routeRemove', value: create(RouteRemoveSchema, { dst }) };
}

function vtep(n: number, over: MessageInitShape<typeof VXLANTunnelEndpointUpdateSchema> = {}): DataplaneMessage {
  const base = {
    node: `node${n}`,
    mac: `66:00:00:00:00:0${n}`,
    ipv4Addr: `10.65.${n}.1`,
    parentDeviceIp: `192.168.0.${n}`,
  };
  return { case: 'vtepUpdate', value: create(VXLANTunnelEndpointUpdateSchema, { ...base, ...over }) };
}

function vtepRemove(n: number): DataplaneMessage {
  return { case: 'vtepRemove', value: create(VXLANTunnelEndpointRemoveSchema, { node: `node${n}` }) };
}

function host(hostname: string, ipv4Addr: string, ipv6Addr = ''): DataplaneMessage {
  return { case: 'hostMetadataUpdate', value: create(HostMetadataUpdateSchema, { hostname, ipv4Addr, ipv6Addr }) };
}

function hostRemove(hostname: string): DataplaneMessage {
  return { case: 'hostMetadataRemove', value: create(HostMetadataRemoveSchema, { hostname }) };
}

const vxlanNode = (config: Partial<DataplaneConfig> = {}): Node => new Node(config, { vxlanEnabled: true });
const onlink = { type: 'unicast', scope: 'universe', onlink: true, priority: 0 } as const;

describe('VxlanManager', () => {
  it('wants the device once its endpoint and the parent are known', () => {
    const node = vxlanNode().send(vtep(1)).apply();
    expect(node.devices.has('vxlan.calico')).toBe(false);
    node.addresses('eth0', '192.168.0.1', '10.9.9.9').apply();
    expect(node.devices.get('vxlan.calico')).toEqual({
      kind: 'vxlan',
      name: 'vxlan.calico',
      vni: 4096,
      port: 4789,
      mac: '66:00:00:00:00:01',
      mtu: 1450,
      address: '10.65.1.1',
      underlayAddress: '192.168.0.1',
      parent: 'eth0',
    });
  });

  it('routes over the tunnel, straight in the same subnet, and waits for the endpoint', () => {
    const node = vxlanNode().send(vtep(1)).addresses('eth0', '192.168.0.1');
    node.send(route('10.65.2.0/26'), route('10.65.3.0/26', { dstNodeName: 'node3', sameSubnet: true })).apply();
    expect(node.v4.routes.of('vxlan-tunnel', 'vxlan.calico')).toEqual([]);
    expect(node.v4.routes.of('vxlan-same-subnet', 'eth0')).toEqual([
      { ...onlink, dst: '10.65.3.0/26', gateway: '192.168.0.2', protocol: 80 },
    ]);
    node.send(vtep(2)).apply();
    expect(node.v4.routes.of('vxlan-tunnel', 'vxlan.calico')).toEqual([
      { ...onlink, dst: '10.65.2.0/26', gateway: '10.65.2.1', protocol: 3, mtu: 1450 },
    ]);
    node.send(vtepRemove(2)).apply();
    expect(node.v4.routes.of('vxlan-tunnel', 'vxlan.calico')).toEqual([]);
  });

  it('routes remote tunnel addresses straight onto the device, where they need a route at all', () => {
    const node = vxlanNode();
    node.send(
      route('10.65.2.1/32', { types: REMOTE_TUNNEL | REMOTE_WORKLOAD }),
      route('10.65.2.2/32', { types: REMOTE_TUNNEL, borrowed: true }),
      route('10.65.2.3/32', { types: REMOTE_TUNNEL }),
    );
    node.apply();
    const direct = { type: 'unicast', scope: 'link', mtu: 1450, protocol: 3, priority: 0 };
    expect(node.v4.routes.of('vxlan-tunnel', 'vxlan.calico')).toEqual([
      { ...direct, dst: '10.65.2.1/32' },
      { ...direct, dst: '10.65.2.2/32' },
    ]);
  });

  it('makes blackholes of local blocks, not of single addresses, pods or other pools', () => {
    const node = vxlanNode({ deviceRouteProtocol: 99, deviceRouteSourceAddress: '192.168.0.1' });
    node.send(
      route('10.65.1.0/26', { types: LOCAL_WORKLOAD }),
      route('10.65.1.64/26', { types: LOCAL_WORKLOAD, localWorkload: true }),
      route('10.65.1.5/32', { types: LOCAL_WORKLOAD }),
      route('10.66.1.0/26', { types: LOCAL_WORKLOAD, ipPoolType: IPIP }),
      route('fd00:65::/122', { types: LOCAL_WORKLOAD }),
    );
    node.apply();
    const blackhole = { type: 'blackhole', scope: 'universe', protocol: 99, priority: 0, src: '192.168.0.1' };
    expect(node.v4.routes.of('blackhole-vxlan', '*NoOIF*')).toEqual([{ ...blackhole, dst: '10.65.1.0/26' }]);
    node.send(routeRemove('10.65.1.0/26')).apply();
    expect(node.v4.routes.of('blackhole-vxlan', '*NoOIF*')).toEqual([]);
  });

  it('lets in VXLAN from remote nodes and external ones of its family', () => {
    const node = vxlanNode({ externalNodesCIDRList: ['172.16.0.0/24', 'fd00:99::/64'] });
    expect(node.apply().v4.ipSets.members('all-vxlan-net')).toEqual(['172.16.0.0/24']);
    node.send(vtep(1), vtep(2), vtep(3), vtep(4, { mac: 'nonsense' })).apply();
    expect(node.v4.ipSets.members('all-vxlan-net')).toEqual(['172.16.0.0/24', '192.168.0.2', '192.168.0.3']);
    expect(node.v4.fdb.vteps.map(({ mac }) => mac)).toEqual(['66:00:00:00:00:02', '66:00:00:00:00:03']);
  });

  it('moves same-subnet routes when the parent device changes', () => {
    const node = vxlanNode().send(vtep(1)).addresses('eth0', '192.168.0.1');
    node.send(route('10.65.3.0/26', { sameSubnet: true })).apply();
    node.addresses('eth0').addresses('bond0', '192.168.0.1').apply();
    expect(node.v4.routes.of('vxlan-same-subnet', 'eth0')).toEqual([]);
    expect(node.v4.routes.of('vxlan-same-subnet', 'bond0')).toHaveLength(1);
    expect(node.devices.get('vxlan.calico')).toMatchObject({ parent: 'bond0' });
  });

  it('costs what changes: one route update hands one route over', () => {
    const node = vxlanNode().send(vtep(1), vtep(2)).addresses('eth0', '192.168.0.1');
    for (let n = 0; n < 200; n++) node.send(route(`10.66.${n}.0/24`));
    node.apply();
    let calls = 0;
    const update = node.v4.routes.updateRoute.bind(node.v4.routes);
    node.v4.routes.updateRoute = (...args) => {
      calls += 1;
      update(...args);
    };
    node.send(route('10.67.0.0/24')).apply();
    expect(calls).toBe(1);
  });

  it('of IPv6 uses the IPv6 fields', () => {
    const node = new Node({}, { vxlanEnabledV6: true });
    const v6 = (n: number): DataplaneMessage =>
      vtep(n, {
        ipv4Addr: '',
        macV6: `66:00:00:00:06:0${n}`,
        ipv6Addr: `fd00:65:${n}::1`,
        parentDeviceIpv6: `fd00:10::${n}`,
      });
    node.send(v6(1), v6(2), route('fd00:65:2::/122')).addresses('eth0', 'fd00:10::1').apply();
    expect(node.devices.get('vxlan-v6.calico')).toMatchObject({ mtu: 1430, mac: '66:00:00:00:06:01', parent: 'eth0' });
    expect(node.v6.routes.of('vxlan-tunnel', 'vxlan-v6.calico')).toEqual([
      { ...onlink, dst: 'fd00:65:2::/122', gateway: 'fd00:65:2::1', protocol: 3, mtu: 1430 },
    ]);
    expect(node.devices.get('vxlan.calico')).toBeNull();
  });

  it('wants the same whatever the order and batching of messages', () => {
    const messages = [
      vtep(1),
      vtep(2),
      vtep(3),
      route('10.65.2.0/26'),
      route('10.65.3.0/26', { dstNodeName: 'node3', dstNodeIp: '192.168.0.3', sameSubnet: true }),
      route('10.65.1.0/26', { types: LOCAL_WORKLOAD }),
      route('10.65.4.0/26', { dstNodeName: 'node4' }),
    ];
    const reference = vxlanNode()
      .send(...messages)
      .addresses('eth0', '192.168.0.1')
      .apply()
      .snapshot();
    fc.assert(
      fc.property(
        fc.shuffledSubarray(messages, { minLength: messages.length }),
        fc.nat(messages.length),
        fc.nat(messages.length),
        (order, cut, addressAt) => {
          const node = vxlanNode();
          for (const [index, message] of order.entries()) {
            if (index === addressAt) node.addresses('eth0', '192.168.0.1');
            node.send(message);
            if (index >= cut) node.apply();
          }
          if (addressAt >= order.length) node.addresses('eth0', '192.168.0.1');
          expect(node.apply().snapshot()).toEqual(reference);
        },
      ),
    );
  });
});

describe('IpipManager', () => {
  const ipipNode = (config: Partial<DataplaneConfig> = {}): Node =>
    new Node({ ipInIpTunnelAddr: '10.65.1.9', ...config }, { ipipEnabled: true });

  it('wants tunl0 and routes via the nodes', () => {
    const node = ipipNode().send(host('node1', '192.168.0.1'), host('node2', '192.168.0.2'));
    node
      .addresses('eth0', '192.168.0.1')
      .send(route('10.65.2.0/26', { ipPoolType: IPIP }))
      .apply();
    expect(node.devices.get('tunl0')).toEqual({ kind: 'ipip', name: 'tunl0', mtu: 1480, address: '10.65.1.9' });
    expect(node.v4.routes.of('ipip-tunnel', 'tunl0')).toEqual([
      { ...onlink, dst: '10.65.2.0/26', gateway: '192.168.0.2', protocol: 80, mtu: 1480 },
    ]);
    node.send(hostRemove('node2')).apply();
    expect(node.v4.routes.of('ipip-tunnel', 'tunl0')).toEqual([]);
  });

  it('leaves the routes to BIRD where it is told to, but keeps the device', () => {
    const node = ipipNode({ programClusterRoutes: 'Disabled' });
    node.send(
      host('node1', '192.168.0.1/24'),
      host('node2', '192.168.0.2'),
      route('10.65.2.0/26', { ipPoolType: IPIP }),
    );
    node.addresses('eth0', '192.168.0.1').apply();
    expect(node.devices.get('tunl0')).not.toBeNull();
    expect(node.v4.routes.routes.size).toBe(0);
  });

  it('is emptied when disabled, unless that was set explicitly', () => {
    expect(new Node().devices.get('tunl0')).toBeNull();
    expect(new Node({ ipInIpEnabled: false }).devices.has('tunl0')).toBe(false);
  });
});

describe('NoEncapManager', () => {
  it('routes over the parent device of its family', () => {
    const node = new Node({ programClusterRoutes: 'Enabled' }, { noEncapEnabled: true });
    node.send(
      host('node1', '192.168.0.1', 'fd00:10::1'),
      route('10.65.2.5/32', { ipPoolType: NO_ENCAP }),
      route('fd00:65::5/128', { ipPoolType: NO_ENCAP, dstNodeIp: 'fd00:10::2' }),
      route('10.65.2.6/32', { ipPoolType: NO_ENCAP, dstNodeIp: '' }),
      route('10.65.1.0/26', { ipPoolType: NO_ENCAP, types: LOCAL_WORKLOAD }),
    );
    node.apply();
    expect(node.v4.routes.of('no-encap', 'eth0')).toEqual([]);
    node.addresses('eth0', '192.168.0.1', 'fd00:10::1').apply();
    expect(node.v4.routes.of('no-encap', 'eth0')).toEqual([
      { ...onlink, dst: '10.65.2.5/32', gateway: '192.168.0.2', protocol: 80 },
    ]);
    expect(node.v6.routes.of('no-encap', 'eth0')).toEqual([
      { ...onlink, dst: 'fd00:65::5/128', gateway: 'fd00:10::2', protocol: 80 },
    ]);
    expect(node.v4.routes.of('blackhole-no-encap', '*NoOIF*')).toHaveLength(1);
  });

  it.each([
    ['Enabled', true, 2],
    ['EnabledNoEncapOnly', true, 2],
    ['EnabledIPIPOnly', true, 0],
    ['Enabled', false, 0],
  ] as const)('exists with %s and a no-encap pool (%s) %i times', (programClusterRoutes, noEncapEnabled, count) => {
    const node = new Node({ programClusterRoutes }, { noEncapEnabled });
    expect(node.managers.filter(({ name }) => name.startsWith('no-encap'))).toHaveLength(count);
  });
});

describe('ParentDevice', () => {
  it('keeps the last interface when the address is nowhere', () => {
    const parent = new ParentDevice();
    parent.setUnderlay('192.168.0.1');
    expect(parent.onAddresses({ name: 'eth0', addresses: new Set(['192.168.0.1']) })).toBe(true);
    expect(parent.onAddresses({ name: 'eth0', addresses: null })).toBe(false);
    expect(parent.name).toBe('eth0');
  });

  it('does not move while the interface has the address', () => {
    const parent = new ParentDevice();
    parent.setUnderlay('192.168.0.1');
    parent.onAddresses({ name: 'eth1', addresses: new Set(['192.168.0.1']) });
    expect(parent.onAddresses({ name: 'eth0', addresses: new Set(['192.168.0.1']) })).toBe(false);
    expect(parent.name).toBe('eth1');
  });
});
