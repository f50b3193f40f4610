import { describe, expect, it } from 'vitest';
import { ManagedNode } from '../../fakes/managed-node.js';
import { policy, tier, workload, workloadRemove } from '../../fakes/messages.js';

describe('EndpointManager.reportStatuses, workload endpoints', () => {
  const pod = workload('p', 'cali1', { ipv4Nets: ['10.65.0.2/32'] });
  const status = (node: ManagedNode) => node.status.statuses.get('4 k8s/p/eth0');

  it.each([
    ['no interface yet', 'active', undefined, 'down'],
    ['interface down', 'active', 'down', 'down'],
    ['interface up', 'active', 'up', 'up'],
    ['interface gone', 'active', 'absent', 'down'],
    ['administratively down', 'inactive', 'up', 'down'],
  ] as const)('%s: state %s, interface %s gives %s', (_name, state, interfaceState, expected) => {
    const node = new ManagedNode();
    if (interfaceState !== undefined) node.setInterface('cali1', interfaceState);
    expect(status(node.send(workload('p', 'cali1', { state })).apply())).toBe(expected);
  });

  it('reports every update, also an equal one, with the endpoint, and nothing without news', () => {
    const node = new ManagedNode().setInterface('cali1', 'up').send(pod).apply().clearCalls();
    node.send(pod).apply();
    expect(node.status.calls).toEqual(['4 k8s/p/eth0 up', '6 k8s/p/eth0 up']);
    expect(node.status.endpoints.get('4 k8s/p/eth0')?.ipv4Nets).toEqual(['10.65.0.2/32']);
    node.clearCalls().apply();
    expect(node.status.calls).toEqual([]);
  });

  it('reports every change of the interface', () => {
    const node = new ManagedNode().setInterface('cali1', 'up').send(pod).apply().clearCalls();
    node.setInterface('cali1', 'down').apply().setInterface('cali1', 'up').apply();
    expect(node.status.calls.filter((call) => call.startsWith('4'))).toEqual(['4 k8s/p/eth0 down', '4 k8s/p/eth0 up']);
  });

  it('reports a removal as gone', () => {
    const node = new ManagedNode().send(pod).apply().clearCalls().send(workloadRemove('p')).apply();
    expect(node.status.calls).toEqual(['4 k8s/p/eth0 gone', '6 k8s/p/eth0 gone']);
  });

  it('reports the end of one that came and went within a batch, and of one that never came, as Felix does', () => {
    const node = new ManagedNode().send(pod).send(workloadRemove('p')).apply();
    expect(node.status.calls).toEqual(['4 k8s/p/eth0 gone', '6 k8s/p/eth0 gone']);
    node.clearCalls().send(workloadRemove('q')).apply();
    expect(node.status.calls).toEqual(['4 k8s/q/eth0 gone', '6 k8s/q/eth0 gone']);
    node.clearCalls().apply();
    expect(node.status.calls).toEqual([]);
  });

  it('says nothing of one that is shadowed from the start', () => {
    const node = new ManagedNode().send(pod).apply().clearCalls();
    node.send(workload('q', 'cali1')).apply();
    expect(node.status.calls.filter((call) => call.includes('/q/'))).toEqual([]);
  });

  it('reports the users of a policy whose selector changed', () => {
    const node = new ManagedNode().send(policy('gnp/a'), workload('p', 'cali1', { tiers: [tier(['gnp/a'])] })).apply();
    node
      .clearCalls()
      .send(policy('gnp/a', { originalSelector: 'x' }))
      .apply();
    expect(node.status.calls).toEqual(['4 k8s/p/eth0 down', '6 k8s/p/eth0 down']);
  });

  it('is down while sysctls fail, and comes up without further news', () => {
    const node = new ManagedNode().setInterface('cali1', 'up');
    node.sysctls.failing.add('cali1');
    expect(status(node.send(pod).apply())).toBe('down');
    node.clearCalls().apply();
    expect(node.status.calls).toEqual([]);
    node.sysctls.failing.delete('cali1');
    node.apply();
    expect(node.status.calls).toEqual(['4 k8s/p/eth0 up', '6 k8s/p/eth0 up']);
  });
});
