import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { type ParsedConfig, parseConfig } from '../../../src/driver/config/config.js';
import { diffLive } from '../../../src/driver/config/live.js';
import type { DataplaneConfig } from '../../../src/model/config.js';
import { ConfigUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { ToDataplaneDecoder } from '../../../src/protocol/messages.js';
import { loadRecording, recordingNames, splitFrames } from '../../fixtures/recording.js';
import { environment, updateFrom } from './config-update.js';

function configOf(texts: Record<string, string>): DataplaneConfig {
  return parseConfig(environment(texts), 'node1').config;
}

/** [parameter, text, field of the result, expected value]. */
const GOOD: readonly (readonly [string, string, keyof DataplaneConfig, unknown])[] = [
  ['Ipv6Support', 'No', 'ipv6Support', false],
  ['ipv6support', 'F', 'ipv6Support', false],
  ['IpInIpEnabled', 'y', 'ipInIpEnabled', true],
  ['VXLANEnabled', 'none', 'vxlanEnabled', null],
  ['MaxIpsetSize', '0x100000', 'maxIpsetSize', 1048576],
  ['MaxIpsetSize', '1_000', 'maxIpsetSize', 1000],
  ['VXLANPort', '010', 'vxlanPort', 8],
  ['VXLANMTU', 'none', 'vxlanMTU', 0],
  ['IptablesMarkMask', '0xff000000', 'markMask', { iptables: 0xff000000, nftables: 0xffff0000 }],
  ['NftablesFilterDenyAction', 'reject', 'filterDenyAction', { iptables: 'DROP', nftables: 'REJECT' }],
  ['ChainInsertMode', 'Append', 'chainInsertMode', 'append'],
  ['IptablesRefreshInterval', '1.5', 'refreshIntervalMs', { iptables: 1500, nftables: 180000 }],
  ['IptablesRefreshInterval', '-1', 'refreshIntervalMs', { iptables: 0, nftables: 180000 }],
  ['RouteRefreshInterval', '1e12', 'routeRefreshIntervalMs', 2147483647],
  ['RouteRefreshInterval', '1_0.5', 'routeRefreshIntervalMs', 10_500],
  ['ReportingIntervalSecs', 'none', 'reportingIntervalMs', 0],
  ['IptablesPostWriteCheckIntervalSecs', '0', 'iptablesPostWriteCheckIntervalMs', 50],
  ['DataplaneWatchdogTimeout', '5', 'dataplaneWatchdogTimeoutMs', 20000],
  [
    'RouteTableRanges',
    '1-5, 10-20',
    'routeTableRanges',
    [
      { min: 1, max: 5 },
      { min: 10, max: 20 },
    ],
  ],
  ['RouteTableRange', '7-9', 'routeTableRanges', [{ min: 7, max: 9 }]],
  ['InterfacePrefix', 'cali,tap', 'interfacePrefixes', ['cali', 'tap']],
  ['InterfacePrefix', 'cali,tap', 'openstack', true],
  ['ClusterType', 'k8s,OpenStack', 'openstack', true],
  ['MetadataPort', '9697', 'openstack', true],
  ['MetadataAddr', 'none', 'metadataAddr', null],
  ['MetadataAddr', '10.0.0.5', 'metadataAddr', '10.0.0.5'],
  ['MetadataAddr', 'metadata.local', 'metadataAddr', null],
  ['InterfaceExclude', 'docker0,/^veth[0-9]+$/', 'interfaceExclude', ['docker0', '/^veth[0-9]+$/']],
  ['InterfaceExclude', 'none', 'interfaceExclude', []],
  ['MTUIfacePattern', '^[[:alpha:]]+$', 'mtuIfacePattern', '^[a-zA-Z]+$'],
  [
    'KubeNodePortRanges',
    '100:200,300',
    'kubeNodePortRanges',
    [
      { first: 100, last: 200 },
      { first: 300, last: 300 },
    ],
  ],
  ['NATPortRange', '32768:65000', 'natPortRange', { first: 32768, last: 65000 }],
  ['NATPortRange', '0', 'natPortRange', null],
  ['NATOutgoingAddress', '::ffff:10.0.0.1', 'natOutgoingAddress', '10.0.0.1'],
  ['IPv6VXLANTunnelAddr', 'FD00:0::1', 'ipv6VXLANTunnelAddr', 'fd00::1'],
  ['ExternalNodesCIDRList', '10.1.2.3, 10.9.9.9/8,', 'externalNodesCIDRList', ['10.1.2.3/32', '10.0.0.0/8']],
  ['LogPrefix', 'none', 'logPrefix', ''],
  ['LogActionRateLimit', '10/minute', 'logActionRateLimit', '10/minute'],
  ['FlowLogsGoldmaneServer', 'goldmane:443', 'flowLogsEnabled', true],
  ['FlowLogsLocalReporter', 'enabled', 'flowLogsEnabled', true],
  ['FlowLogsFileEnabled', 'true', 'flowLogsEnabled', false],
  ['IstioDSCPMark', 'af21', 'istioDSCPMark', 18],
  ['IstioDSCPMark', 'EF', 'istioDSCPMark', 46],
  ['WireguardPersistentKeepAlive', '25', 'wireguardPersistentKeepAliveMs', 25000],
  ['FelixHostname', 'node-7.local', 'felixHostname', 'node-7.local'],
  [
    'FailsafeInboundHostPorts',
    '22, udp:68,TCP:10.0.0.1:179,udp:[fd00::1/64]:500,tcp:[fd00::1]:22',
    'failsafeInboundHostPorts',
    [
      { protocol: 'tcp', port: 22 },
      { protocol: 'udp', port: 68 },
      { protocol: 'tcp', port: 179, net: '10.0.0.1/32' },
      { protocol: 'udp', port: 500, net: 'fd00::/64' },
      { protocol: 'tcp', port: 22, net: 'fd00::1/128' },
    ],
  ],
  ['FailsafeOutboundHostPorts', 'none', 'failsafeOutboundHostPorts', []],
];

describe('parseConfig', () => {
  it.each(GOOD)('%s = %j gives %s', (name, text, field, expected) => {
    const parsed = parseConfig(environment({ [name]: text }), 'node1');
    expect(parsed.config[field]).toEqual(expected);
    expect(parsed.warnings).toEqual([]);
  });

  it('without any source, gives the defaults', () => {
    const config = configOf({});
    expect(config.failsafeInboundHostPorts).toHaveLength(9);
    expect(config.failsafeOutboundHostPorts.slice(0, 2)).toEqual([
      { protocol: 'udp', port: 53 },
      { protocol: 'udp', port: 67 },
    ]);
    expect(config.routeTableRanges).toEqual([{ min: 1, max: 250 }]);
    expect(config.mtuIfacePattern).toBe('^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)');
    expect(config.metadataAddr).toBe('127.0.0.1');
    expect(config.openstack).toBe(false);
    expect(config.felixHostname).toBe('node1');
  });

  it('same parameter in several sources, takes the highest', () => {
    const update = updateFrom({
      1: { VXLANPort: '1' },
      2: { VXLANPort: '2' },
      4: { vxlanport: '4' },
      3: { VXLANPort: '3' },
    });
    const parsed = parseConfig(update, 'node1');
    expect(parsed.config.vxlanPort).toBe(4);
    expect(parsed.resolution.sources.get('VXLANPort')).toBe('config file');
  });

  it('no sources told apart, takes the merged map', () => {
    const update = create(ConfigUpdateSchema, { config: { VXLANPort: '1234', FelixHostname: 'a' } });
    expect(parseConfig(update, 'node1').config).toMatchObject({ vxlanPort: 1234, felixHostname: 'a' });
  });

  it('empty text, is as if unset', () => {
    const parsed = parseConfig(updateFrom({ 1: { LogPrefix: 'x' }, 5: { LogPrefix: '' } }), 'node1');
    expect(parsed.config.logPrefix).toBe('x');
  });

  it('names that only Felix or nobody knows, are harmless', () => {
    const parsed = parseConfig(
      environment({ DropActionOverride: 'Drop', FlowLogsFileEnabled: 'true', TyphaAddr: 'x' }),
      'n',
    );
    expect(parsed.warnings).toEqual([]);
    expect(parsed.unknown).toEqual(['DropActionOverride']);
  });

  it('settings that ask for what is not there, are reported once', () => {
    const update = updateFrom({ 1: { BPFEnabled: 'true', AWSSrcDstCheck: 'DoNothing' }, 5: { bpfenabled: 'false' } });
    expect(parseConfig(update, 'n').unsupported).toEqual([]);
    expect(parseConfig(environment({ BPFEnabled: 'true' }), 'n').unsupported[0]).toContain('BPFEnabled=true');
    expect(parseConfig(environment({ XDPEnabled: 'Yes' }), 'n').unsupported[0]).toContain('XDPEnabled=Yes');
    expect(parseConfig(environment({ XDPEnabled: 'false' }), 'n').unsupported).toEqual([]);
  });

  it.each(recordingNames())('ConfigUpdate of recording %s, parses without warning', (name) => {
    const decoder = new ToDataplaneDecoder();
    const parsed: ParsedConfig[] = [];
    splitFrames(loadRecording(name).stream).forEach((frame, sequence) => {
      const payload = decoder.decode(frame, sequence, 0)?.payload;
      if (payload?.case === 'configUpdate') parsed.push(parseConfig(payload.value, 'n'));
    });
    expect(parsed.length).toBeGreaterThan(0);
    expect(parsed.flatMap((one) => one.warnings)).toEqual([]);
    expect(parsed.flatMap((one) => one.unknown).filter((key) => key.toLowerCase() !== 'dropactionoverride')).toEqual(
      [],
    );
    expect(decoder.counters).toMatchObject({
      unknownFields: 0,
      unknownPayloads: 0,
      invalidMessages: 0,
      legacyMessages: 0,
    });
  });
});

describe('diffLive', () => {
  const old = parseConfig(environment({ ClusterType: 'k8s', LogPrefix: 'a', RouteRefreshInterval: '60' }), 'n');

  it('live keys changed, applies them', () => {
    const texts = {
      ClusterType: 'k8s,openstack',
      ClusterGUID: 'g',
      CalicoVersion: 'v3.33',
      HealthTimeoutOverrides: 'InternalDataplaneMainLoop=1m30s',
      LogPrefix: 'a',
      RouteRefreshInterval: '60.0',
    };
    const change = diffLive(old, parseConfig(environment(texts), 'n'));
    expect(change.applied.toSorted()).toEqual([
      'CalicoVersion',
      'ClusterGUID',
      'ClusterType',
      'HealthTimeoutOverrides',
    ]);
    expect(change.needRestart).toEqual([]);
    expect(change.config).toEqual({ ...old.config, clusterType: 'k8s,openstack' });
    expect(change.live.healthTimeoutOverridesMs.get('InternalDataplaneMainLoop')).toBe(90_000);
  });

  it('other keys changed, reports them and applies none', () => {
    const change = diffLive(old, parseConfig(environment({ ClusterType: 'k8s', LogPrefix: 'b' }), 'n'));
    expect(change.needRestart.toSorted()).toEqual(['LogPrefix', 'RouteRefreshInterval']);
    expect(change.config).toEqual(old.config);
  });
});
