import { describe, expect, it } from 'vitest';
import { canonicalMac, withoutLength } from '../../../src/managers/addresses.js';
import { bandwidthLimits } from '../../../src/managers/bandwidth-limits.js';
import { interfaceNameProblem } from '../../../src/managers/interface-name.js';
import { OWN_SET_IDS } from '../../../src/model/ip-set.js';
import { IPSetUpdate_IPSetType } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';
import {
  bgpConfig,
  host,
  hostMetadata,
  hostMetadataRemove,
  ipSet,
  ipSetDelta,
  ipSetRemove,
  pool,
  poolRemove,
  workload,
  workloadId,
  workloadRemove,
} from '../../fakes/messages.js';

describe('interfaceNameProblem', () => {
  it.each(['cali1234567890a', 'eth0', 'eth0.100', 'br-lan', 'wg_v6', 'A', '0x'])('%j is fine', (name) => {
    expect(interfaceNameProblem(name)).toBeNull();
  });

  it.each([
    '',
    'cali12345678901b',
    'calié1234567890',
    '.',
    '..',
    '-eth0',
    '!eth0',
    'eth+',
    'eth*',
    'a/b',
    'a b',
    'a"b',
    "a'b",
    'a\\b',
    'a\nb',
    'a;b',
    'a$b',
    'a,b',
    'a:b',
    'a{b',
    'a@b',
    'a%b',
    'any-interface-at-all',
  ])('%j is refused', (name) => {
    expect(interfaceNameProblem(name)).not.toBeNull();
  });
});

describe('canonicalMac', () => {
  it.each([
    ['ee:ee:ee:EE:ee:01', 'ee:ee:ee:ee:ee:01'],
    ['ee-ee-ee-ee-ee-01', 'ee:ee:ee:ee:ee:01'],
    ['eeee.eeee.ee01', 'ee:ee:ee:ee:ee:01'],
    ['ee:ee-ee:ee:ee:01', null],
    ['ee:ee:ee:ee:ee', null],
    ['ee:ee:ee:ee:ee:01:02', null],
    ['nonsense', null],
    ['', null],
  ])('%j gives %j', (text, mac) => {
    expect(canonicalMac(text)).toBe(mac);
  });
});

describe('withoutLength', () => {
  it('keeps what stands before the slash, as written', () => {
    expect([withoutLength('FD00::1/128'), withoutLength('10.0.0.1')]).toEqual(['FD00::1', '10.0.0.1']);
  });
});

describe('bandwidthLimits', () => {
  it('gives null for a direction without a rate', () => {
    expect(bandwidthLimits(undefined)).toEqual({ ingress: null, egress: null });
  });
});

describe('IpSetsManager', () => {
  it('gives every set to both families, which keep their own members', () => {
    const node = new ManagedNode().send(ipSet('s:a', ['10.0.0.0/8', 'fd00::/8']));
    expect([node.v4.ipSets.members('s:a'), node.v6.ipSets.members('s:a')]).toEqual([['10.0.0.0/8'], ['fd00::/8']]);
  });

  it.each([
    [IPSetUpdate_IPSetType.IP, 'hash:ip'],
    [IPSetUpdate_IPSetType.NET, 'hash:net'],
    [IPSetUpdate_IPSetType.IP_AND_PORT, 'hash:ip,port'],
  ] as const)('type %i is %s, with MaxIpsetSize', (type, expected) => {
    const node = new ManagedNode({ config: testConfig({ maxIpsetSize: 77 }) }).send(ipSet('s:a', [], type));
    expect(node.v4.ipSets.sets.get('s:a')?.spec).toEqual({ id: 's:a', type: expected, maxSize: 77 });
  });

  it('applies deltas, and removes sets', () => {
    const node = new ManagedNode().send(
      ipSet('s:a', ['10.0.0.1', '10.0.0.2']),
      ipSetDelta('s:a', ['10.0.0.3'], ['10.0.0.1']),
    );
    expect(node.v4.ipSets.members('s:a')).toEqual(['10.0.0.2', '10.0.0.3']);
    expect(node.send(ipSetRemove('s:a')).v4.ipSets.hasSet('s:a')).toBe(false);
  });
});

