// The internal model that resources are converted to and that the graph works on, one entry per key: what Felix's
// update processors make of v3 resources (calc-graph.md sections 5, 8, 11-14).
import type { Address, Cidr } from '../net/cidr.js';
import type { PortMatch, ProtocolMatch } from '../schema/scalars.js';

export type Labels = ReadonlyMap<string, string>;

export interface PolicyId {
  readonly kind: string;
  /** Empty for global policies. */
  readonly namespace: string;
  readonly name: string;
}

/** Source or destination of a rule. Selectors are texts; empty means not given. */
export interface EntityModel {
  readonly nets: readonly string[];
  readonly notNets: readonly string[];
  readonly ports: readonly PortMatch[];
  readonly notPorts: readonly PortMatch[];
  /** Namespace, service account and endpoint selectors combined. */
  readonly selector: string;
  readonly notSelector: string;
  readonly originalSelector: string;
  readonly originalNamespaceSelector: string;
  readonly serviceAccountNames: readonly string[];
  readonly serviceAccountSelector: string;
  readonly serviceName: string;
  readonly serviceNamespace: string;
}

export interface IcmpModel {
  readonly type: number | undefined;
  readonly code: number | undefined;
}

export interface HttpModel {
  readonly methods: readonly string[];
  readonly paths: readonly { readonly exact: string; readonly prefix: string }[];
}

export interface RuleModel {
  /** `allow`, `deny`, `log` or `next-tier`. */
  readonly action: string;
  readonly ipVersion: 4 | 6 | undefined;
  readonly protocol: ProtocolMatch | undefined;
  readonly notProtocol: ProtocolMatch | undefined;
  readonly icmp: IcmpModel | undefined;
  readonly notIcmp: IcmpModel | undefined;
  readonly source: EntityModel;
  readonly destination: EntityModel;
  readonly http: HttpModel | undefined;
  readonly annotations: Labels | undefined;
}

export interface PolicyModel {
  readonly tier: string;
  readonly namespace: string;
  /** Infinity if not given. */
  readonly order: number;
  readonly ingress: boolean;
  readonly egress: boolean;
  readonly doNotTrack: boolean;
  readonly preDnat: boolean;
  readonly applyOnForward: boolean;
  /** Which endpoints it is for, all parts combined, not yet canonical. */
  readonly selector: string;
  readonly inbound: readonly RuleModel[];
  readonly outbound: readonly RuleModel[];
  readonly performanceHints: readonly string[];
}

export interface TierModel {
  readonly order: number | undefined;
  readonly defaultAction: 'Deny' | 'Pass';
}

export interface ProfileModel {
  readonly inbound: readonly RuleModel[];
  readonly outbound: readonly RuleModel[];
  readonly labels: Labels;
}

export interface NamedPort {
  readonly name: string;
  readonly protocol: ProtocolMatch;
  readonly port: number;
}

export interface QosControls {
  readonly ingressBandwidth: number;
  readonly egressBandwidth: number;
  readonly ingressBurst: number;
  readonly egressBurst: number;
  readonly ingressPeakrate: number;
  readonly egressPeakrate: number;
  readonly ingressMinburst: number;
  readonly egressMinburst: number;
  readonly ingressPacketRate: number;
  readonly egressPacketRate: number;
  readonly ingressPacketBurst: number;
  readonly egressPacketBurst: number;
  readonly ingressMaxConnections: number;
  readonly egressMaxConnections: number;
  readonly dscp: number | undefined;
}

export interface NatModel {
  readonly external: Address;
  readonly internal: Address;
}

export interface WorkloadModel {
  readonly node: string;
  readonly orchestrator: string;
  /** `NAMESPACE/NAME` of the pod or other workload. */
  readonly workload: string;
  readonly endpoint: string;
  readonly interfaceName: string;
  readonly mac: string;
  readonly labels: Labels;
  readonly profiles: readonly string[];
  /** Single addresses in the order given. */
  readonly addresses: readonly Cidr[];
  readonly nats: readonly NatModel[];
  readonly ports: readonly NamedPort[];
  readonly allowSpoofedSourcePrefixes: readonly Cidr[];
  readonly annotations: Labels;
  readonly qos: QosControls | undefined;
}

export interface HostEndpointModel {
  readonly node: string;
  readonly name: string;
  readonly interfaceName: string;
  readonly labels: Labels;
  readonly profiles: readonly string[];
  readonly addresses: readonly Cidr[];
  readonly ports: readonly NamedPort[];
  readonly dscp: number | undefined;
}

export interface NetworkSetModel {
  readonly labels: Labels;
  readonly profiles: readonly string[];
  readonly nets: readonly Cidr[];
}

