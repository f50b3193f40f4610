import { describe, expect, it } from 'vitest';
import { testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';
import {
  ipSet,
  ipSetRemove,
  policy,
  policyRemove,
  profile,
  profileRemove,
  tier,
  workload,
  workloadRemove,
} from '../../fakes/messages.js';

const tables = ['raw', 'mangle', 'filter', 'nat'] as const;

/** `raw cali-pi-…` for every chain of policies and profiles. */
function chains(node: ManagedNode): string[] {
  return tables.flatMap((table) =>
    [...node.v4.tables[table].chains.keys()]
      .filter((name) => /^cali-p(i|o|ri|ro)-/.test(name))
      .sort()
      .map((name) => `${table} ${name}`),
  );
}

function lastAction(node: ManagedNode, chain: string): string | undefined {
  return node.v4.tables.filter.chains.get(chain)?.rules.at(-1)?.action?.kind;
}

describe('PolicyManager', () => {
  it('puts a policy into raw, mangle and filter, and takes it out again', () => {
    const node = new ManagedNode().send(policy('gnp/a')).apply();
    const both = ['cali-pi-gnp/a', 'cali-po-gnp/a'];
    expect(chains(node)).toEqual(
      ['raw', 'mangle', 'filter'].flatMap((table) => both.map((name) => `${table} ${name}`)),
    );
    expect(chains(node.send(policyRemove('gnp/a')).apply())).toEqual([]);
  });

  it('puts a profile into filter, and its outbound chain into mangle', () => {
    const node = new ManagedNode().send(profile('open')).apply();
    expect(chains(node)).toEqual(['mangle cali-pro-open', 'filter cali-pri-open', 'filter cali-pro-open']);
    expect(chains(node.send(profileRemove('open')).apply())).toEqual([]);
  });

  it('gives no warning when a policy leaves in the batch in which its last endpoint lets go of it', () => {
    const node = new ManagedNode().send(policy('gnp/a'), workload('p', 'cali1', { tiers: [tier(['gnp/a'])] })).apply();
    node.send(workload('p', 'cali1'), policyRemove('gnp/a')).apply();
    expect(chains(node)).toEqual([]);
    expect(node.logLines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  });

  it('has no chains for a staged policy, also while an endpoint refers to it', () => {
    const node = new ManagedNode()
      .send(policy('sgnp/a'), workload('p', 'cali1', { tiers: [tier(['sgnp/a'])] }))
      .apply();
    expect([chains(node), node.refusedChains()]).toEqual([[], []]);
    node.send(policyRemove('sgnp/a')).apply();
    expect([chains(node), node.refusedChains()]).toEqual([[], []]);
  });

  it.each(['iptables', 'nftables'] as const)(
    'forces filter chains that the hint asks for, in %s too (differences row 11)',
    (backend) => {
      const node = new ManagedNode({ environment: testEnvironment({ backend }) });
      node.send(policy('gnp/a', { perfHints: ['AssumeNeededOnEveryNode'] })).apply();
      const forced = tables.map((table) => node.v4.tables[table].chains.get('cali-pi-gnp/a')?.forced === true);
      expect(forced).toEqual([false, false, true, false]);
      expect(node.v4.tables.filter.programmed().has('cali-pi-gnp/a')).toBe(true);
      node.send(policy('gnp/a')).apply();
      expect(node.v4.tables.filter.programmed().has('cali-pi-gnp/a')).toBe(false);
    },
  );

  it('writes nothing for an update that changes nothing', () => {
    const node = new ManagedNode().send(policy('gnp/a'), profile('open')).apply().clearCalls();
    expect(node.send(policy('gnp/a'), profile('open')).apply().calls()).toEqual([]);
  });

  it('writes the last of several updates in a batch, once', () => {
    const node = new ManagedNode().apply().clearCalls();
    node.send(policy('gnp/a', { inboundRules: [{ action: 'deny' }] }), policy('gnp/a')).apply();
    expect(node.calls().filter((call) => call.startsWith('4 filter'))).toEqual([
      '4 filter set cali-pi-gnp/a',
      '4 filter set cali-po-gnp/a',
    ]);
  });

  it('closes a policy with a rule that cannot be rendered, and opens it again when it is mended', () => {
    const bad = policy('gnp/a', { inboundRules: [{ action: 'no-such-action' }] });
    const node = new ManagedNode().send(bad, profile('open'));
    node
      .send(workload('p', 'cali1', { tiers: [tier(['gnp/a'])], profileIds: ['open'] }))
      .setInterface('cali1', 'up')
      .apply();
    expect(lastAction(node, 'cali-pi-gnp/a')).toBe('drop');
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('error');
    node.send(policy('gnp/a')).apply();
    expect(node.refusedChains()).toEqual([]);
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('up');
  });
});

describe('PolicyManager, for what is referred to without being active', () => {
  const endpoint = workload('p', 'cali1', { tiers: [tier(['gnp/late'])], profileIds: ['late'] });

  it('drops in the chains of a missing policy and profile, and says so', () => {
    const node = new ManagedNode().send(endpoint).setInterface('cali1', 'up').apply();
    for (const chain of ['cali-pi-gnp/late', 'cali-po-gnp/late', 'cali-pri-late', 'cali-pro-late']) {
      expect([chain, lastAction(node, chain)]).toEqual([chain, 'drop']);
    }
    expect(node.status.statuses.get('4 k8s/p/eth0')).toBe('error');
    expect(node.logLines.some(({ level }) => level === 'error')).toBe(true);
  });

  it('ends in the same state as the right order when they arrive', () => {
    const late = new ManagedNode().send(endpoint).setInterface('cali1', 'up').apply();
    late.send(policy('gnp/late', { originalSelector: 'x' }), profile('late')).apply();
    const right = new ManagedNode().setInterface('cali1', 'up');
    right.send(policy('gnp/late', { originalSelector: 'x' }), profile('late'), endpoint).apply();
    expect(late.snapshot()).toEqual(right.snapshot());
  });

  it('closes again when they are removed while in use, and forgets them with the last user', () => {
    const node = new ManagedNode().send(policy('gnp/late'), profile('late'), endpoint).apply();
    node.send(policyRemove('gnp/late'), profileRemove('late')).apply();
    expect([lastAction(node, 'cali-pi-gnp/late'), lastAction(node, 'cali-pri-late')]).toEqual(['drop', 'drop']);
    expect(chains(node.send(workloadRemove('p')).apply())).toEqual([]);
  });

  it('closes what uses a set that has not come or is gone, instead of having the kernel refuse it', () => {
    const rule = { action: 'allow', srcIpSetIds: ['s:late'] };
    const node = new ManagedNode()
      .send(
        policy('gnp/a', { inboundRules: [rule] }),
        policy('gnp/b', { inboundRules: [{ action: 'allow' }] }),
        workload('p', 'cali1', { tiers: [tier(['gnp/a'])] }),
        workload('q', 'cali2', { tiers: [tier(['gnp/b'])] }),
      )
      .apply();
    const refused = (): string | undefined => node.v4.tables.filter.chains.get('cali-pi-gnp/a')?.refused;
    expect(refused()).toContain('s:late has not come');
    expect(lastAction(node, 'cali-pi-gnp/a')).toBe('drop');
    expect(node.v4.tables.filter.chains.get('cali-pi-gnp/b')?.refused).toBeUndefined();
    node.send(ipSet('s:late', ['10.0.0.1/32'])).apply();
    expect(refused()).toBeUndefined();
    node.send(ipSet('s:late', ['10.0.0.1/32'])).apply();
    expect(refused()).toBeUndefined();
    node.send(ipSetRemove('s:late')).apply();
    expect(refused()).toContain('s:late');
  });

  it('never leaves a programmed chain that refers to an undefined one', () => {
    const group = workload('p', 'cali1', { tiers: [tier(['gnp/a', 'gnp/b', 'gnp/c'])] });
    const node = new ManagedNode().send(group).apply();
    // `programmed` throws for a chain that is referred to but not defined.
    for (const table of node.allTables()) expect(table.programmed().size).toBeGreaterThanOrEqual(0);
  });
});

describe('EndpointManager.setRefusals', () => {
  const rule = { action: 'allow', srcIpSetIds: ['s:big'] };
  function start(): ManagedNode {
    const node = new ManagedNode().send(
      ipSet('s:big', []),
      policy('gnp/uses', { inboundRules: [rule], originalSelector: 'a' }),
      policy('gnp/other', { originalSelector: 'b' }),
      policy('gnp/x', { originalSelector: 'c' }),
      policy('gnp/y', { originalSelector: 'c' }),
      profile('uses', { outboundRules: [rule] }),
      workload('policy', 'cali1', { tiers: [tier(['gnp/uses'])] }),
      workload('other', 'cali2', { tiers: [tier(['gnp/other'])] }),
      workload('profile', 'cali3', { profileIds: ['uses'] }),
      workload('group', 'cali4', { tiers: [tier(['gnp/x', 'gnp/y'])] }),
    );
    for (const name of ['cali1', 'cali2', 'cali3', 'cali4']) node.setInterface(name, 'up');
    return node.apply().clearCalls();
  }
  const errors = (node: ManagedNode): string[] =>
    [...node.status.statuses].filter(([, status]) => status === 'error').map(([key]) => key);

  it('a refused set puts the endpoints in error whose policies or profiles use it', () => {
    const node = start();
    node.refusals = [{ family: 4, kind: 'set', object: 's:big', reason: 'too big' }];
    expect(errors(node.apply())).toEqual(['4 k8s/policy/eth0', '4 k8s/profile/eth0']);
    expect(node.status.calls).toEqual(['4 k8s/policy/eth0 error', '4 k8s/profile/eth0 error']);
  });

  it('a refused set closes the policies and profiles that use it, at the next apply, until it is refused no more', () => {
    const node = start();
    const wanted = lastAction(node, 'cali-pi-gnp/uses');
    const actions = (): unknown[] =>
      ['cali-pi-gnp/uses', 'cali-pro-uses', 'cali-pi-gnp/other'].map((name) => lastAction(node, name));
    const open = actions();
    node.refusals = [{ family: 4, kind: 'set', object: 's:big', reason: 'too big' }];
    node.apply().apply();
    expect(actions()).toEqual(['drop', 'drop', open[2]]);
    expect(node.v4.tables.filter.chains.get('cali-pi-gnp/uses')?.refused).toContain('s:big');
    // A policy that comes meanwhile is closed at once.
    node.send(policy('gnp/late', { inboundRules: [rule] })).apply();
    expect(lastAction(node, 'cali-pi-gnp/late')).toBe('drop');
    node.refusals = [];
    node.apply().apply();
    expect(actions()).toEqual(open);
    expect(lastAction(node, 'cali-pi-gnp/late')).toBe(wanted);
    expect(errors(node)).toEqual([]);
  });

  it.each([
    ['cali-po-gnp/other', '4 k8s/other/eth0'],
    ['cali-pro-uses', '4 k8s/profile/eth0'],
    ['cali-tw-cali2', '4 k8s/other/eth0'],
  ])('refused chain %s puts %s in error', (object, key) => {
    const node = start();
    node.refusals = [{ family: 4, kind: 'chain', object, reason: 'x' }];
    expect(errors(node.apply())).toEqual([key]);
  });

  it('a refused group chain puts its users in error', () => {
    const node = start();
    const object = [...node.v4.tables.filter.chains.keys()].find((name) => name.startsWith('cali-gi-')) ?? '';
    node.refusals = [{ family: 4, kind: 'chain', object, reason: 'x' }];
    expect(errors(node.apply())).toEqual(['4 k8s/group/eth0']);
  });

  it('the endpoint recovers when the refusal is gone, and is reported only when its status changes', () => {
    const node = start();
    node.refusals = [{ family: 4, kind: 'set', object: 's:big', reason: 'too big' }];
    node.apply().clearCalls().apply();
    expect(node.status.calls).toEqual([]);
    node.refusals = [];
    // The first opens the chains again, which counts once they are written.
    node.apply().apply();
    expect([...node.status.calls].sort()).toEqual(['4 k8s/policy/eth0 up', '4 k8s/profile/eth0 up']);
  });

  it('an endpoint that begins to use something refused is in error at once', () => {
    const node = start();
    node.refusals = [{ family: 4, kind: 'chain', object: 'cali-pi-gnp/uses', reason: 'x' }];
    node
      .apply()
      .send(workload('other', 'cali2', { tiers: [tier(['gnp/other', 'gnp/uses'])] }))
      .apply();
    expect(errors(node)).toContain('4 k8s/other/eth0');
  });

  it('ignores refusals of the other family', () => {
    const node = start();
    node.refusals = [{ family: 6, kind: 'set', object: 's:big', reason: 'too big' }];
    expect(errors(node.apply())).toEqual(['6 k8s/policy/eth0', '6 k8s/profile/eth0']);
  });
});
