// ConfigUpdate → DataplaneConfig: resolves the texts, derives what Felix derives from several parameters, and clamps.
// The one entry to configuration for the driver loop and the composition root.
import { parseIpv4 } from '../../base/ip.js';
import type { DataplaneConfig } from '../../model/config.js';
import type { ConfigUpdate } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { ParameterValues } from './parameters.js';
import { type ConfigWarning, type Resolution, resolveParameters } from './resolution.js';

export type { ConfigWarning } from './resolution.js';

/** A parsed ConfigUpdate. */
export interface ParsedConfig {
  readonly config: DataplaneConfig;
  /** Parameters of which Felix sends changes while we run; they concern reports, not the dataplane. */
  readonly live: LiveConfig;
  readonly warnings: readonly ConfigWarning[];
  /** Settings that this dataplane can't honour, each with advice. */
  readonly unsupported: readonly string[];
  /** Names that nobody knows; harmless. */
  readonly unknown: readonly string[];
  readonly resolution: Resolution;
}

/** The values behind the live parameters CalicoVersion, ClusterGUID, ClusterType and HealthTimeoutOverrides. */
export interface LiveConfig {
  readonly calicoVersion: string;
  readonly clusterGuid: string;
  readonly clusterType: string;
  /** Reporter name → milliseconds. */
  readonly healthTimeoutOverridesMs: ReadonlyMap<string, number>;
}

/** Shortest watchdog: twice Felix's health interval of 10 s. */
const MIN_WATCHDOG_MS = 20_000;
/** Shortest time to the first check after a write to iptables (dataplane.md 4.5). */
const MIN_POST_WRITE_CHECK_MS = 50;
const DEFAULT_METADATA_ADDRESS = '127.0.0.1';
const DEFAULT_METADATA_PORT = 8775;
const DEFAULT_TABLE_RANGES = [{ min: 1, max: 250 }];

/**
 * Parses a ConfigUpdate. `hostname` is the machine's own name, used unless FelixHostname is set. Throws ConfigError
 * where Felix would die.
 */
export function parseConfig(update: ConfigUpdate, hostname: string): ParsedConfig {
  const resolution = resolveParameters(update);
  const { values } = resolution;
  const warnings = [...resolution.warnings];
  const config: DataplaneConfig = {
    ...backendConfig(values),
    ...tableConfig(values),
    ...routeConfig(values),
    ...interfaceConfig(values),
    ...ruleConfig(values),
    ...tunnelConfig(values),
    ...wireguardConfig(values),
    ...openstackConfig(values),
    ...reportConfig(values, hostname),
    featureDetectOverride: featureOverrides(resolution, warnings),
  };
  const live = {
    calicoVersion: values.CalicoVersion,
    clusterGuid: values.ClusterGUID,
    clusterType: values.ClusterType,
    healthTimeoutOverridesMs: values.HealthTimeoutOverrides,
  };
  return { config, live, warnings, unsupported: resolution.unsupported, unknown: resolution.unknown, resolution };
}

function backendConfig(values: ParameterValues) {
  return {
    nftablesMode: values.NFTablesMode,
    nftablesFlowTableOffload: values.NFTablesFlowTableOffload,
    nftablesFlowTableDataIfacePattern: values.NFTablesFlowTableDataIfacePattern,
    iptablesBackend: values.IptablesBackend,
    markMask: { iptables: values.IptablesMarkMask, nftables: values.NftablesMarkMask },
    filterAllowAction: { iptables: values.IptablesFilterAllowAction, nftables: values.NftablesFilterAllowAction },
    mangleAllowAction: { iptables: values.IptablesMangleAllowAction, nftables: values.NftablesMangleAllowAction },
    filterDenyAction: { iptables: values.IptablesFilterDenyAction, nftables: values.NftablesFilterDenyAction },
    defaultEndpointToHostAction: values.DefaultEndpointToHostAction,
    chainInsertMode: values.ChainInsertMode,
  };
}

