// Names of Felix's parameters: their canonical spelling, and how FelixConfiguration fields map to them
// (calc-graph.md section 18; names from felix/config/config_params.go and api/.../felixconfig.go).

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

/** Canonical names of all parameters. */
const PARAMETERS = words(`
  UseInternalDataplaneDriver DataplaneDriver DataplaneWatchdogTimeout WireguardEnabled WireguardEnabledV6
  WireguardListeningPort WireguardListeningPortV6 WireguardRoutingRulePriority WireguardInterfaceName
  WireguardInterfaceNameV6 WireguardMTU WireguardMTUV6 WireguardHostEncryptionEnabled WireguardPersistentKeepAlive
  WireguardThreadingEnabled NFTablesMode NFTablesFlowTableOffload NFTablesFlowTableDataIfacePattern BPFEnabled
  BPFOverlayHostSourceIP BPFDisableUnprivileged BPFJITHardening BPFLogLevel BPFConntrackLogLevel
  BPFConntrackCleanupMode BPFConntrackTimeouts BPFIPFragTimeout BPFLogFilters BPFCTLBLogFilter BPFDataIfacePattern
  BPFL3IfacePattern BPFConnectTimeLoadBalancingEnabled BPFConnectTimeLoadBalancing BPFHostNetworkedNATWithoutCTLB
  BPFExternalServiceMode BPFDSROptoutCIDRs BPFKubeProxyIptablesCleanupEnabled BPFKubeProxyMinSyncPeriod
  BPFKubeProxyHealthzPort BPFExtToServiceConnmark BPFPSNATPorts BPFMapSizeNATFrontend BPFMapSizeNATBackend
  BPFMapSizeNATAffinity BPFMapSizeRoute BPFMapSizeConntrack BPFMapSizePerCPUConntrack BPFMapSizeConntrackScaling
  BPFMapSizeConntrackCleanupQueue BPFMapSizeIPSets BPFMapSizeIfState BPFHostConntrackBypass
  BPFIPFragmentReassemblyEnabled BPFEnforceRPF BPFPolicyDebugEnabled BPFForceTrackPacketsFromIfaces
  BPFDisableGROForIfaces BPFExcludeCIDRsFromNAT BPFRedirectToPeer BPFAttachType BPFExportBufferSizeMB BPFProfiling
  IstioAmbientMode IstioDSCPMark CgroupV2Path DebugBPFCgroupV2 DatastoreType FelixHostname EtcdAddr EtcdScheme
  EtcdKeyFile EtcdCertFile EtcdCaFile EtcdEndpoints TyphaAddr TyphaK8sServiceName TyphaK8sNamespace
  TyphaReadTimeout TyphaWriteTimeout TyphaKeyFile TyphaCertFile TyphaCAFile TyphaCN TyphaURISAN Ipv6Support
  IptablesBackend RouteRefreshInterval InterfaceRefreshInterval DeviceRouteSourceAddress
  DeviceRouteSourceAddressIPv6 DeviceRouteProtocol RemoveExternalRoutes ProgramClusterRoutes IPForwarding
  IptablesRefreshInterval IptablesPostWriteCheckIntervalSecs IptablesLockProbeIntervalMillis FeatureDetectOverride
  FeatureGates IpsetsRefreshInterval MaxIpsetSize XDPRefreshInterval PolicySyncPathPrefix NetlinkTimeoutSecs
  MetadataAddr MetadataPort OpenstackRegion InterfacePrefix InterfaceExclude ChainInsertMode
  DefaultEndpointToHostAction IptablesFilterAllowAction IptablesMangleAllowAction IptablesFilterDenyAction
  LogPrefix LogActionRateLimit LogActionRateLimitBurst LogFilePath LogSeverityFile LogSeverityScreen LogSeveritySys
  LogDebugFilenameRegex VXLANEnabled VXLANPort VXLANVNI VXLANMTU VXLANMTUV6 IPv4VXLANTunnelAddr IPv6VXLANTunnelAddr
  VXLANTunnelMACAddr VXLANTunnelMACAddrV6 IpInIpEnabled IpInIpMtu IpInIpTunnelAddr FloatingIPs
  LocalSubnetL2Reachability LocalSubnetL2ReachabilityRefreshInterval WindowsManageFirewallRules
  AllowVXLANPacketsFromWorkloads AllowIPIPPacketsFromWorkloads AWSSrcDstCheck ServiceLoopPrevention
  WorkloadSourceSpoofing ReportingIntervalSecs ReportingTTLSecs EndpointReportingEnabled EndpointReportingDelaySecs
  EndpointStatusPathPrefix IptablesMarkMask DisableConntrackInvalidCheck HealthEnabled HealthPort HealthHost
  HealthTimeoutOverrides PrometheusMetricsEnabled PrometheusMetricsHost PrometheusMetricsPort
  PrometheusGoMetricsEnabled PrometheusProcessMetricsEnabled PrometheusWireGuardMetricsEnabled
  PrometheusMetricsCAFile PrometheusMetricsCertFile PrometheusMetricsKeyFile PrometheusMetricsClientAuth
  FailsafeInboundHostPorts FailsafeOutboundHostPorts FlowLogsFlushInterval FlowLogsCollectorDebugTrace
  FlowLogsGoldmaneServer FlowLogsLocalReporter FlowLogsPolicyEvaluationMode KubeNodePortRanges NATPortRange
  NATOutgoingAddress NATOutgoingExclusions UsageReportingEnabled UsageReportingInitialDelaySecs
  UsageReportingIntervalSecs ClusterGUID ClusterType CalicoVersion ExternalNodesCIDRList DebugMemoryProfilePath
  DebugCPUProfilePath DebugDisableLogDropping DebugSimulateCalcGraphHangAfter DebugSimulateDataplaneHangAfter
  DebugSimulateDataplaneApplyDelay DebugPanicAfter DebugSimulateDataRace DebugHost DebugPort RouteSource
  RouteTableRange RouteTableRanges RouteSyncDisabled IPv4NormalRoutePriority IPv4ElevatedRoutePriority
  IPv6NormalRoutePriority IPv6ElevatedRoutePriority LiveMigrationRouteConvergenceTime
  IptablesNATOutgoingInterfaceFilter SidecarAccelerationEnabled XDPEnabled GenericXDPEnabled Variant GoGCThreshold
  GoMemoryLimitMB GoMaxProcs MTUIfacePattern NftablesRefreshInterval NftablesFilterAllowAction
  NftablesMangleAllowAction NftablesFilterDenyAction NftablesMarkMask RequireMTUFile
  BPFMaglevMaxEndpointsPerService BPFMaglevMaxServices
`);

