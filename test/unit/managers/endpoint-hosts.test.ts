import { describe, expect, it } from 'vitest';
import { ANY_INTERFACE } from '../../../src/rules/renderer.js';
import { testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';
import { host, hostRemove, policy, policyRemove, profile, tier } from '../../fakes/messages.js';

/** Interfaces that have host-endpoint chains in filter. */
function governed(node: ManagedNode): string[] {
  return [...node.v4.tables.filter.chains.keys()]
    .filter((name) => name.startsWith('cali-th-'))
    .map((name) => name.slice('cali-th-'.length))
    .sort();
}

const eth = (node: ManagedNode = new ManagedNode()) =>
  node.setInterface('eth0', 'up', ['192.168.0.1', 'fd00::1']).setInterface('eth1', 'up', ['192.168.7.1']);

describe('EndpointManager, host-endpoint resolution', () => {
  it('matches an interface by name, once its addresses are known', () => {
    const node = new ManagedNode().send(host('h', { name: 'eth0' })).apply();
    expect([governed(node), node.status.statuses.get('4 host h')]).toEqual([[], 'error']);
    node.setInterface('eth0', 'up', ['192.168.0.1']).apply();
    expect([governed(node), node.status.statuses.get('4 host h')]).toEqual([['eth0'], 'up']);
  });

  it('matches every interface with an expected address of either family, but not by address if it has a name', () => {
    expect(
      governed(
        eth()
          .send(host('h', { expectedIpv4Addrs: ['192.168.7.1'], expectedIpv6Addrs: ['FD00:0::1'] }))
          .apply(),
      ),
    ).toEqual(['eth0', 'eth1']);
    expect(
      governed(
        eth()
          .send(host('h', { name: 'eth9', expectedIpv4Addrs: ['192.168.7.1'] }))
          .apply(),
      ),
    ).toEqual([]);
  });

  it.each([[['a', 'b']], [['b', 'a']]])(
    'of several candidates the lowest id wins, whoever came first (%j)',
    (order) => {
      const node = eth();
      const fields = {
        a: { expectedIpv4Addrs: ['192.168.0.1'], profileIds: ['a'] },
        b: { name: 'eth0', profileIds: ['b'] },
      };
      for (const id of order) node.send(profile(id), host(id, fields[id as 'a' | 'b'])).apply();
      expect(JSON.stringify(node.v4.tables.filter.chains.get('cali-fh-eth0'))).toContain('cali-pri-a');
      expect([node.status.statuses.get('4 host a'), node.status.statuses.get('4 host b')]).toEqual(['up', 'error']);
      node.send(hostRemove('a')).apply();
      expect(JSON.stringify(node.v4.tables.filter.chains.get('cali-fh-eth0'))).toContain('cali-pri-b');
      expect([node.status.statuses.get('4 host a'), node.status.statuses.get('4 host b')]).toEqual([undefined, 'up']);
    },
  );

  it('follows addresses that move to another interface', () => {
    const node = eth()
      .send(host('h', { expectedIpv4Addrs: ['192.168.0.1'] }))
      .apply();
    node.setInterface('eth0', 'up', []).setInterface('eth1', 'up', ['192.168.0.1']).apply();
    expect(governed(node)).toEqual(['eth1']);
  });

  it('never governs a workload interface', () => {
    const node = new ManagedNode().setInterface('cali1', 'up', ['10.0.0.1']);
    expect(governed(node.send(host('h', { name: 'cali1' })).apply())).toEqual([]);
  });

  it('takes all chains away with the endpoint, the interface, or its name', () => {
    const empty = eth().apply();
    for (const act of [
      (node: ManagedNode) => node.send(hostRemove('h')),
      (node: ManagedNode) => node.send(host('h', { name: 'eth9' })),
      (node: ManagedNode) => node.setInterface('eth0', 'absent', null).setInterface('eth0', 'up', undefined),
    ]) {
      const node = eth()
        .send(host('h', { name: 'eth0', tiers: [tier(['gnp/a'])], preDnatTiers: [tier(['gnp/b'])] }))
        .apply();
      act(node).apply();
      for (const table of ['raw', 'mangle', 'filter'] as const) {
        const names = (of: ManagedNode) => [...of.v4.tables[table].programmed().keys()].sort();
        expect(names(node)).toEqual(names(empty));
      }
    }
  });

  it('does not program an interface whose name cannot go into rules: status error and a log line', () => {
    const node = new ManagedNode().setInterface('eth"0', 'up', ['192.168.0.1']);
    node.send(host('h', { expectedIpv4Addrs: ['192.168.0.1'] })).apply();
    expect([governed(node), node.status.statuses.get('4 host h')]).toEqual([[], 'error']);
    expect(node.logLines.some(({ message }) => message.includes('interface name'))).toBe(true);
  });
});

describe('EndpointManager, host-endpoint chains', () => {
  const chainsOf = (node: ManagedNode, table: 'raw' | 'mangle' | 'filter') =>
    [...node.v4.tables[table].chains.keys()].filter((name) => name.endsWith('eth0')).sort();

  it('has the chains that its kinds of policy need', () => {
    const node = eth()
      .send(policy('gnp/a'), host('h', { name: 'eth0' }))
      .apply();
    expect(chainsOf(node, 'filter')).toEqual(['cali-fh-eth0', 'cali-fhfw-eth0', 'cali-th-eth0', 'cali-thfw-eth0']);
    expect([chainsOf(node, 'mangle'), chainsOf(node, 'raw')]).toEqual([['cali-th-eth0'], []]);
    node
      .send(host('h', { name: 'eth0', preDnatTiers: [tier(['gnp/a'], [])], untrackedTiers: [tier(['gnp/a'])] }))
      .apply();
    expect([chainsOf(node, 'mangle'), chainsOf(node, 'raw')]).toEqual([
      ['cali-fh-eth0', 'cali-th-eth0'],
      ['cali-fh-eth0', 'cali-th-eth0'],
    ]);
    const dispatch = (table: 'raw' | 'mangle', name: string) => JSON.stringify(node.v4.tables[table].chains.get(name));
    expect(dispatch('mangle', 'cali-from-host-endpoint')).toContain('cali-fh-eth0');
    expect(dispatch('raw', 'cali-to-host-endpoint')).toContain('cali-th-eth0');
    node.send(host('h', { name: 'eth0' })).apply();
    expect([chainsOf(node, 'mangle'), chainsOf(node, 'raw')]).toEqual([['cali-th-eth0'], []]);
    expect(dispatch('raw', 'cali-to-host-endpoint')).not.toContain('cali-th-eth0');
  });

  it('programs `*` under the pseudo interface as the default, without untracked policy, and warns once', () => {
    const node = eth()
      .send(policy('gnp/a'), host('h', { name: '*', untrackedTiers: [tier(['gnp/a'])] }))
      .apply();
    node.send(host('h', { name: '*', untrackedTiers: [tier(['gnp/a'])] })).apply();
    expect(JSON.stringify(node.v4.tables.filter.chains.get('cali-from-host-endpoint'))).toContain(ANY_INTERFACE);
    expect([...node.v4.tables.raw.chains.keys()].filter((name) => name.includes(ANY_INTERFACE))).toEqual([]);
    expect(node.status.statuses.get('4 host h')).toBe('up');
    // Once per family.
    expect(node.logLines.filter(({ message }) => message.startsWith('untracked policy'))).toHaveLength(2);
  });

  it('of several `*` endpoints the lowest id wins', () => {
    const node = eth()
      .send(host('b', { name: '*' }), host('a', { name: '*' }))
      .apply();
    expect([node.status.statuses.get('4 host a'), node.status.statuses.get('4 host b')]).toEqual(['up', 'error']);
  });

  it('leaves the pseudo interface out of the mark dispatch', () => {
    const node = eth(new ManagedNode({ environment: testEnvironment({ ipvs: true }) }));
    node.send(host('h', { name: '*' }), host('i', { name: 'eth0' })).apply();
    const text = JSON.stringify(node.v4.tables.filter.chains.get('cali-set-endpoint-mark'));
    expect([text.includes('cali-sm-eth0'), text.includes(ANY_INTERFACE)]).toEqual([true, false]);
  });

  it('says once that an endpoint without policy also blocks neighbour discovery (differences row 14)', () => {
    const said = (node: ManagedNode) =>
      node.logLines.filter(({ message }) => message.includes('neighbour discovery')).length;
    const node = eth()
      .send(host('h', { name: 'eth0' }))
      .apply()
      .send(host('h', { name: 'eth0' }))
      .apply();
    expect(said(node)).toBe(1);
    expect(
      said(
        eth()
          .send(host('h', { name: 'eth0', profileIds: ['open'] }), profile('open'))
          .apply(),
      ),
    ).toBe(0);
    expect(
      said(
        eth()
          .send(host('h', { name: '*' }))
          .apply(),
      ),
    ).toBe(0);
  });

  it('regroups when the selector of a policy changes', () => {
    const groups = (node: ManagedNode) =>
      [...node.v4.tables.filter.chains.keys()].filter((name) => /^cali-g[io]-/.test(name)).length;
    const node = eth().send(
      policy('gnp/a'),
      policy('gnp/b'),
      host('h', { name: 'eth0', forwardTiers: [tier(['gnp/a', 'gnp/b'])] }),
    );
    expect(groups(node.apply())).toBe(2);
    expect(groups(node.send(policy('gnp/b', { originalSelector: 'x' })).apply())).toBe(0);
  });

  it('is in error while a policy that it refers to is missing', () => {
    const node = eth()
      .send(policy('gnp/a'), host('h', { name: 'eth0', preDnatTiers: [tier(['gnp/a'], [])] }))
      .apply();
    expect(node.status.statuses.get('4 host h')).toBe('up');
    expect(node.send(policyRemove('gnp/a')).apply().status.statuses.get('4 host h')).toBe('error');
    expect(node.send(policy('gnp/a')).apply().status.statuses.get('4 host h')).toBe('up');
  });
});

describe('EndpointManager, host-endpoint status', () => {
  it('is down while one of its interfaces is, and reported with every change of an interface', () => {
    const node = eth()
      .send(host('h', { expectedIpv4Addrs: ['192.168.0.1', '192.168.7.1'] }))
      .apply()
      .clearCalls();
    node.setInterface('eth1', 'down').apply();
    expect(node.status.calls).toEqual(['4 host h down', '6 host h down']);
    node.clearCalls().setInterface('eth1', 'up').apply();
    expect(node.status.calls).toEqual(['4 host h up', '6 host h up']);
  });

  it('is reported with every update, also an equal one, and is gone after a removal', () => {
    const node = eth()
      .send(host('h', { name: 'eth0' }))
      .apply()
      .clearCalls();
    node.send(host('h', { name: 'eth0' })).apply();
    expect(node.status.calls).toEqual(['4 host h up', '6 host h up']);
    node.clearCalls().apply();
    expect(node.status.calls).toEqual([]);
    node.send(hostRemove('h')).apply();
    expect(node.status.calls).toEqual(['4 host h gone', '6 host h gone']);
  });

  it('is in error when its interface vanishes', () => {
    const node = eth()
      .send(host('h', { name: 'eth0' }))
      .apply()
      .setInterface('eth0', 'absent', null)
      .apply();
    expect(node.status.statuses.get('4 host h')).toBe('error');
  });
});
