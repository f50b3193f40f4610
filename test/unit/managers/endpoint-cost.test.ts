// What an update costs must follow the change, never the size of the node: fixed numbers of what reaches the tables.
import { describe, expect, it } from 'vitest';
import { testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';
import { host, policy, profile, tier, workload, workloadRemove } from '../../fakes/messages.js';

const PODS = 60;

function bigNode(backend: 'iptables' | 'nftables'): ManagedNode {
  const node = new ManagedNode({ environment: testEnvironment({ backend }) }).send(profile('open'));
  for (const id of ['a', 'b', 'c']) node.send(policy(`gnp/${id}`));
  for (let index = 0; index < PODS; index++) {
    const name = `cali${index}`;
    node.setInterface(name, 'up').send(pod(index));
  }
  return node
    .setInterface('eth0', 'up', ['192.168.0.1'])
    .send(host('h', { name: 'eth0' }))
    .apply()
    .clearCalls();
}

function pod(index: number, policies: readonly string[] = ['gnp/a', 'gnp/b']) {
  const ipv4Nets = [`10.65.0.${index}/32`];
  return workload(`p${index}`, `cali${index}`, { ipv4Nets, tiers: [tier(policies)], profileIds: ['open'] });
}

/** Calls on the tables of IPv4. */
function calls(node: ManagedNode): string[] {
  return node.calls().filter((call) => !call.startsWith('6 '));
}

describe.each(['iptables', 'nftables'] as const)(
  'EndpointManager, cost of an update on a node with 60 endpoints, %s',
  (backend) => {
    it('an equal endpoint update reaches no table', () => {
      expect(calls(bigNode(backend).send(pod(7)).apply())).toEqual([]);
    });

    it('an endpoint update reaches its own two chains only', () => {
      const node = bigNode(backend)
        .send(pod(7, ['gnp/a']))
        .apply();
      expect(calls(node)).toEqual(['4 filter set cali-tw-cali7', '4 filter set cali-fw-cali7']);
      expect(node.sysctls.requestCount).toBe(2);
      expect(node.status.calls).toEqual(['4 k8s/p7/eth0 up', '6 k8s/p7/eth0 up']);
    });

    it('a policy update reaches its changed chain once a table, and no endpoint', () => {
      const node = bigNode(backend)
        .send(policy('gnp/a', { inboundRules: [{ action: 'deny' }] }))
        .apply();
      expect(calls(node).every((call) => call.includes('gnp/a'))).toBe(true);
      expect(node.sysctls.requestCount).toBe(0);
      expect(node.status.calls).toEqual([]);
    });

    it('a profile update reaches its chains only', () => {
      const node = bigNode(backend)
        .send(profile('open', { inboundRules: [{ action: 'deny' }] }))
        .apply();
      expect(calls(node).every((call) => call.includes('-open'))).toBe(true);
    });

    it('a new endpoint reaches its own chains and the dispatch that names it', () => {
      const node = bigNode(backend).send(pod(PODS)).apply();
      const dispatch =
        backend === 'nftables'
          ? ['4 filter map cali-from-wl-dispatch', '4 filter map cali-to-wl-dispatch']
          : ['4 filter set cali-from-wl-dispatch-6', '4 filter set cali-to-wl-dispatch-6'];
      const own = calls(node).filter((call) => !call.includes('dispatch'));
      expect(own).toEqual([
        '4 filter set cali-tw-cali60',
        '4 filter set cali-fw-cali60',
        'arp filter set cali-arp-cali60',
      ]);
      expect(
        calls(node)
          .filter((call) => call.includes('wl-dispatch') && dispatch.includes(call))
          .sort(),
      ).toEqual(dispatch);
    });

    it('an interface event reaches no table', () => {
      const node = bigNode(backend).setInterface('cali3', 'down').setInterface('cali3', 'up').apply();
      expect(calls(node)).toEqual([]);
      expect(node.status.calls).toEqual(['4 k8s/p3/eth0 up', '6 k8s/p3/eth0 up']);
    });

    it('a removed endpoint deletes its chains and touches no other endpoint', () => {
      const node = bigNode(backend).send(workloadRemove('p7')).apply();
      expect(calls(node).filter((call) => call.includes('delete') && !call.includes('dispatch'))).toEqual([
        '4 filter delete cali-tw-cali7',
        '4 filter delete cali-fw-cali7',
        'arp filter delete cali-arp-cali7',
      ]);
      expect(calls(node).filter((call) => /set cali-[tf]w-/.test(call))).toEqual([]);
    });

    it('an address that comes to another interface does not touch the host endpoint', () => {
      const node = bigNode(backend).setInterface('eth5', 'up', ['192.168.5.1']).apply();
      expect(calls(node)).toEqual([]);
    });
  },
);