function tableConfig(values: ParameterValues) {
  return {
    refreshIntervalMs: { iptables: values.IptablesRefreshInterval, nftables: values.NftablesRefreshInterval },
    iptablesPostWriteCheckIntervalMs: Math.max(values.IptablesPostWriteCheckIntervalSecs, MIN_POST_WRITE_CHECK_MS),
    iptablesLockProbeIntervalMs: values.IptablesLockProbeIntervalMillis,
    ipsetsRefreshIntervalMs: values.IpsetsRefreshInterval,
    maxIpsetSize: values.MaxIpsetSize,
    netlinkTimeoutMs: values.NetlinkTimeoutSecs,
  };
}

function routeConfig(values: ParameterValues) {
  const { RouteTableRange: single, RouteTableRanges: ranges } = values;
  return {
    routeRefreshIntervalMs: values.RouteRefreshInterval,
    routeSyncDisabled: values.RouteSyncDisabled,
    deviceRouteProtocol: values.DeviceRouteProtocol,
    deviceRouteSourceAddress: values.DeviceRouteSourceAddress,
    deviceRouteSourceAddressIPv6: values.DeviceRouteSourceAddressIPv6,
    removeExternalRoutes: values.RemoveExternalRoutes,
    programClusterRoutes: values.ProgramClusterRoutes,
    ipv4NormalRoutePriority: values.IPv4NormalRoutePriority,
    ipv4ElevatedRoutePriority: values.IPv4ElevatedRoutePriority,
    ipv6NormalRoutePriority: values.IPv6NormalRoutePriority,
    ipv6ElevatedRoutePriority: values.IPv6ElevatedRoutePriority,
    liveMigrationRouteConvergenceTimeMs: values.LiveMigrationRouteConvergenceTime,
    // The list wins over the deprecated single range.
    routeTableRanges: ranges.length > 0 ? ranges : single !== null ? [single] : DEFAULT_TABLE_RANGES,
    routeSource: values.RouteSource,
    ipForwarding: values.IPForwarding,
  };
}

function interfaceConfig(values: ParameterValues) {
  return {
    interfaceRefreshIntervalMs: values.InterfaceRefreshInterval,
    interfacePrefixes: values.InterfacePrefix.split(','),
    interfaceExclude: values.InterfaceExclude,
    ipv6Support: values.Ipv6Support,
    mtuIfacePattern: values.MTUIfacePattern,
    requireMTUFile: values.RequireMTUFile,
    localSubnetL2Reachability: values.LocalSubnetL2Reachability,
    localSubnetL2ReachabilityRefreshIntervalMs: values.LocalSubnetL2ReachabilityRefreshInterval,
    workloadSourceSpoofing: values.WorkloadSourceSpoofing,
  };
}

function ruleConfig(values: ParameterValues) {
  return {
    failsafeInboundHostPorts: values.FailsafeInboundHostPorts,
    failsafeOutboundHostPorts: values.FailsafeOutboundHostPorts,
    kubeNodePortRanges: values.KubeNodePortRanges,
    natPortRange: values.NATPortRange,
    natOutgoingAddress: values.NATOutgoingAddress,
    natOutgoingExclusions: values.NATOutgoingExclusions,
    iptablesNATOutgoingInterfaceFilter: values.IptablesNATOutgoingInterfaceFilter,
    logPrefix: values.LogPrefix,
    logActionRateLimit: values.LogActionRateLimit,
    logActionRateLimitBurst: values.LogActionRateLimitBurst,
    disableConntrackInvalidCheck: values.DisableConntrackInvalidCheck,
    flowLogsEnabled: values.FlowLogsGoldmaneServer !== '' || values.FlowLogsLocalReporter === 'Enabled',
    serviceLoopPrevention: values.ServiceLoopPrevention,
    floatingIPs: values.FloatingIPs,
    istioAmbientMode: values.IstioAmbientMode === 'Enabled',
    istioDSCPMark: values.IstioDSCPMark,
  };
}