describe('HostIpManager', () => {
  it('has no set before the first address event', () => {
    expect(new ManagedNode().apply().v4.ipSets.hasSet(OWN_SET_IDS.thisHost)).toBe(false);
  });

  it('keeps all addresses of host interfaces, and none of workload interfaces', () => {
    const node = new ManagedNode()
      .setInterface('lo', 'up', ['127.0.0.0', '127.0.0.1', '::1'])
      .setInterface('eth0', 'up', ['192.168.0.1'])
      .setInterface('cali1', 'up', ['169.254.1.1'])
      .apply();
    expect(node.v4.ipSets.members(OWN_SET_IDS.thisHost)).toEqual(['127.0.0.0', '127.0.0.1', '192.168.0.1']);
    expect(node.v6.ipSets.members(OWN_SET_IDS.thisHost)).toEqual(['::1']);
  });

  it('forgets the addresses of an interface that is gone, and keeps those that another one has too', () => {
    const node = new ManagedNode()
      .setInterface('eth0', 'up', ['10.0.0.1', '10.0.0.2'])
      .setInterface('eth1', 'up', ['10.0.0.1']);
    node.apply().setInterface('eth0', 'absent', null).apply();
    expect(node.v4.ipSets.members(OWN_SET_IDS.thisHost)).toEqual(['10.0.0.1']);
  });

  it('writes the set once a batch', () => {
    const node = new ManagedNode().apply().clearCalls();
    node.setInterface('eth0', 'up', ['10.0.0.1']).setInterface('eth1', 'up', ['10.0.0.2']).apply().apply();
    expect(node.v4.ipSets.replaced).toEqual([OWN_SET_IDS.thisHost]);
  });
});

describe('MasqueradeManager', () => {
  const chain = (node: ManagedNode, family: 4 | 6 = 4) =>
    node.sinks(family).tables.nat.chains.get('cali-nat-outgoing')?.rules.length;

  it('starts with empty sets and an empty chain', () => {
    const node = new ManagedNode().apply();
    expect(node.v4.ipSets.members(OWN_SET_IDS.networkPools)).toEqual([]);
    expect(node.v4.ipSets.members(OWN_SET_IDS.masqueradePools)).toEqual([]);
    expect(chain(node)).toBe(0);
  });

  it('puts pools into the sets of their family, and fills the chain when one masquerades', () => {
    const node = new ManagedNode().send(
      pool('a', { cidr: '10.65.0.0/16', masquerade: true }),
      pool('b', { cidr: '10.66.0.0/16' }),
      pool('c', { cidr: 'fd00::/64' }),
    );
    node.apply();
    expect(node.v4.ipSets.members(OWN_SET_IDS.networkPools)).toEqual(['10.65.0.0/16', '10.66.0.0/16']);
    expect(node.v4.ipSets.members(OWN_SET_IDS.masqueradePools)).toEqual(['10.65.0.0/16']);
    expect(node.v6.ipSets.members(OWN_SET_IDS.networkPools)).toEqual(['fd00::/64']);
    expect([chain(node), chain(node, 6)]).toEqual([1, 0]);
  });

  it('leaves pools for load balancers only out of network-ip-pools', () => {
    const node = new ManagedNode().send(
      pool('a', { cidr: '10.65.0.0/16', allowedUses: ['LoadBalancer'] }),
      pool('b', { cidr: '10.66.0.0/16', allowedUses: ['LoadBalancer', 'Workload'] }),
    );
    expect(node.apply().v4.ipSets.members(OWN_SET_IDS.networkPools)).toEqual(['10.66.0.0/16']);
  });

  it('follows a pool that changes its CIDR or family, and one that goes', () => {
    const node = new ManagedNode().send(pool('a', { cidr: '10.65.0.0/16', masquerade: true })).apply();
    node.send(pool('a', { cidr: 'fd00::/64', masquerade: true })).apply();
    expect(node.v4.ipSets.members(OWN_SET_IDS.networkPools)).toEqual([]);
    expect([chain(node), chain(node, 6)]).toEqual([0, 1]);
    node.send(poolRemove('a')).apply();
    expect(node.v6.ipSets.members(OWN_SET_IDS.masqueradePools)).toEqual([]);
    expect(chain(node, 6)).toBe(0);
  });

  it('keeps a CIDR that two pools have until both are gone', () => {
    const node = new ManagedNode()
      .send(pool('a', { cidr: '10.65.0.0/16' }), pool('b', { cidr: '10.65.0.0/16' }))
      .apply();
    expect(node.send(poolRemove('a')).apply().v4.ipSets.members(OWN_SET_IDS.networkPools)).toEqual(['10.65.0.0/16']);
  });

  it('does not touch the chain when only CIDRs change', () => {
    const node = new ManagedNode()
      .send(pool('a', { cidr: '10.65.0.0/16', masquerade: true }))
      .apply()
      .clearCalls();
    node.send(pool('a', { cidr: '10.66.0.0/16', masquerade: true })).apply();
    expect(node.calls()).toEqual([]);
  });
});

