// The endpoint messages: an endpoint as it is in the resources, and the lists of the tiers that apply to it
// (calc-graph.md sections 10 and 11; Felix: felix/calc/event_sequencer.go).
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type HostEndpointIDSchema,
  HostEndpointRemoveSchema,
  type HostEndpointUpdate,
  HostEndpointUpdateSchema,
  type TierInfoSchema,
  type WorkloadEndpointIDSchema,
  WorkloadEndpointRemoveSchema,
  type WorkloadEndpointUpdate,
  WorkloadEndpointUpdateSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import { type Cidr, formatAddress } from '../net/cidr.js';
import type { WorkloadExtras } from './computed-data.js';
import type { HostEndpointModel, NatModel, QosControls, WorkloadModel } from './entries.js';
import type { OrderedTier, PolicyPlacement } from './tier-order.js';

type TierInit = MessageInitShape<typeof TierInfoSchema>;

function tierList(
  tiers: readonly OrderedTier[],
  applies: (policy: PolicyPlacement) => boolean,
  options: { readonly defaultAction?: string; readonly ingressOnly?: boolean } = {},
): TierInit[] {
  return tiers.flatMap((tier) => {
    const policies = tier.policies.filter(applies);
    const id = ({ id: { name, namespace, kind } }: PolicyPlacement) => ({ name, namespace, kind });
    const ingressPolicies = policies.filter((policy) => policy.ingress).map(id);
    const egressPolicies = options.ingressOnly === true ? [] : policies.filter((policy) => policy.egress).map(id);
    if (ingressPolicies.length + egressPolicies.length === 0) return [];
    const defaultAction = options.defaultAction ?? tier.defaultAction;
    return [{ name: tier.name, ingressPolicies, egressPolicies, defaultAction }];
  });
}

function tracked(policy: PolicyPlacement): boolean {
  return !policy.doNotTrack && !policy.preDnat;
}

function netsOf(addresses: readonly Cidr[], family: 4 | 6): string[] {
  return addresses.filter((address) => address.family === family).map((address) => address.text);
}

function natsOf(nats: readonly NatModel[], family: 4 | 6): { extIp: string; intIp: string }[] {
  return nats
    .filter(({ internal }) => internal.family === family)
    .map(({ external, internal }) => ({ extIp: formatAddress(external), intIp: formatAddress(internal) }));
}

function qosInit(qos: QosControls): Record<string, bigint> {
  // Fields of the message are named as in Go: IngressBandwidth and so on.
  const limits = Object.entries(qos).filter(([key]) => key !== 'dscp');
  return Object.fromEntries(limits.map(([key, value]) => [key.charAt(0).toUpperCase() + key.slice(1), BigInt(value)]));
}

function skipRedirection(workload: WorkloadModel): { Ingress: boolean; Egress: boolean } | undefined {
  const { qos } = workload;
  const limited = (...values: (number | undefined)[]): boolean => values.some((value) => (value ?? 0) > 0);
  const Ingress =
    workload.labels.get('kubevirt.io') === 'virt-launcher' || limited(qos?.ingressBandwidth, qos?.ingressPacketRate);
  const Egress = limited(qos?.egressBandwidth, qos?.egressPacketRate);
  return Ingress || Egress ? { Ingress, Egress } : undefined;
}

function workloadId(workload: WorkloadModel): MessageInitShape<typeof WorkloadEndpointIDSchema> {
  return { orchestratorId: workload.orchestrator, workloadId: workload.workload, endpointId: workload.endpoint };
}

function hostEndpointId(endpoint: HostEndpointModel): MessageInitShape<typeof HostEndpointIDSchema> {
  return { endpointId: endpoint.name };
}

/** The update of a workload endpoint. */
export function workloadUpdate(
  workload: WorkloadModel,
  extras: WorkloadExtras,
  tiers: readonly OrderedTier[],
): WorkloadEndpointUpdate {
  const skipRedir = skipRedirection(workload);
  const vmiName = workload.labels.get('vmi.kubevirt.io/id') ?? workload.labels.get('vm.kubevirt.io/name') ?? '';
  return create(WorkloadEndpointUpdateSchema, {
    id: workloadId(workload),
    endpoint: {
      state: 'active',
      name: workload.interfaceName,
      mac: workload.mac,
      profileIds: [...workload.profiles],
      ipv4Nets: netsOf(workload.addresses, 4),
      ipv6Nets: netsOf(workload.addresses, 6),
      tiers: tierList(tiers, tracked),
      ipv4Nat: natsOf(workload.nats, 4),
      ipv6Nat: natsOf(workload.nats, 6),
      allowSpoofedSourcePrefixes: workload.allowSpoofedSourcePrefixes.map((prefix) => prefix.text),
      annotations: Object.fromEntries(workload.annotations),
      ...(workload.qos === undefined ? {} : { qosControls: qosInit(workload.qos) }),
      ...(workload.qos?.dscp === undefined ? {} : { qosPolicies: [{ dscp: workload.qos.dscp }] }),
      ...(skipRedir === undefined ? {} : { skipRedir }),
      ...(extras.bgpPeer === '' ? {} : { localBgpPeer: { bgpPeerName: extras.bgpPeer } }),
      isIstioAmbient: extras.inAmbientMesh,
      liveMigrationRole: extras.role,
      liveMigrationUid: extras.migrationUid,
      liveMigrationVmiName: vmiName,
    },
  });
}

/** The removal of a workload endpoint. */
export function workloadRemove(workload: WorkloadModel) {
  return create(WorkloadEndpointRemoveSchema, { id: workloadId(workload) });
}

/** The update of a host endpoint. */
export function hostEndpointUpdate(endpoint: HostEndpointModel, tiers: readonly OrderedTier[]): HostEndpointUpdate {
  const bare = (family: 4 | 6): string[] =>
    endpoint.addresses.filter((address) => address.family === family).map(formatAddress);
  return create(HostEndpointUpdateSchema, {
    id: hostEndpointId(endpoint),
    endpoint: {
      name: endpoint.interfaceName,
      profileIds: [...endpoint.profiles],
      expectedIpv4Addrs: bare(4),
      expectedIpv6Addrs: bare(6),
      tiers: tierList(tiers, tracked),
      untrackedTiers: tierList(tiers, (policy) => policy.doNotTrack, { defaultAction: 'Pass' }),
      preDnatTiers: tierList(tiers, (policy) => policy.preDnat, { defaultAction: 'Pass', ingressOnly: true }),
      forwardTiers: tierList(tiers, (policy) => tracked(policy) && policy.applyOnForward),
      ...(endpoint.dscp === undefined ? {} : { qosPolicies: [{ dscp: endpoint.dscp }] }),
    },
  });
}

/** The removal of a host endpoint. */
export function hostEndpointRemove(endpoint: HostEndpointModel) {
  return create(HostEndpointRemoveSchema, { id: hostEndpointId(endpoint) });
}
