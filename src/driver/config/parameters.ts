// The table of every parameter that a non-BPF Linux dataplane reads (dataplane.md section 7; Felix:
// felix/config/config_params.go). Ranges are Felix's, or where it has none, what the kernel takes.
import {
  cidrList,
  interfaceList,
  keyDurations,
  keyValues,
  optionalPortRange,
  pattern,
  portList,
  portRangeList,
  tableRange,
  tableRanges,
} from './list-parameters.js';
import {
  address,
  bool,
  dscp,
  integer,
  markMask,
  matching,
  millis,
  oneOf,
  optionalBool,
  type Parameter,
  seconds,
  text,
} from './parameter.js';

const DIE = { nonZero: true, dieOnFail: true } as const;
const INTERFACE = /^[a-zA-Z0-9:._+-]{1,15}$/;
const FAILSAFE_COMMON = 'tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667';
const MAX_UINT32 = 0xffffffff;
const MAX_MTU = 65535;
const MAX_PRIORITY = 2147483646;

const allowAction = () => oneOf(['ACCEPT', 'RETURN'], 'ACCEPT', DIE);
const denyAction = () => oneOf(['DROP', 'REJECT'], 'DROP', DIE);
const enabled = (defaultValue: 'Enabled' | 'Disabled') =>
  oneOf(['Enabled', 'Disabled'], defaultValue, { zero: 'Disabled' });
const port = (defaultValue: number) => integer(defaultValue, 0, 65535);
const mtu = () => integer(0, 0, MAX_MTU);
const interfaceName = (defaultValue: string, nonZero: boolean) =>
  matching(INTERFACE, 'an interface name', defaultValue, { nonZero });