describe('HostsIpSetManager', () => {
  const withIpip = () =>
    new ManagedNode({
      environment: testEnvironment({ ipipEnabled: true }),
      config: testConfig({ externalNodesCIDRList: ['172.16.0.0/24'] }),
    });

  it('exists for v4 with IPIP, for both families with host exclusions from NAT, else not at all', () => {
    const exclusions = new ManagedNode({ config: testConfig({ natOutgoingExclusions: 'IPPoolsAndHostIPs' }) });
    const has = (node: ManagedNode) =>
      [4 as const, 6 as const].map((family) => node.sinks(family).ipSets.hasSet('all-hosts-net'));
    expect([has(new ManagedNode().apply()), has(withIpip().apply()), has(exclusions.apply())]).toEqual([
      [false, false],
      [true, false],
      [true, true],
    ]);
  });

  it('holds every node without mask, and the external nodes', () => {
    const node = withIpip().send(hostMetadata('a', '10.0.0.1/24'), hostMetadata('b', '10.0.0.2')).apply();
    expect(node.v4.ipSets.members('all-hosts-net')).toEqual(['10.0.0.1', '10.0.0.2', '172.16.0.0/24']);
  });

  it('drops a node that goes, or that loses its address of the family', () => {
    const node = withIpip().send(hostMetadata('a', '10.0.0.1'), hostMetadata('b', '10.0.0.2')).apply();
    node.send(hostMetadataRemove('a'), hostMetadata('b', '', 'fd00::2')).apply();
    expect(node.v4.ipSets.members('all-hosts-net')).toEqual(['172.16.0.0/24']);
  });
});