/** Parameters that a datastore may not set. */
const LOCAL_ONLY = new Set(
  words(`
  DebugBPFCgroupV2 DatastoreType FelixHostname EtcdAddr EtcdScheme EtcdKeyFile EtcdCertFile EtcdCaFile
  EtcdEndpoints TyphaAddr TyphaK8sServiceName TyphaK8sNamespace TyphaReadTimeout TyphaWriteTimeout TyphaKeyFile
  TyphaCertFile TyphaCAFile TyphaCN TyphaURISAN
`),
);

/** FelixConfiguration fields that are durations, written such as `90s` or `1m30s`; all become seconds. */
const DURATION_FIELDS = new Set(
  words(`
  dataplaneWatchdogTimeout routeRefreshInterval interfaceRefreshInterval iptablesRefreshInterval
  iptablesPostWriteCheckInterval ipsetsRefreshInterval xdpRefreshInterval netlinkTimeout reportingInterval
  reportingTTL endpointReportingDelay usageReportingInitialDelay usageReportingInterval
  debugSimulateCalcGraphHangAfter debugSimulateDataplaneHangAfter debugSimulateDataplaneApplyDelay
  nftablesRefreshInterval bpfIPFragTimeout bpfKubeProxyMinSyncPeriod flowLogsFlushInterval
  liveMigrationRouteConvergenceTime wireguardKeepAlive localSubnetL2ReachabilityRefreshInterval
`),
);

/** The one duration that becomes milliseconds. */
const MILLISECOND_FIELD = 'iptablesLockProbeInterval';

/** Fields whose parameter has another name. */
const RENAMED_FIELDS: ReadonlyMap<string, string> = new Map([
  ['iptablesPostWriteCheckInterval', 'IptablesPostWriteCheckIntervalSecs'],
  ['iptablesLockProbeInterval', 'IptablesLockProbeIntervalMillis'],
  ['netlinkTimeout', 'NetlinkTimeoutSecs'],
  ['ipipEnabled', 'IpInIpEnabled'],
  ['ipipMTU', 'IpInIpMtu'],
  ['reportingInterval', 'ReportingIntervalSecs'],
  ['reportingTTL', 'ReportingTTLSecs'],
  ['endpointReportingDelay', 'EndpointReportingDelaySecs'],
  ['usageReportingInitialDelay', 'UsageReportingInitialDelaySecs'],
  ['usageReportingInterval', 'UsageReportingIntervalSecs'],
  ['externalNodesList', 'ExternalNodesCIDRList'],
  ['bpfConntrackMode', 'BPFConntrackCleanupMode'],
  ['wireguardKeepAlive', 'WireguardPersistentKeepAlive'],
]);

const CANONICAL: ReadonlyMap<string, string> = new Map(PARAMETERS.map((name) => [name.toLowerCase(), name]));

/** The canonical name of a parameter, or undefined if it is unknown. Case does not matter. */
export function canonicalParameter(name: string): string | undefined {
  return CANONICAL.get(name.toLowerCase());
}

/** True if the parameter may only come from the environment or the config file. */
export function isLocalParameter(canonicalName: string): boolean {
  return LOCAL_ONLY.has(canonicalName);
}

/** The parameter that a field of FelixConfiguration sets, or undefined if there is no such field. */
export function parameterOfField(field: string): string | undefined {
  const renamed = RENAMED_FIELDS.get(field);
  if (renamed !== undefined) return renamed;
  const name = canonicalParameter(field);
  return name !== undefined && !isLocalParameter(name) ? name : undefined;
}

/** In what unit a field's duration is passed on; undefined if it is no duration. */
export function durationUnitOfField(field: string): 's' | 'ms' | undefined {
  if (field === MILLISECOND_FIELD) return 'ms';
  return DURATION_FIELDS.has(field) ? 's' : undefined;
}
