import { describe, expect, it } from 'vitest';
import { createPolicyManagers } from '../../../src/managers/create-managers.js';
import type { Manager } from '../../../src/managers/manager.js';
import { silentLogger } from '../../../src/base/logger.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';

function dummy(name: string): Manager {
  return { name, onMessage: () => undefined, completeDeferredWork: () => true };
}

describe('createPolicyManagers', () => {
  it('registers in the order of dataplane.md section 2, with the network managers in between', () => {
    const node = new ManagedNode({
      environment: testEnvironment({ backend: 'nftables' }),
      config: testConfig({ natOutgoingExclusions: 'IPPoolsAndHostIPs', nftablesFlowTableOffload: 'All' }),
      network: {
        first: [dummy('vxlan/4')],
        afterDscpV4: [dummy('ipip'), dummy('wireguard/4')],
        beforeV6: [dummy('vxlan/6')],
        last: [dummy('wireguard/6')],
      },
    });
    expect(node.managers.map(({ name }) => name)).toEqual([
      'vxlan/4',
      ...['ip-sets/4', 'host-ip/4', 'policy/4', 'endpoint/4', 'floating-ip/4', 'masquerade/4', 'hosts-ip-set/4'],
      ...['dscp/4', 'flowtable-exclusion/4', 'ipip', 'wireguard/4', 'service-loop/4'],
      'vxlan/6',
      ...['ip-sets/6', 'host-ip/6', 'policy/6', 'endpoint/6', 'floating-ip/6', 'masquerade/6', 'service-loop/6'],
      ...['hosts-ip-set/6', 'dscp/6', 'flowtable-exclusion/6', 'wireguard/6'],
    ]);
  });

  it('makes no v6 managers when IPv6 is not supported', () => {
    const { v4, arpTable, sysctls, bandwidth, status } = new ManagedNode();
    const made = createPolicyManagers({ v4, v6: null, arpTable, sysctls, bandwidth, status, log: silentLogger });
    expect(made.managers.some(({ name }) => name.endsWith('/6'))).toBe(false);
    expect(made.endpointManagers).toHaveLength(1);
  });

  it('defines the static rules at once', () => {
    const node = new ManagedNode();
    expect([...node.v4.tables.filter.inserted.keys()].sort()).toEqual(['FORWARD', 'INPUT', 'OUTPUT']);
    expect([...node.v6.tables.nat.appended.keys()]).toContain('POSTROUTING');
  });

  it('wants every chain that a fresh node refers to defined after the first batch', () => {
    const node = new ManagedNode().apply();
    // `programmed` throws for a chain that is referred to but not defined.
    expect(node.allTables().map((table) => table.programmed().size > 0)).toEqual(node.allTables().map(() => true));
  });
});