describe('FloatingIpManager', () => {
  const nat = (node: ManagedNode) =>
    ['cali-fip-dnat', 'cali-fip-snat'].map((name) =>
      (node.v4.tables.nat.chains.get(name)?.rules ?? []).map(({ match, action }) => {
        const [first] = match;
        return `${first?.kind === 'dest-net' ? first.net : '?'} ${action?.kind === 'dnat' || action?.kind === 'snat' ? action.address : '?'}`;
      }),
    );
  const enabled = () => new ManagedNode({ config: testConfig({ floatingIPs: 'Enabled' }) });
  const mapping = (extIp: string, intIp: string) => ({ ipv4Nat: [{ extIp, intIp }] });

  it('maps nothing when the feature is off, but for OpenStack', () => {
    const node = new ManagedNode().send(
      workload('a', 'cali1', mapping('1.1.1.1', '10.0.0.1')),
      workload(workloadId('b', 'openstack'), 'cali2', mapping('1.1.1.2', '10.0.0.2')),
    );
    expect(nat(node.apply())).toEqual([['1.1.1.2 10.0.0.2'], ['10.0.0.2 1.1.1.2']]);
  });

  it('prefers the smaller internal address, and backwards the smaller external one, whoever came first', () => {
    const messages = [
      workload('a', 'cali1', mapping('1.1.1.1', '10.0.0.2')),
      workload('b', 'cali2', mapping('1.1.1.1', '10.0.0.1')),
      workload('c', 'cali3', mapping('1.1.1.0', '10.0.0.1')),
    ];
    const expected = [['1.1.1.0 10.0.0.1', '1.1.1.1 10.0.0.1'], ['10.0.0.1 1.1.1.0']];
    expect(
      nat(
        enabled()
          .send(...messages)
          .apply(),
      ),
    ).toEqual(expected);
    expect(
      nat(
        enabled()
          .send(...messages.reverse())
          .apply(),
      ),
    ).toEqual(expected);
  });

  it('leaves out what is no address, and says so', () => {
    const node = enabled()
      .send(workload('a', 'cali1', mapping('1.1.1.1; reboot', '10.0.0.1')))
      .apply();
    expect(nat(node)).toEqual([[], []]);
    expect(node.logLines.map(({ message }) => message)).toContain(
      'floating address is not usable; it is not programmed',
    );
  });

  it('does nothing for an update without mappings', () => {
    const node = enabled()
      .send(workload('a', 'cali1', mapping('1.1.1.1', '10.0.0.1')))
      .apply()
      .clearCalls();
    node.send(workload('b', 'cali2'), workload('a', 'cali1', mapping('1.1.1.1', '10.0.0.1'))).apply();
    expect(node.calls().filter((call) => call.includes('fip'))).toEqual([]);
    expect(nat(node.send(workloadRemove('a')).apply())).toEqual([[], []]);
  });
});

describe('DscpManager', () => {
  const dscp = (node: ManagedNode) =>
    (node.v4.tables.mangle.chains.get('cali-egress-dscp')?.rules ?? []).map(({ match, action }) => {
      const [first] = match;
      return `${first?.kind === 'source-net' ? first.net : '?'} ${action?.kind === 'dscp' ? action.value : '?'}`;
    });
  const marked = (value: number, ...ipv4Nets: string[]) => ({ ipv4Nets, qosPolicies: [{ dscp: value }] });

  it('starts with an empty set and chain', () => {
    const node = new ManagedNode().apply();
    expect([node.v4.ipSets.members('dscp-src-net'), dscp(node)]).toEqual([[], []]);
  });

  it('has one rule for each address of an endpoint (differences row 6)', () => {
    const node = new ManagedNode().send(workload('a', 'cali1', marked(10, '10.0.0.2/32', '10.0.0.1/32'))).apply();
    expect(dscp(node)).toEqual(['10.0.0.1 10', '10.0.0.2 10']);
    expect(node.v4.ipSets.members('dscp-src-net')).toEqual(['10.0.0.1', '10.0.0.2']);
  });

  it('takes host endpoints by their expected addresses', () => {
    const node = new ManagedNode().send(host('h', { expectedIpv4Addrs: ['192.168.0.1'], qosPolicies: [{ dscp: 0 }] }));
    expect(dscp(node.apply())).toEqual(['192.168.0.1 0']);
  });

  it.each([[64], [-1]])('value %i is refused with a log line, and marks nothing', (value) => {
    const node = new ManagedNode().send(workload('a', 'cali1', marked(value, '10.0.0.1/32'))).apply();
    expect(dscp(node)).toEqual([]);
    expect(node.logLines.some(({ message }) => message.startsWith('DSCP value'))).toBe(true);
  });

  it('forgets an endpoint that loses its addresses, its policy, or itself', () => {
    for (const message of [workload('a', 'cali1', marked(10)), workload('a', 'cali1'), workloadRemove('a')]) {
      const node = new ManagedNode().send(workload('a', 'cali1', marked(10, '10.0.0.1/32'))).apply();
      expect(dscp(node.send(message).apply())).toEqual([]);
    }
  });

  it('is not touched by endpoints without DSCP', () => {
    const node = new ManagedNode()
      .apply()
      .clearCalls()
      .send(workload('a', 'cali1', { ipv4Nets: ['10.0.0.1/32'] }))
      .apply();
    expect(node.calls().filter((call) => call.includes('dscp'))).toEqual([]);
    expect(node.v4.ipSets.replaced).toEqual([]);
  });
});

