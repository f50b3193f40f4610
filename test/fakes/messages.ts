// Builders of stream messages, with the fields that a test does not care about filled in.
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { DataplaneMessage } from '../../src/managers/manager.js';
import {
  ActivePolicyRemoveSchema,
  ActivePolicyUpdateSchema,
  ActiveProfileRemoveSchema,
  ActiveProfileUpdateSchema,
  GlobalBGPConfigUpdateSchema,
  HostEndpointIDSchema,
  HostEndpointRemoveSchema,
  type HostEndpointSchema,
  HostEndpointUpdateSchema,
  HostMetadataRemoveSchema,
  HostMetadataUpdateSchema,
  IPAMPoolRemoveSchema,
  type IPAMPoolSchema,
  IPAMPoolUpdateSchema,
  IPSetDeltaUpdateSchema,
  IPSetRemoveSchema,
  IPSetUpdate_IPSetType,
  IPSetUpdateSchema,
  type PolicyID,
  PolicyIDSchema,
  type PolicySchema,
  type ProfileSchema,
  type TierInfoSchema,
  type WorkloadEndpointID,
  WorkloadEndpointIDSchema,
  WorkloadEndpointRemoveSchema,
  type WorkloadEndpointSchema,
  WorkloadEndpointUpdateSchema,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';

/** `default/pod1` → the id of its endpoint `eth0`. */
export function workloadId(workload: string, orchestratorId = 'k8s'): WorkloadEndpointID {
  return create(WorkloadEndpointIDSchema, { orchestratorId, workloadId: workload, endpointId: 'eth0' });
}

/** `gnp/name`, `np/namespace/name`, `snp/…` (staged) or `sgnp/…`. */
export function policyId(text: string): PolicyID {
  const [short = '', ...rest] = text.split('/');
  const kinds: Record<string, string> = {
    gnp: 'GlobalNetworkPolicy',
    np: 'NetworkPolicy',
    snp: 'StagedNetworkPolicy',
    sgnp: 'StagedGlobalNetworkPolicy',
  };
  const name = rest.pop() ?? '';
  return create(PolicyIDSchema, { kind: kinds[short] ?? short, namespace: rest.join('/'), name });
}

/** A tier with policies as `policyId` takes them; egress defaults to the same as ingress. */
export function tier(
  ingress: readonly string[],
  egress: readonly string[] = ingress,
  name = 'default',
): MessageInitShape<typeof TierInfoSchema> {
  return {
    name,
    defaultAction: 'Deny',
    ingressPolicies: ingress.map(policyId),
    egressPolicies: egress.map(policyId),
  };
}

/** An active endpoint `id` (`default/pod1`, or a whole id) on interface `name`. */
export function workload(
  id: string | WorkloadEndpointID,
  name: string,
  fields: MessageInitShape<typeof WorkloadEndpointSchema> = {},
): DataplaneMessage {
  const value = create(WorkloadEndpointUpdateSchema, {
    id: typeof id === 'string' ? workloadId(id) : id,
    endpoint: { state: 'active', name, ...fields },
  });
  return { case: 'workloadEndpointUpdate', value };
}

export function workloadRemove(id: string | WorkloadEndpointID): DataplaneMessage {
  const value = create(WorkloadEndpointRemoveSchema, { id: typeof id === 'string' ? workloadId(id) : id });
  return { case: 'workloadEndpointRemove', value };
}

export function host(id: string, fields: MessageInitShape<typeof HostEndpointSchema> = {}): DataplaneMessage {
  const value = create(HostEndpointUpdateSchema, {
    id: create(HostEndpointIDSchema, { endpointId: id }),
    endpoint: fields,
  });
  return { case: 'hostEndpointUpdate', value };
}

export function hostRemove(id: string): DataplaneMessage {
  const value = create(HostEndpointRemoveSchema, { id: create(HostEndpointIDSchema, { endpointId: id }) });
  return { case: 'hostEndpointRemove', value };
}

/** A policy that allows everything, with selector `all()`. */
export function policy(id: string, fields: MessageInitShape<typeof PolicySchema> = {}): DataplaneMessage {
  const value = create(ActivePolicyUpdateSchema, {
    id: policyId(id),
    policy: {
      tier: 'default',
      originalSelector: 'all()',
      inboundRules: [{ action: 'allow' }],
      outboundRules: [{ action: 'allow' }],
      ...fields,
    },
  });
  return { case: 'activePolicyUpdate', value };
}

export function policyRemove(id: string): DataplaneMessage {
  return { case: 'activePolicyRemove', value: create(ActivePolicyRemoveSchema, { id: policyId(id) }) };
}

/** A profile that allows everything. */
export function profile(name: string, fields: MessageInitShape<typeof ProfileSchema> = {}): DataplaneMessage {
  const value = create(ActiveProfileUpdateSchema, {
    id: { name },
    profile: { inboundRules: [{ action: 'allow' }], outboundRules: [{ action: 'allow' }], ...fields },
  });
  return { case: 'activeProfileUpdate', value };
}

export function profileRemove(name: string): DataplaneMessage {
  return { case: 'activeProfileRemove', value: create(ActiveProfileRemoveSchema, { id: { name } }) };
}

export function ipSet(id: string, members: readonly string[], type = IPSetUpdate_IPSetType.NET): DataplaneMessage {
  return { case: 'ipsetUpdate', value: create(IPSetUpdateSchema, { id, members: [...members], type }) };
}

export function ipSetDelta(id: string, added: readonly string[], removed: readonly string[] = []): DataplaneMessage {
  const value = create(IPSetDeltaUpdateSchema, { id, addedMembers: [...added], removedMembers: [...removed] });
  return { case: 'ipsetDeltaUpdate', value };
}

export function ipSetRemove(id: string): DataplaneMessage {
  return { case: 'ipsetRemove', value: create(IPSetRemoveSchema, { id }) };
}

export function pool(id: string, fields: MessageInitShape<typeof IPAMPoolSchema>): DataplaneMessage {
  return { case: 'ipamPoolUpdate', value: create(IPAMPoolUpdateSchema, { id, pool: fields }) };
}

export function poolRemove(id: string): DataplaneMessage {
  return { case: 'ipamPoolRemove', value: create(IPAMPoolRemoveSchema, { id }) };
}

export function hostMetadata(hostname: string, ipv4Addr: string, ipv6Addr = ''): DataplaneMessage {
  return { case: 'hostMetadataUpdate', value: create(HostMetadataUpdateSchema, { hostname, ipv4Addr, ipv6Addr }) };
}

export function hostMetadataRemove(hostname: string): DataplaneMessage {
  return { case: 'hostMetadataRemove', value: create(HostMetadataRemoveSchema, { hostname }) };
}

export function bgpConfig(fields: MessageInitShape<typeof GlobalBGPConfigUpdateSchema>): DataplaneMessage {
  return { case: 'globalBgpConfigUpdate', value: create(GlobalBGPConfigUpdateSchema, fields) };
}
