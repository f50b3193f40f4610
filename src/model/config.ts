// The typed configuration: every parameter that a non-BPF Linux dataplane uses (dataplane.md section 7), after
// parsing, defaults and clamping. Names are Felix's, camel-cased; NFT/IPT pairs are resolved to one field.

export type AllowAction = 'ACCEPT' | 'RETURN';
export type DenyAction = 'DROP' | 'REJECT';

/** A fail-safe entry; `net` is a CIDR or absent. */
export interface ProtoPort {
  readonly protocol: string;
  readonly port: number;
  readonly net?: string;
}

/** Immutable after the first InSync. Durations in milliseconds; 0 disables a refresh. */
export interface DataplaneConfig {
  readonly nftablesMode: 'Enabled' | 'Disabled' | 'Auto';
  readonly nftablesFlowTableOffload: 'All' | 'Disabled';
  readonly nftablesFlowTableDataIfacePattern: string;
  readonly iptablesBackend: 'legacy' | 'nft' | 'auto';
  /** Mark mask of the backend in use. */
  readonly markMask: { readonly iptables: number; readonly nftables: number };
  readonly filterAllowAction: { readonly iptables: AllowAction; readonly nftables: AllowAction };
  readonly mangleAllowAction: { readonly iptables: AllowAction; readonly nftables: AllowAction };
  readonly filterDenyAction: { readonly iptables: DenyAction; readonly nftables: DenyAction };
  readonly defaultEndpointToHostAction: 'DROP' | 'RETURN' | 'ACCEPT' | 'REJECT';
  readonly chainInsertMode: 'insert' | 'append';
  readonly refreshIntervalMs: { readonly iptables: number; readonly nftables: number };
  readonly iptablesPostWriteCheckIntervalMs: number;
  readonly iptablesLockProbeIntervalMs: number;
  readonly ipsetsRefreshIntervalMs: number;
  readonly maxIpsetSize: number;
  readonly routeRefreshIntervalMs: number;
  readonly interfaceRefreshIntervalMs: number;
  readonly netlinkTimeoutMs: number;
  readonly routeSyncDisabled: boolean;
  readonly deviceRouteProtocol: number;
  readonly deviceRouteSourceAddress: string | null;
  readonly deviceRouteSourceAddressIPv6: string | null;
  readonly removeExternalRoutes: boolean;
  readonly programClusterRoutes: 'Enabled' | 'Disabled' | 'EnabledIPIPOnly' | 'EnabledNoEncapOnly';
  readonly ipv4NormalRoutePriority: number;
  readonly ipv4ElevatedRoutePriority: number;
  readonly ipv6NormalRoutePriority: number;
  readonly ipv6ElevatedRoutePriority: number;
  readonly liveMigrationRouteConvergenceTimeMs: number;
  /** Inclusive ranges, in order. */
  readonly routeTableRanges: readonly { readonly min: number; readonly max: number }[];
  readonly routeSource: 'CalicoIPAM' | 'WorkloadIPs';
  readonly ipForwarding: 'Enabled' | 'Disabled';
  /** Workload interface prefixes without wildcard. */
  readonly interfacePrefixes: readonly string[];
  /** Names or `/regex/` texts. */
  readonly interfaceExclude: readonly string[];
  readonly ipv6Support: boolean;
  readonly failsafeInboundHostPorts: readonly ProtoPort[];
  readonly failsafeOutboundHostPorts: readonly ProtoPort[];
  readonly kubeNodePortRanges: readonly { readonly first: number; readonly last: number }[];
  readonly natPortRange: { readonly first: number; readonly last: number } | null;
  readonly natOutgoingAddress: string | null;
  readonly natOutgoingExclusions: 'IPPoolsOnly' | 'IPPoolsAndHostIPs';
  readonly iptablesNATOutgoingInterfaceFilter: string;
  readonly logPrefix: string;
  readonly logActionRateLimit: string;
  readonly logActionRateLimitBurst: number;
  readonly disableConntrackInvalidCheck: boolean;
  readonly flowLogsEnabled: boolean;
  readonly serviceLoopPrevention: 'Drop' | 'Reject' | 'Disabled';
  readonly floatingIPs: 'Enabled' | 'Disabled';
  /** null = not set. */
  readonly ipInIpEnabled: boolean | null;
  readonly ipInIpMtu: number;
  readonly ipInIpTunnelAddr: string | null;
  readonly vxlanEnabled: boolean | null;
  readonly vxlanPort: number;
  readonly vxlanVNI: number;
  readonly vxlanMTU: number;
  readonly vxlanMTUV6: number;
  readonly ipv4VXLANTunnelAddr: string | null;
  readonly ipv6VXLANTunnelAddr: string | null;
  readonly allowVXLANPacketsFromWorkloads: boolean;
  readonly allowIPIPPacketsFromWorkloads: boolean;
  readonly wireguardEnabled: boolean;
  readonly wireguardEnabledV6: boolean;
  readonly wireguardListeningPort: number;
  readonly wireguardListeningPortV6: number;
  readonly wireguardInterfaceName: string;
  readonly wireguardInterfaceNameV6: string;
  readonly wireguardMTU: number;
  readonly wireguardMTUV6: number;
  readonly wireguardRoutingRulePriority: number;
  readonly wireguardHostEncryptionEnabled: boolean;
  readonly wireguardPersistentKeepAliveMs: number;
  readonly wireguardThreadingEnabled: boolean;
  readonly mtuIfacePattern: string;
  readonly requireMTUFile: boolean;
  readonly externalNodesCIDRList: readonly string[];
  readonly istioAmbientMode: boolean;
  readonly istioDSCPMark: number;
  /** IPv4 address of the metadata service (Felix's default is 127.0.0.1); null = none, or a host name: no rule for it. */
  readonly metadataAddr: string | null;
  readonly metadataPort: number;
  readonly openstack: boolean;
  readonly clusterType: string;
  readonly localSubnetL2Reachability: 'Disabled' | 'PodsAndLoadBalancers';
  readonly localSubnetL2ReachabilityRefreshIntervalMs: number;
  readonly workloadSourceSpoofing: 'Disabled' | 'Any';
  readonly reportingIntervalMs: number;
  readonly endpointReportingEnabled: boolean;
  readonly endpointStatusPathPrefix: string;
  readonly featureDetectOverride: ReadonlyMap<string, boolean>;
  readonly dataplaneWatchdogTimeoutMs: number;
  readonly felixHostname: string;
  readonly logSeverityScreen: string;
  readonly prometheusMetricsEnabled: boolean;
  readonly healthEnabled: boolean;
}

/** Facts that are found out once at start and that rules, managers and reconcilers share. */
export interface DataplaneEnvironment {
  /** Backend in use, after NFTablesMode Auto is decided. */
  readonly backend: 'iptables' | 'nftables';
  /** kube-proxy runs in IPVS mode: a link named kube-ipvs0 exists. */
  readonly ipvs: boolean;
  /** From the Encapsulation message, or from config where it is set explicitly. */
  readonly ipipEnabled: boolean;
  readonly vxlanEnabled: boolean;
  readonly vxlanEnabledV6: boolean;
  readonly noEncapEnabled: boolean;
  /** Smallest MTU of the matching up host interfaces (2.7), 1460 when none. */
  readonly hostMtu: number;
  /** Value of net.ipv4.conf.default.rp_filter at start. */
  readonly defaultRpFilter: string;
}