describe('FlowtableExclusionManager', () => {
  const nft = (offload: 'All' | 'Disabled') =>
    new ManagedNode({
      environment: testEnvironment({ backend: 'nftables' }),
      config: testConfig({ nftablesFlowTableOffload: offload }),
    });

  it('exists only in nftables mode with offload on', () => {
    const iptables = new ManagedNode({ config: testConfig({ nftablesFlowTableOffload: 'All' }) });
    expect(
      [nft('All'), nft('Disabled'), iptables].map((node) => node.apply().v4.ipSets.hasSet('no-flow-offload')),
    ).toEqual([true, false, false]);
  });

  it.each([
    [{ qosPolicies: [{ dscp: 1 }] }, true],
    [{ qosControls: { IngressPacketRate: 1n } }, true],
    [{ qosControls: { EgressPacketRate: 1n } }, true],
    [{ qosControls: { IngressMaxConnections: 1n } }, true],
    [{ qosControls: { EgressMaxConnections: 1n } }, true],
    [{ qosControls: { IngressBandwidth: 1n } }, false],
    [{}, false],
  ])('endpoint %# is excluded: %s', (fields, isExcluded) => {
    const node = nft('All')
      .send(workload('a', 'cali1', { ipv4Nets: ['10.0.0.1/32'], ...fields }))
      .apply();
    expect(node.v4.ipSets.members('no-flow-offload')).toEqual(isExcluded ? ['10.0.0.1'] : []);
  });
});

describe('ServiceLoopManager', () => {
  const blocked = (node: ManagedNode, family: 4 | 6) =>
    node
      .sinks(family)
      .tables.filter.chains.get('cali-cidr-block')
      ?.rules.map(({ match }) => {
        const [first] = match;
        return first?.kind === 'dest-net' ? first.net : '?';
      });

  it('has an empty chain at start', () => {
    const node = new ManagedNode().apply();
    expect([blocked(node, 4), blocked(node, 6)]).toEqual([[], []]);
  });

  it('blocks the service CIDRs of each family, and leaves out what is no CIDR', () => {
    const node = new ManagedNode().send(
      bgpConfig({
        serviceClusterCidrs: ['10.96.0.0/12', 'fd00:96::/112'],
        serviceExternalCidrs: ['nonsense'],
        serviceLoadbalancerCidrs: ['10.0.0.0/24'],
      }),
    );
    node.apply();
    expect([blocked(node, 4), blocked(node, 6)]).toEqual([['10.0.0.0/24', '10.96.0.0/12'], ['fd00:96::/112']]);
    expect(node.logLines.filter(({ level }) => level === 'error')).toHaveLength(2);
  });

  it('writes nothing when the CIDRs stay the same', () => {
    const node = new ManagedNode()
      .send(bgpConfig({ serviceClusterCidrs: ['10.96.0.0/12'] }))
      .apply()
      .clearCalls();
    node.send(bgpConfig({ serviceClusterCidrs: ['10.96.0.0/12'], localWorkloadPeeringIpV4: '169.254.1.1' })).apply();
    expect(node.calls()).toEqual([]);
  });
});