export type EncapMode = 'Never' | 'Always' | 'CrossSubnet';

export interface PoolModel {
  readonly cidr: Cidr;
  readonly ipipMode: EncapMode;
  readonly vxlanMode: EncapMode;
  readonly natOutgoing: boolean;
  readonly allowedUses: readonly string[];
}

export interface NodeModel {
  readonly name: string;
  readonly labels: Labels;
  /** Absent if the resource has no `spec.bgp`; addresses as written, empty if not given. */
  readonly bgp:
    | {
        readonly ipv4Address: string;
        readonly ipv6Address: string;
        readonly ipipTunnelAddress: string;
        readonly asNumber: string;
        /** True if `spec.bgp` is there with nothing in it. */
        readonly empty: boolean;
      }
    | undefined;
  readonly addresses: readonly { readonly type: string; readonly address: string }[];
  readonly vxlanAddress: string;
  readonly vxlanMac: string;
  readonly vxlanAddressV6: string;
  readonly vxlanMacV6: string;
  readonly wireguardAddress: string;
  readonly wireguardAddressV6: string;
  readonly wireguardKey: string;
  readonly wireguardKeyV6: string;
}

export interface BlockModel {
  readonly cidr: Cidr;
  /** Node or virtual name; empty for a block without affinity. */
  readonly affinity: string;
  /** Addresses in use whose node differs from the affinity. */
  readonly borrowed: readonly { readonly cidr: Cidr; readonly node: string }[];
}

export interface BgpConfigModel {
  readonly clusterCidrs: readonly string[];
  readonly externalCidrs: readonly string[];
  readonly loadBalancerCidrs: readonly string[];
  readonly peeringIpV4: string;
  readonly peeringIpV6: string;
}

export interface ServiceModel {
  readonly name: string;
  readonly namespace: string;
  readonly type: string;
  readonly clusterIps: readonly string[];
  readonly loadBalancerIp: string;
  readonly externalIps: readonly string[];
  readonly ports: readonly { readonly protocol: string; readonly port: number; readonly nodePort: number }[];
  readonly ingressIps: readonly string[];
}

export interface EndpointSliceModel {
  /** `NAMESPACE/NAME` of the service. */
  readonly service: string;
  readonly addresses: readonly Cidr[];
  readonly ports: readonly { readonly protocol: 'tcp' | 'udp' | 'sctp'; readonly port: number }[];
}

export interface FelixConfigModel {
  readonly name: string;
  /** Of a configuration for some nodes only; undefined for `default` and `node.NAME`. */
  readonly nodeSelector: string | undefined;
  /** As written; empty if not given. Older wins. */
  readonly creationTimestamp: string;
  /** Parameter name → raw text. */
  readonly parameters: Labels;
}

export interface BgpPeerModel {
  /** Empty if the peer is for the nodes that `nodeSelector` matches. */
  readonly node: string;
  readonly nodeSelector: string;
  /** Empty if the peer is not for workloads. */
  readonly localWorkloadSelector: string;
}

/** A workload, or one of its endpoints if `endpoint` is not empty. */
export interface MigrationParty {
  readonly hostname: string;
  readonly orchestrator: string;
  readonly workload: string;
  readonly endpoint: string;
}

export interface LiveMigrationModel {
  readonly uid: string;
  readonly source: MigrationParty | undefined;
  readonly target: MigrationParty | undefined;
  readonly targetSelector: string | undefined;
}

interface Models {
  readonly policy: PolicyModel & { readonly id: PolicyId };
  readonly tier: TierModel;
  readonly profile: ProfileModel;
  readonly workload: WorkloadModel;
  readonly 'host-endpoint': HostEndpointModel;
  readonly 'network-set': NetworkSetModel;
  readonly pool: PoolModel;
  readonly node: NodeModel;
  readonly block: BlockModel;
  readonly 'bgp-config': BgpConfigModel;
  readonly service: ServiceModel;
  readonly 'endpoint-slice': EndpointSliceModel;
  readonly 'bgp-peer': BgpPeerModel;
  readonly 'live-migration': LiveMigrationModel;
  readonly 'felix-config': FelixConfigModel;
}

/** An entry: its type, its key (unique within the type) and its value. */
export type GraphEntry = {
  [T in keyof Models]: { readonly type: T; readonly key: string; readonly value: Models[T] };
}[keyof Models];

/** Identifies an entry. */
export type EntryRef = Pick<GraphEntry, 'type' | 'key'>;

/** Text by which an entry is known across types. */
export function entryId(entry: EntryRef): string {
  return `${entry.type} ${entry.key}`;
}
