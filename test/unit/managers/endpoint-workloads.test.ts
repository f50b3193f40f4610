import { describe, expect, it } from 'vitest';
import { create } from '@bufbuild/protobuf';
import { SharedWorkloadChains } from '../../../src/managers/shared-workload-chains.js';
import { WorkloadEndpointSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';
import { bgpConfig, policy, profile, tier, workload, workloadId, workloadRemove } from '../../fakes/messages.js';

const nets = { ipv4Nets: ['10.65.0.2/32'], ipv6Nets: ['fd00:65::2/128'], mac: 'ee:ee:ee:ee:ee:01' };

function filterChains(node: ManagedNode, pattern: RegExp): string[] {
  return [...node.v4.tables.filter.chains.keys()].filter((name) => pattern.test(name)).sort();
}

function chainText(node: ManagedNode, name: string): string {
  return JSON.stringify(node.v4.tables.filter.chains.get(name)?.rules);
}

describe('EndpointManager, workload chains', () => {
  it('gives an endpoint its chains and dispatch in both families, and takes them away with it', () => {
    const empty = new ManagedNode().apply();
    const node = new ManagedNode()
      .send(profile('open'), workload('p', 'cali1', { ...nets, profileIds: ['open'] }))
      .apply();
    for (const family of [4, 6] as const) {
      const programmed = [...node.sinks(family).tables.filter.programmed().keys()];
      expect(programmed).toEqual(expect.arrayContaining(['cali-tw-cali1', 'cali-fw-cali1', 'cali-pri-open']));
    }
    node.send(workloadRemove('p')).apply();
    expect(filterChains(node, /cali1$/)).toEqual([]);
    expect(node.v4.tables.filter.chains.get('cali-from-wl-dispatch')).toEqual(
      empty.v4.tables.filter.chains.get('cali-from-wl-dispatch'),
    );
  });

  it('hands both families the very same chains, but not in IPVS mode, where each has marks of its own', () => {
    for (const ipvs of [false, true]) {
      const node = new ManagedNode({ environment: testEnvironment({ ipvs }) })
        .send(profile('open'), workload('p', 'cali1', { ...nets, profileIds: ['open'] }))
        .apply();
      for (const name of ['cali-tw-cali1', 'cali-fw-cali1']) {
        const [v4, v6] = ([4, 6] as const).map((family) => node.sinks(family).tables.filter.chains.get(name));
        expect(v4).toEqual(v6);
        expect(v4 === v6).toBe(!ipvs);
      }
    }
  });

  it('renders an endpoint in each family for itself where policies are grouped differently', () => {
    const shared = new SharedWorkloadChains();
    const { renderer: v4 } = new ManagedNode().v4;
    const { renderer: v6 } = new ManagedNode().v6;
    const endpoint = create(WorkloadEndpointSchema);
    const input = { interfaceName: 'cali1', adminUp: true, tiers: [], profileIds: ['a'] };
    const first = shared.render(v4, endpoint, input);
    expect(shared.render(v6, endpoint, { ...input, profileIds: ['b'] })).not.toEqual(first);
    const again = shared.render(v4, endpoint, input);
    expect(shared.render(v6, endpoint, { ...input })).toBe(again);
    expect(shared.render(v6, endpoint, input)).not.toBe(again);
  });

  it('dispatches by verdict maps in nftables mode', () => {
    const node = new ManagedNode({ environment: testEnvironment({ backend: 'nftables' }) })
      .send(workload('p', 'cali1'))
      .apply();
    const map = (name: string) => [...(node.v4.tables.filter.maps.get(name)?.elements ?? [])];
    expect(map('cali-from-wl-dispatch')).toEqual([['cali1', 'cali-fw-cali1']]);
    expect(map('cali-to-wl-dispatch')).toEqual([['cali1', 'cali-tw-cali1']]);
    node.send(workloadRemove('p')).apply();
    expect(map('cali-from-wl-dispatch')).toEqual([]);
  });

  it('makes mark chains in IPVS mode, and the mark dispatch follows the names', () => {
    const node = new ManagedNode({ environment: testEnvironment({ ipvs: true }) }).send(workload('p', 'cali1')).apply();
    expect(filterChains(node, /^cali-sm-/)).toEqual(['cali-sm-cali1']);
    expect(chainText(node, 'cali-set-endpoint-mark')).toContain('cali-sm-cali1');
    node.send(workloadRemove('p')).apply();
    expect(chainText(node, 'cali-set-endpoint-mark')).not.toContain('cali-sm-cali1');
  });

  it('opens an endpoint that was closed for lack of a mark once one is free, in the same apply', () => {
    // Three bits: six marks.
    const config = testConfig({ markMask: { iptables: 0xff0000, nftables: 0xff0000 } });
    const node = new ManagedNode({ config, environment: testEnvironment({ ipvs: true }) });
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    for (const name of names) node.setInterface(`cali${name}`, 'up').send(workload(name, `cali${name}`));
    node.apply();
    const isClosed = (name: string): boolean =>
      node.v4.tables.filter.chains.get(`cali-sm-cali${name}`)?.refused !== undefined;
    const status = (name: string) => node.status.statuses.get(`4 k8s/${name}/eth0`);
    expect(names.filter(isClosed)).toEqual(['g']);
    expect(status('g')).toBe('error');
    node.send(workload('h', 'calih')).setInterface('calih', 'up').send(workloadRemove('b')).apply();
    expect([...names, 'h'].filter(isClosed)).toEqual(['h']);
    expect(status('g')).toBe('up');
    expect(chainText(node, 'cali-from-endpoint-mark')).toContain('cali-fw-calig');
    expect(chainText(node, 'cali-from-endpoint-mark')).not.toContain('cali-fw-calih');
    // One that goes and one that comes in one batch.
    node.send(workloadRemove('c')).apply();
    expect(names.filter(isClosed)).toEqual([]);
    expect(status('h')).toBe('up');
  });

  it('closes an endpoint that is administratively down and withdraws its routes, but keeps its ARP chain', () => {
    const node = new ManagedNode().send(workload('p', 'cali1', { ...nets, state: 'inactive' })).apply();
    expect(node.v4.tables.filter.chains.get('cali-tw-cali1')?.rules).toHaveLength(1);
    expect(node.v4.routes.routes.size).toBe(0);
    expect(node.arpTable.chains.has('cali-arp-cali1')).toBe(true);
  });

  it('closes an endpoint with a packet rate out of range: status error', () => {
    const node = new ManagedNode().setInterface('cali1', 'up');
    node.send(workload('p', 'cali1', { qosControls: { IngressPacketRate: 10_001n, IngressPacketBurst: 1n } })).apply();
    expect(node.v4.tables.filter.chains.get('cali-tw-cali1')?.rules.at(-1)?.action?.kind).toBe('drop');
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('error');
  });

  it.each(['cali1;reboot', 'cali 1', 'cali12345678901b', '', 'cali"1'])(
    'programs nothing for interface name %j: status error and a clear log line',
    (name) => {
      const node = new ManagedNode().send(workload('p', 'cali0')).apply();
      const before = JSON.stringify(filterChains(node, /./));
      node.send(workload('bad', name, nets)).apply();
      expect(JSON.stringify(filterChains(node, /./))).toBe(before);
      expect([node.v4.routes.routes.size, node.sysctls.requests.size]).toEqual([0, 0]);
      expect(node.status.statuses.get('4 k8s/bad/eth0')).toBe('error');
      expect(node.logLines.some(({ message }) => message.includes('interface name'))).toBe(true);
      node
        .send(workload('bad', 'cali1', nets))
        .setInterface('cali1', 'up')
        .apply();
      expect(node.status.statuses.get('4 k8s/bad/eth0')).toBe('up');
    },
  );
});

describe('EndpointManager, two endpoints on one interface', () => {
  const low = workload('a', 'cali1', { ipv4Nets: ['10.0.0.1/32'] });
  const high = workload('b', 'cali1', { ipv4Nets: ['10.0.0.2/32'] });
  const routed = (node: ManagedNode) => node.v4.routes.of('local-workload', 'cali1').map(({ dst }) => dst);

  it.each([
    ['low first', [low, high]],
    ['high first', [high, low]],
  ])('%s: the lower id wins, and only it has a status', (_order, messages) => {
    const node = new ManagedNode();
    for (const message of messages) node.send(message).apply();
    expect(routed(node)).toEqual(['10.0.0.1/32']);
    expect([...node.status.statuses.keys()]).toEqual(['4 k8s/a/eth0', '6 k8s/a/eth0']);
  });

  it('the shadowed one takes over when the winner goes, or moves away', () => {
    for (const message of [workloadRemove('a'), workload('a', 'cali2')]) {
      const node = new ManagedNode().send(low, high).apply().send(message).apply();
      expect(routed(node)).toEqual(['10.0.0.2/32']);
      expect(node.status.statuses.has('4 k8s/b/eth0')).toBe(true);
    }
  });

  it('a shadowed endpoint that goes leaves the winner alone', () => {
    const node = new ManagedNode().send(low, high).apply().clearCalls().send(workloadRemove('b')).apply();
    expect([routed(node), node.calls()]).toEqual([['10.0.0.1/32'], []]);
  });

  it('two endpoints swap interfaces in one batch', () => {
    const node = new ManagedNode().send(low, workload('b', 'cali2', { ipv4Nets: ['10.0.0.2/32'] })).apply();
    node.send(workload('a', 'cali2', { ipv4Nets: ['10.0.0.1/32'] }), high).apply();
    expect(routed(node)).toEqual(['10.0.0.2/32']);
    expect(node.v4.routes.of('local-workload', 'cali2').map(({ dst }) => dst)).toEqual(['10.0.0.1/32']);
  });
});

describe('EndpointManager, a renamed interface', () => {
  it('leaves nothing under the old name', () => {
    const fields = {
      ...nets,
      allowSpoofedSourcePrefixes: ['8.8.8.0/24'],
      localBgpPeer: { bgpPeerName: 'peer' },
      qosControls: { IngressBandwidth: 1000n },
    };
    const bgp = bgpConfig({ localWorkloadPeeringIpV4: '169.254.9.9' });
    const moved = new ManagedNode().send(bgp, workload('p', 'cali1', fields)).apply();
    moved.send(workload('p', 'cali2', fields)).apply();
    const fresh = new ManagedNode().send(bgp, workload('p', 'cali2', fields)).apply();
    expect(moved.snapshot()).toEqual(fresh.snapshot());
  });
});

describe('EndpointManager, routes', () => {
  const route = (node: ManagedNode, family: 4 | 6 = 4) => node.sinks(family).routes.of('local-workload', 'cali1');

  it('has a link-scope route with the neighbour for IPv4, and one without for IPv6', () => {
    const node = new ManagedNode().send(workload('p', 'cali1', nets)).apply();
    const common = { type: 'unicast', scope: 'link', protocol: 3, priority: 1024 };
    expect(route(node)).toEqual([{ dst: '10.65.0.2/32', ...common, neighbourMac: 'ee:ee:ee:ee:ee:01' }]);
    expect(route(node, 6)).toEqual([{ dst: 'fd00:65::2/128', ...common }]);
  });

  it('takes protocol, source and priority from the configuration', () => {
    const config = testConfig({
      deviceRouteProtocol: 80,
      deviceRouteSourceAddress: '10.0.0.9',
      ipv4NormalRoutePriority: 7,
    });
    const node = new ManagedNode({ config }).send(workload('p', 'cali1', { ipv4Nets: ['10.65.0.9/24'] })).apply();
    expect(route(node)).toEqual([
      { dst: '10.65.0.0/24', type: 'unicast', scope: 'link', protocol: 80, priority: 7, src: '10.0.0.9' },
    ]);
  });

  it('routes floating addresses when the feature is on, and for OpenStack in any case', () => {
    const fields = { ...nets, ipv4Nat: [{ extIp: '172.17.1.3', intIp: '10.65.0.2' }] };
    const off = new ManagedNode().send(workload('p', 'cali1', fields)).apply();
    const on = new ManagedNode({ config: testConfig({ floatingIPs: 'Enabled' }) })
      .send(workload('p', 'cali1', fields))
      .apply();
    const openstack = new ManagedNode().send(workload(workloadId('p', 'openstack'), 'cali1', fields)).apply();
    expect([off, on, openstack].map((node) => route(node).map(({ dst }) => dst))).toEqual([
      ['10.65.0.2/32'],
      ['10.65.0.2/32', '172.17.1.3/32'],
      ['10.65.0.2/32', '172.17.1.3/32'],
    ]);
  });

  it('leaves an address out that is none, with status error, and keeps the others', () => {
    const node = new ManagedNode().setInterface('cali1', 'up');
    node.send(workload('p', 'cali1', { ipv4Nets: ['10.65.0.2/32', '10.65.0.300', 'fd00::1/128'] })).apply();
    expect(route(node).map(({ dst }) => dst)).toEqual(['10.65.0.2/32']);
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('error');
    expect(node.logLines.filter(({ message }) => message.includes('is not an IPv4 address'))).toHaveLength(2);
  });

  it('has no neighbour for a MAC that is none: a log line, no error', () => {
    const node = new ManagedNode()
      .setInterface('cali1', 'up')
      .send(workload('p', 'cali1', { ...nets, mac: 'nonsense' }))
      .apply();
    expect(route(node)[0]).not.toHaveProperty('neighbourMac');
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('up');
    expect(node.logLines.some(({ message }) => message.includes('MAC address'))).toBe(true);
  });

  it.each([
    ['base', [1024]],
    ['target', []],
    ['live', [512]],
    ['time-wait', [512]],
  ] as const)('in live-migration state %s has routes with priority %j', (state, priorities) => {
    const node = new ManagedNode().send(workload('p', 'cali1', nets)).apply();
    for (const manager of node.endpointManagers) manager.setLiveMigrationState(workloadId('p'), state);
    node.apply();
    for (const family of [4, 6] as const)
      expect(route(node, family).map(({ priority }) => priority)).toEqual(priorities);
    for (const manager of node.endpointManagers) manager.setLiveMigrationState(workloadId('p'), 'base');
    expect(route(node.apply()).map(({ priority }) => priority)).toEqual([1024]);
  });

  it('the live-migration state may be set before the endpoint arrives, and goes with it', () => {
    const node = new ManagedNode();
    for (const manager of node.endpointManagers) manager.setLiveMigrationState(workloadId('p'), 'target');
    expect(route(node.send(workload('p', 'cali1', nets)).apply())).toEqual([]);
    node
      .send(workloadRemove('p'))
      .apply()
      .send(workload('p', 'cali1', nets))
      .apply();
    expect(route(node)).toHaveLength(1);
  });
});

describe('EndpointManager, sysctls', () => {
  const all = {
    'net/ipv6/conf/cali1/accept_ra': '0',
    'net/ipv4/conf/cali1/route_localnet': '1',
    'net/ipv4/neigh/cali1/proxy_delay': '0',
    'net/ipv4/conf/cali1/proxy_arp': '1',
    'net/ipv4/conf/cali1/forwarding': '1',
    'net/ipv4/conf/cali1/rp_filter': '2',
    'net/ipv6/conf/cali1/proxy_ndp': '1',
    'net/ipv6/conf/cali1/forwarding': '1',
  };
  const start = () => new ManagedNode({ environment: testEnvironment({ defaultRpFilter: '2' }) });

  it('asks for nothing while the interface is not up', () => {
    expect(start().send(workload('p', 'cali1')).setInterface('cali1', 'down').apply().sysctls.requests.size).toBe(0);
  });

  it('configures every workload interface that is up, with or without endpoint, and no other', () => {
    const node = start().setInterface('cali1', 'up').setInterface('eth0', 'up').apply();
    expect(node.sysctls.wanted('cali1')).toEqual(all);
    expect(node.sysctls.wanted('eth0')).toEqual({});
  });

  it('sets rp_filter to 0 while the endpoint may spoof, and back', () => {
    const node = start()
      .setInterface('cali1', 'up')
      .send(workload('p', 'cali1', { allowSpoofedSourcePrefixes: ['8.8.8.0/24'] }));
    expect(node.apply().sysctls.wanted('cali1')).toEqual({ ...all, 'net/ipv4/conf/cali1/rp_filter': '0' });
    expect(node.send(workload('p', 'cali1')).apply().sysctls.wanted('cali1')).toEqual(all);
    node
      .send(workload('p', 'cali1', { allowSpoofedSourcePrefixes: ['8.8.8.0/24'] }))
      .apply()
      .send(workloadRemove('p'));
    expect(node.apply().sysctls.wanted('cali1')).toEqual(all);
  });

  it('asks again each time the interface comes up, and stops when it goes', () => {
    const node = start().setInterface('cali1', 'up').clearCalls().setInterface('cali1', 'up');
    expect(node.sysctls.requestCount).toBe(2);
    expect(node.setInterface('cali1', 'absent').sysctls.requests.size).toBe(0);
  });
});

describe('EndpointManager, rpf-skip chain', () => {
  const prefixes = (node: ManagedNode, family: 4 | 6 = 4) =>
    node
      .sinks(family)
      .tables.raw.chains.get('cali-rpf-skip')
      ?.rules.map(({ match }) => {
        const [from, net] = match;
        return `${from?.kind === 'in-interface' ? from.name : '?'} ${net?.kind === 'source-net' ? net.net : '?'}`;
      });
  const spoofing = (id: string, name: string, ...allowSpoofedSourcePrefixes: string[]) =>
    workload(id, name, { allowSpoofedSourcePrefixes });

  it('is there from the start, empty', () => {
    const node = new ManagedNode().apply();
    expect([prefixes(node), prefixes(node, 6)]).toEqual([[], []]);
  });

  it('lists prefixes of its family in list order, interfaces sorted (differences row 8)', () => {
    const node = new ManagedNode().send(
      spoofing('b', 'cali2', '9.9.9.9/32', '8.8.8.0/24', 'fd00::/64'),
      spoofing('a', 'cali1', '7.7.7.7/32'),
    );
    node.apply();
    expect(prefixes(node)).toEqual(['cali1 7.7.7.7/32', 'cali2 9.9.9.9/32', 'cali2 8.8.8.0/24']);
    expect(prefixes(node, 6)).toEqual(['cali2 fd00::/64']);
  });

  it('follows a change from one list to another (differences row 7)', () => {
    const node = new ManagedNode().send(spoofing('a', 'cali1', '8.8.8.0/24')).apply();
    expect(prefixes(node.send(spoofing('a', 'cali1', '9.9.9.0/24')).apply())).toEqual(['cali1 9.9.9.0/24']);
    expect(prefixes(node.send(spoofing('a', 'cali1')).apply())).toEqual([]);
  });

  it('follows a rename', () => {
    const node = new ManagedNode().send(spoofing('a', 'cali1', '8.8.8.0/24')).apply();
    expect(prefixes(node.send(spoofing('a', 'cali2', '8.8.8.0/24')).apply())).toEqual(['cali2 8.8.8.0/24']);
  });

  it('leaves a prefix out that is none', () => {
    const node = new ManagedNode().send(spoofing('a', 'cali1', '8.8.8.0/33', '9.9.9.9/32')).apply();
    expect(prefixes(node)).toEqual(['cali1 9.9.9.9/32']);
  });
});

describe('EndpointManager, ARP table', () => {
  it('has a chain and a map element per interface with IPv4 addresses', () => {
    const node = new ManagedNode()
      .send(workload('a', 'cali1', nets), workload('b', 'cali2', { ipv6Nets: ['fd00::1/128'] }))
      .apply();
    expect([...(node.arpTable.maps.get('cali-arp-dispatch')?.elements ?? [])]).toEqual([['cali1', 'cali-arp-cali1']]);
    expect([...node.arpTable.programmed().keys()].sort()).toEqual(['cali-arp-cali1', 'cali-arp-dispatch']);
    node.send(workloadRemove('a')).apply();
    expect([...node.arpTable.programmed().keys()]).toEqual(['cali-arp-dispatch']);
  });

  it('touches the map only when interfaces come or go', () => {
    const node = new ManagedNode()
      .send(workload('a', 'cali1', nets))
      .apply()
      .clearCalls();
    node.send(workload('a', 'cali1', { ...nets, ipv4Nets: ['10.65.0.7/32'] })).apply();
    expect(node.calls().filter((call) => call.startsWith('arp'))).toEqual(['arp filter set cali-arp-cali1']);
  });
});

describe('EndpointManager, local BGP peers', () => {
  const peer = workload('p', 'cali1', { localBgpPeer: { bgpPeerName: 'peer' } });
  const bgp = bgpConfig({ localWorkloadPeeringIpV4: '169.254.9.9', localWorkloadPeeringIpV6: 'fd00::9' });

  it('gives the interface the peering address of each family, and takes it away', () => {
    const node = new ManagedNode().setInterface('cali1', 'up').send(bgp, peer).apply();
    expect([node.v4.linkAddresses.addresses.get('cali1'), node.v6.linkAddresses.addresses.get('cali1')]).toEqual([
      '169.254.9.9/32',
      'fd00::9/128',
    ]);
    expect([...node.v4.bgpPeers.names]).toEqual(['cali1']);
    node.send(workload('p', 'cali1')).apply();
    expect([node.v4.linkAddresses.addresses.size, node.v4.bgpPeers.names.size]).toEqual([0, 0]);
  });

  it('is down until the peering address is known', () => {
    const node = new ManagedNode().setInterface('cali1', 'up').send(peer).apply();
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('down');
    expect(node.send(bgp).apply().status.statuses.get('4 k8s/p/eth0')).toBe('up');
  });

  it('follows a change of the peering address, and refuses one that is none', () => {
    const node = new ManagedNode().send(bgp, peer).apply();
    node.send(bgpConfig({ localWorkloadPeeringIpV4: '169.254.9.8' })).apply();
    expect(node.v4.linkAddresses.addresses.get('cali1')).toBe('169.254.9.8/32');
    node.send(bgpConfig({ localWorkloadPeeringIpV4: 'nonsense' })).apply();
    expect(node.v4.linkAddresses.addresses.size).toBe(0);
    expect(node.logLines.some(({ message }) => message.includes('peering address is not usable'))).toBe(true);
  });
});

describe('EndpointManager, bandwidth', () => {
  it('hands limits over once, not per family (differences row 11), and takes them away', () => {
    const qosControls = { IngressBandwidth: 1000n, IngressBurst: 10n, EgressPeakrate: 5n };
    const node = new ManagedNode().send(workload('p', 'cali1', { qosControls })).apply();
    expect(node.bandwidth.limits.get('cali1')).toEqual({
      ingress: { rate: 1000n, burst: 10n, peakRate: 0n, minBurst: 0n },
      egress: null,
    });
    expect(node.send(workload('p', 'cali1')).apply().bandwidth.limits.size).toBe(0);
    node
      .send(workload('p', 'cali1', { qosControls }))
      .apply()
      .send(workloadRemove('p'))
      .apply();
    expect(node.bandwidth.limits.size).toBe(0);
  });
});

describe('EndpointManager, policy groups', () => {
  const groups = (node: ManagedNode) => filterChains(node, /^cali-g[io]-/);
  const pods = [
    workload('p', 'cali1', { tiers: [tier(['gnp/a', 'gnp/b'])] }),
    workload('q', 'cali2', { tiers: [tier(['gnp/a', 'gnp/b'])] }),
  ];

  it('shares the chain of a group in filter, mangle and raw until its last user goes', () => {
    const node = new ManagedNode().send(policy('gnp/a'), policy('gnp/b'), ...pods).apply();
    expect(groups(node)).toHaveLength(2);
    for (const table of ['mangle', 'raw'] as const) {
      expect([...node.v4.tables[table].chains.keys()].filter((name) => /^cali-g[io]-/.test(name))).toHaveLength(2);
    }
    node.clearCalls().send(workloadRemove('p')).apply();
    expect(node.calls().filter((call) => call.includes('cali-g'))).toEqual([]);
    expect(groups(node.send(workloadRemove('q')).apply())).toEqual([]);
  });

  it('inlines a group with one policy that is not staged', () => {
    const node = new ManagedNode().send(
      policy('gnp/a'),
      policy('sgnp/s'),
      workload('p', 'cali1', { tiers: [tier(['gnp/a', 'sgnp/s'])] }),
    );
    expect(groups(node.apply())).toEqual([]);
    expect(chainText(node, 'cali-tw-cali1')).toContain('cali-pi-gnp/a');
  });

  it('regroups the users of a policy whose selector changed, without an endpoint update', () => {
    const node = new ManagedNode().send(policy('gnp/a'), policy('gnp/b'), ...pods).apply();
    const old = groups(node);
    node.send(policy('gnp/b', { originalSelector: 'other' })).apply();
    expect(groups(node)).toEqual([]);
    node.send(policy('gnp/a', { originalSelector: 'other' })).apply();
    expect(groups(node)).toHaveLength(2);
    expect(groups(node)).not.toEqual(old);
  });

  it('splits where selectors differ: only neighbours form a group', () => {
    const node = new ManagedNode().send(
      policy('gnp/a'),
      policy('gnp/b', { originalSelector: 'other' }),
      policy('gnp/c'),
      workload('p', 'cali1', { tiers: [tier(['gnp/a', 'gnp/b', 'gnp/c'])] }),
    );
    expect(groups(node.apply())).toEqual([]);
  });
});