function tunnelConfig(values: ParameterValues) {
  return {
    ipInIpEnabled: values.IpInIpEnabled,
    ipInIpMtu: values.IpInIpMtu,
    ipInIpTunnelAddr: values.IpInIpTunnelAddr,
    vxlanEnabled: values.VXLANEnabled,
    vxlanPort: values.VXLANPort,
    vxlanVNI: values.VXLANVNI,
    vxlanMTU: values.VXLANMTU,
    vxlanMTUV6: values.VXLANMTUV6,
    ipv4VXLANTunnelAddr: values.IPv4VXLANTunnelAddr,
    ipv6VXLANTunnelAddr: values.IPv6VXLANTunnelAddr,
    allowVXLANPacketsFromWorkloads: values.AllowVXLANPacketsFromWorkloads,
    allowIPIPPacketsFromWorkloads: values.AllowIPIPPacketsFromWorkloads,
    externalNodesCIDRList: values.ExternalNodesCIDRList,
  };
}

function wireguardConfig(values: ParameterValues) {
  return {
    wireguardEnabled: values.WireguardEnabled,
    wireguardEnabledV6: values.WireguardEnabledV6,
    wireguardListeningPort: values.WireguardListeningPort,
    wireguardListeningPortV6: values.WireguardListeningPortV6,
    wireguardInterfaceName: values.WireguardInterfaceName,
    wireguardInterfaceNameV6: values.WireguardInterfaceNameV6,
    wireguardMTU: values.WireguardMTU,
    wireguardMTUV6: values.WireguardMTUV6,
    wireguardRoutingRulePriority: values.WireguardRoutingRulePriority,
    wireguardHostEncryptionEnabled: values.WireguardHostEncryptionEnabled,
    wireguardPersistentKeepAliveMs: values.WireguardPersistentKeepAlive,
    wireguardThreadingEnabled: values.WireguardThreadingEnabled,
  };
}

/** OpenStack is told by the cluster type, or guessed from settings that only it changes (config.OpenstackActive). */
function openstackConfig(values: ParameterValues) {
  const { MetadataAddr: metadataAddr, MetadataPort: metadataPort, ClusterType: clusterType } = values;
  return {
    openstack:
      clusterType.toLowerCase().includes('openstack') ||
      (metadataAddr !== '' && metadataAddr !== DEFAULT_METADATA_ADDRESS) ||
      (metadataPort !== 0 && metadataPort !== DEFAULT_METADATA_PORT) ||
      values.InterfacePrefix.split(',').includes('tap'),
    // Felix renders the rule for whatever parses as an address, and none for a host name.
    metadataAddr: parseIpv4(metadataAddr) === null ? null : metadataAddr,
    metadataPort,
    clusterType,
  };
}

function reportConfig(values: ParameterValues, hostname: string) {
  return {
    reportingIntervalMs: values.ReportingIntervalSecs,
    endpointReportingEnabled: values.EndpointReportingEnabled,
    endpointStatusPathPrefix: values.EndpointStatusPathPrefix,
    dataplaneWatchdogTimeoutMs: Math.max(values.DataplaneWatchdogTimeout, MIN_WATCHDOG_MS),
    // Felix spells its machine's name in lower case, and so do all messages that speak of it (names.Hostname).
    felixHostname: values.FelixHostname === '' ? hostname.trim().toLowerCase() : values.FelixHostname,
    logSeverityScreen: values.LogSeverityScreen,
    prometheusMetricsEnabled: values.PrometheusMetricsEnabled,
    healthEnabled: values.HealthEnabled,
  };
}

/** Forms of Go's strconv.ParseBool. */
const GO_BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((form) => [form, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((form) => [form, false] as const),
]);

/** Feature overrides; one that is no boolean is left out with a warning, the others count. */
function featureOverrides(resolution: Resolution, warnings: ConfigWarning[]): ReadonlyMap<string, boolean> {
  const overrides = new Map<string, boolean>();
  for (const [feature, rawValue] of resolution.values.FeatureDetectOverride) {
    const value = GO_BOOLEANS.get(rawValue);
    if (value !== undefined) {
      overrides.set(feature, value);
      continue;
    }
    const source = resolution.sources.get('FeatureDetectOverride') ?? 'default';
    const problem = `the override of ${feature} is not true or false; ignored`;
    warnings.push({ key: 'FeatureDetectOverride', rawValue, source, problem });
  }
  return overrides;
}