/** Parameters by Felix's name. A choice without a zero of its own keeps its default when set to `none`. */
export const PARAMETERS = {
  NFTablesMode: oneOf(['Enabled', 'Disabled', 'Auto'], 'Auto', { zero: 'Disabled' }),
  NFTablesFlowTableOffload: oneOf(['All', 'Disabled'], 'Disabled'),
  NFTablesFlowTableDataIfacePattern: pattern(''),
  IptablesBackend: oneOf(['legacy', 'nft', 'auto'], 'auto'),
  IptablesMarkMask: markMask(0xffff0000),
  NftablesMarkMask: markMask(0xffff0000),
  IptablesFilterAllowAction: allowAction(),
  NftablesFilterAllowAction: allowAction(),
  IptablesMangleAllowAction: allowAction(),
  NftablesMangleAllowAction: allowAction(),
  IptablesFilterDenyAction: denyAction(),
  NftablesFilterDenyAction: denyAction(),
  DefaultEndpointToHostAction: oneOf(['DROP', 'RETURN', 'ACCEPT'], 'DROP', DIE),
  ChainInsertMode: oneOf(['insert', 'append'], 'insert', DIE),
  IptablesRefreshInterval: seconds(180),
  NftablesRefreshInterval: seconds(180),
  IptablesPostWriteCheckIntervalSecs: seconds(5),
  IptablesLockProbeIntervalMillis: millis(50),
  IpsetsRefreshInterval: seconds(90),
  MaxIpsetSize: integer(1048576, 1, MAX_UINT32, { nonZero: true }),
  RouteRefreshInterval: seconds(90),
  InterfaceRefreshInterval: seconds(90),
  NetlinkTimeoutSecs: seconds(10),
  RouteSyncDisabled: bool(false),
  DeviceRouteProtocol: integer(3, 0, 255),
  DeviceRouteSourceAddress: address(4),
  DeviceRouteSourceAddressIPv6: address(6),
  RemoveExternalRoutes: bool(true),
  ProgramClusterRoutes: oneOf(['Enabled', 'Disabled', 'EnabledIPIPOnly', 'EnabledNoEncapOnly'], 'EnabledIPIPOnly', {
    zero: 'Disabled',
  }),
  IPv4NormalRoutePriority: integer(1024, 1, MAX_PRIORITY),
  IPv4ElevatedRoutePriority: integer(512, 1, MAX_PRIORITY),
  IPv6NormalRoutePriority: integer(1024, 1, MAX_PRIORITY),
  IPv6ElevatedRoutePriority: integer(512, 1, MAX_PRIORITY),
  LiveMigrationRouteConvergenceTime: seconds(30),
  RouteTableRange: tableRange(),
  RouteTableRanges: tableRanges(),
  RouteSource: oneOf(['WorkloadIPs', 'CalicoIPAM'], 'CalicoIPAM'),
  IPForwarding: enabled('Enabled'),
  InterfacePrefix: matching(
    /^[a-zA-Z0-9_-]{1,15}(,[a-zA-Z0-9_-]{1,15})*$/,
    'a list of interface prefixes',
    'cali',
    DIE,
  ),
  InterfaceExclude: interfaceList(['kube-ipvs0']),
  Ipv6Support: bool(true),
  FailsafeInboundHostPorts: portList(`tcp:22,udp:68,${FAILSAFE_COMMON}`),
  FailsafeOutboundHostPorts: portList(`udp:53,udp:67,${FAILSAFE_COMMON}`),
  KubeNodePortRanges: portRangeList([{ first: 30000, last: 32767 }]),
  NATPortRange: optionalPortRange(),
  NATOutgoingAddress: address(4),
  NATOutgoingExclusions: oneOf(['IPPoolsOnly', 'IPPoolsAndHostIPs'], 'IPPoolsOnly'),
  IptablesNATOutgoingInterfaceFilter: interfaceName('', false),
  LogPrefix: text('calico-packet'),
  LogActionRateLimit: matching(/^([1-9]\d{0,3}\/(?:second|minute|hour|day))?$/, 'a rate such as 10/minute', ''),
  LogActionRateLimitBurst: integer(5, 0, 9999),
  DisableConntrackInvalidCheck: bool(false),
  FlowLogsGoldmaneServer: text(''),
  FlowLogsLocalReporter: enabled('Disabled'),
  ServiceLoopPrevention: oneOf(['Drop', 'Reject', 'Disabled'], 'Drop', { zero: 'Disabled' }),
  FloatingIPs: enabled('Disabled'),
  IpInIpEnabled: optionalBool(),
  IpInIpMtu: mtu(),
  IpInIpTunnelAddr: address(4),
  VXLANEnabled: optionalBool(),
  VXLANPort: port(4789),
  VXLANVNI: integer(4096, 0, 0xffffff),
  VXLANMTU: mtu(),
  VXLANMTUV6: mtu(),
  IPv4VXLANTunnelAddr: address(4),
  IPv6VXLANTunnelAddr: address(6),
  AllowVXLANPacketsFromWorkloads: bool(false),
  AllowIPIPPacketsFromWorkloads: bool(false),
  WireguardEnabled: bool(false),
  WireguardEnabledV6: bool(false),
  WireguardListeningPort: port(51820),
  WireguardListeningPortV6: port(51821),
  WireguardInterfaceName: interfaceName('wireguard.cali', true),
  WireguardInterfaceNameV6: interfaceName('wg-v6.cali', true),
  WireguardMTU: mtu(),
  WireguardMTUV6: mtu(),
  WireguardRoutingRulePriority: integer(99, 0, MAX_UINT32),
  WireguardHostEncryptionEnabled: bool(false),
  WireguardPersistentKeepAlive: seconds(0),
  WireguardThreadingEnabled: bool(false),
  MTUIfacePattern: pattern('^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)'),
  RequireMTUFile: bool(false),
  ExternalNodesCIDRList: cidrList({ dieOnFail: true }),
  IstioAmbientMode: enabled('Disabled'),
  IstioDSCPMark: dscp(23),
  MetadataAddr: matching(/^[a-zA-Z0-9_.-]+$/, 'a host name or address', '127.0.0.1', { dieOnFail: true }),
  MetadataPort: integer(8775, 0, 65535, { dieOnFail: true }),
  ClusterType: text(''),
  ClusterGUID: text('baddecaf'),
  CalicoVersion: text(''),
  HealthTimeoutOverrides: keyDurations(),
  LocalSubnetL2Reachability: oneOf(['Disabled', 'PodsAndLoadBalancers'], 'Disabled'),
  LocalSubnetL2ReachabilityRefreshInterval: seconds(120),
  WorkloadSourceSpoofing: oneOf(['Disabled', 'Any'], 'Disabled'),
  ReportingIntervalSecs: seconds(30),
  EndpointReportingEnabled: bool(false),
  EndpointStatusPathPrefix: text('/var/run/calico'),
  FeatureDetectOverride: keyValues(),
  DataplaneWatchdogTimeout: seconds(90),
  FelixHostname: matching(/^[a-zA-Z0-9_.-]+$/, 'a host name', '', { nonZero: true, local: true }),
  LogSeverityScreen: oneOf(['TRACE', 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'FATAL'], 'INFO', { zero: 'FATAL' }),
  PrometheusMetricsEnabled: bool(false),
  HealthEnabled: bool(false),
} as const;

/** A parameter that we read. */
export type ParameterName = keyof typeof PARAMETERS;

/** Type of a parameter's value. */
export type ValueOf<Name extends ParameterName> = (typeof PARAMETERS)[Name] extends Parameter<infer T> ? T : never;

/** Every parameter's value. */
export type ParameterValues = { readonly [Name in ParameterName]: ValueOf<Name> };

/**
 * Parameters of Felix that ask a dataplane for something that this one does not do. The texts are what to tell the
 * operator; `when` holds for values (lower case) that really ask for it.
 */
export const UNSUPPORTED: ReadonlyMap<string, { readonly when: (value: string) => boolean; readonly advice: string }> =
  new Map([
    ['BPFEnabled', { when: isTrue, advice: 'the eBPF dataplane is not available; iptables or nftables is used' }],
    ['XDPEnabled', { when: isTrue, advice: 'XDP acceleration is not available; untracked policy is not sped up' }],
    [
      'GenericXDPEnabled',
      { when: isTrue, advice: 'XDP acceleration is not available; untracked policy is not sped up' },
    ],
    ['SidecarAccelerationEnabled', { when: isTrue, advice: 'sidecar acceleration is not available' }],
    [
      'AWSSrcDstCheck',
      { when: (value: string) => value !== 'donothing', advice: 'the EC2 source/destination check is left as it is' },
    ],
  ]);

function isTrue(value: string): boolean {
  return ['true', '1', 'yes', 'y', 't'].includes(value);
}

/** Beginnings of the names of parameters that are Felix's own business; they need no word from us. */
const FELIX_ONLY_PREFIXES = [
  'BPF',
  'Debug',
  'Etcd',
  'FlowLogs',
  'Go',
  'Health',
  'Prometheus',
  'Typha',
  'UsageReporting',
  'Windows',
  'XDP',
];

/** Names of further parameters that are Felix's own business. */
const FELIX_ONLY_NAMES = [
  'CgroupV2Path',
  'DataplaneDriver',
  'DatastoreType',
  'EndpointReportingDelaySecs',
  'FeatureGates',
  'LogDebugFilenameRegex',
  'LogFilePath',
  'LogSeverityFile',
  'LogSeveritySys',
  'OpenstackRegion',
  'PolicySyncPathPrefix',
  'ReportingTTLSecs',
  'UseInternalDataplaneDriver',
  'Variant',
  'VXLANTunnelMACAddr',
  'VXLANTunnelMACAddrV6',
];

const felixOnlyNames = new Set(FELIX_ONLY_NAMES.map((name) => name.toLowerCase()));
const felixOnlyPrefixes = FELIX_ONLY_PREFIXES.map((prefix) => prefix.toLowerCase());

/** Whether Felix has a use for the parameter (any case) that does not concern a dataplane. */
export function isFelixOnly(name: string): boolean {
  const lower = name.toLowerCase();
  return felixOnlyNames.has(lower) || felixOnlyPrefixes.some((prefix) => lower.startsWith(prefix));
}
