// Bad parameter values: each either ends the driver naming key, value and source, or falls back to the default with a
// warning that names them. None is ever used as written.
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../../src/base/errors.js';
import { parseConfig } from '../../../src/driver/config/config.js';
import { PARAMETERS, type ParameterName } from '../../../src/driver/config/parameters.js';
import { environment, updateFrom } from './config-update.js';

/** [parameter, bad value]: replaced by the default. */
const FALLS_BACK: readonly (readonly [ParameterName, string])[] = [
  ['Ipv6Support', 'maybe'],
  ['RemoveExternalRoutes', 'on'],
  ['VXLANEnabled', '2'],
  ['MaxIpsetSize', '-1'],
  ['MaxIpsetSize', '1e6'],
  ['MaxIpsetSize', '99999999999999999999'],
  ['VXLANPort', '65536'],
  ['VXLANPort', '4789/udp'],
  ['VXLANVNI', '0x1000000'],
  ['IpInIpMtu', '1480 '],
  ['DeviceRouteProtocol', '256'],
  ['IPv4NormalRoutePriority', '0'],
  ['IPv6ElevatedRoutePriority', '2147483647'],
  ['LogActionRateLimitBurst', '10000'],
  ['RouteRefreshInterval', '90s'],
  ['RouteRefreshInterval', 'NaN'],
  ['RouteRefreshInterval', '1e400'],
  ['IptablesLockProbeIntervalMillis', '0x32'],
  ['NFTablesMode', 'On'],
  ['IptablesBackend', 'ebtables'],
  ['ProgramClusterRoutes', 'EnabledVXLANOnly'],
  ['ServiceLoopPrevention', 'Accept'],
  ['NATOutgoingAddress', '300.1.2.3'],
  ['NATOutgoingAddress', 'fd00::1'],
  ['DeviceRouteSourceAddressIPv6', '10.0.0.1'],
  ['NATPortRange', '2000:1000'],
  ['NATPortRange', '1000-2000'],
  ['NATPortRange', '1:65536'],
  ['KubeNodePortRanges', '30000:32767, 80'],
  ['KubeNodePortRanges', 'http'],
  ['IptablesNATOutgoingInterfaceFilter', 'eth0 -j ACCEPT'],
  ['IptablesNATOutgoingInterfaceFilter', 'a-name-longer-than-15'],
  ['WireguardInterfaceName', 'wg/0'],
  ['LogPrefix', 'two\nlines'],
  ['LogActionRateLimit', '0/minute'],
  ['LogActionRateLimit', '10/week'],
  ['LogActionRateLimit', '10/minute\n-j ACCEPT'],
  ['MTUIfacePattern', '('],
  ['MTUIfacePattern', '(?i)eth'],
  ['NFTablesFlowTableDataIfacePattern', '(?=eth)'],
  ['InterfaceExclude', 'kube ipvs'],
  ['InterfaceExclude', '/[/'],
  ['IstioDSCPMark', '64'],
  ['IstioDSCPMark', 'AF19'],
  ['FeatureDetectOverride', 'no equals sign'],
  ['HealthTimeoutOverrides', 'a=90'],
  ['LogSeverityScreen', 'LOUD'],
];

/** [parameter, bad value]: ends the driver. */
const ENDS: readonly (readonly [ParameterName, string])[] = [
  ['IptablesMarkMask', '0x10000'],
  ['IptablesMarkMask', '0x1ffff0000'],
  ['IptablesMarkMask', '+0xffff0000'],
  ['NftablesMarkMask', 'all'],
  ['IptablesFilterAllowAction', 'DROP'],
  ['NftablesFilterDenyAction', 'ACCEPT'],
  ['DefaultEndpointToHostAction', 'REJECT'],
  ['ChainInsertMode', 'prepend'],
  ['InterfacePrefix', 'cali,'],
  ['InterfacePrefix', 'eth 0'],
  ['FailsafeInboundHostPorts', 'sctp:22'],
  ['FailsafeInboundHostPorts', 'tcp:65536'],
  ['FailsafeInboundHostPorts', 'tcp:10.0.0.0/33:22'],
  ['FailsafeInboundHostPorts', 'tcp:[fd00::/8:22'],
  ['FailsafeOutboundHostPorts', 'tcp:1:2:3'],
  ['FailsafeOutboundHostPorts', 'tcp:ssh'],
  ['ExternalNodesCIDRList', '10.0.0.0/8,not-an-address'],
  ['MetadataAddr', 'http://x'],
  ['MetadataPort', '70000'],
  ['RouteTableRange', '1-251'],
  ['RouteTableRange', '0-10'],
  ['RouteTableRanges', 'main'],
  ['RouteTableRanges', '10-1'],
  ['RouteTableRanges', '1-100000'],
  ['WireguardInterfaceName', 'none'],
  ['MaxIpsetSize', 'none'],
  ['IptablesMarkMask', 'NONE'],
];

describe('parseConfig, bad value', () => {
  it.each(FALLS_BACK)('of %s (%j), uses the default and warns', (name, rawValue) => {
    const parsed = parseConfig(environment({ [name]: rawValue }), 'node1');
    expect(parsed.resolution.values[name]).toEqual(PARAMETERS[name].defaultValue);
    expect(parsed.warnings).toEqual([
      { key: name, rawValue, source: 'environment variable', problem: expect.stringContaining('default') },
    ]);
  });

  it.each(ENDS)('of %s (%j), ends the driver', (name, rawValue) => {
    expect(() => parseConfig(environment({ [name]: rawValue }), 'node1')).toThrow(ConfigError);
    try {
      parseConfig(environment({ [name]: rawValue }), 'node1');
    } catch (error) {
      expect(error).toMatchObject({ key: name, rawValue, source: 'environment variable', kind: 'config' });
    }
  });

  it('in a lower source, still falls back to nothing: the higher source counts', () => {
    const parsed = parseConfig(updateFrom({ 1: { VXLANPort: 'x' }, 5: { VXLANPort: '1234' } }), 'node1');
    expect(parsed.config.vxlanPort).toBe(1234);
    expect(parsed.warnings.map((warning) => warning.source)).toEqual(['datastore (global)']);
  });

  it('in a higher source, gives the default and not the lower source, as in Felix', () => {
    const parsed = parseConfig(updateFrom({ 1: { VXLANPort: '1234' }, 5: { VXLANPort: 'x' } }), 'node1');
    expect(parsed.config.vxlanPort).toBe(4789);
  });

  it('of a local parameter from the datastore, is ignored with a warning', () => {
    const parsed = parseConfig(updateFrom({ 3: { FelixHostname: 'other' } }), 'node1');
    expect(parsed.config.felixHostname).toBe('node1');
    expect(parsed.warnings[0]?.problem).toContain('only be set on the host');
  });

  it('leaves the name of the machine, in lower case as in all messages', () => {
    expect(parseConfig(environment({}), ' Node-1.Example ').config.felixHostname).toBe('node-1.example');
    expect(parseConfig(environment({ FelixHostname: 'Node-2' }), 'x').config.felixHostname).toBe('Node-2');
  });

  it('of one feature override, leaves the others', () => {
    const texts = { FeatureDetectOverride: 'SNATFullyRandom=false,RestoreSupportsLock=perhaps' };
    const parsed = parseConfig(environment(texts), 'node1');
    expect([...parsed.config.featureDetectOverride]).toEqual([['SNATFullyRandom', false]]);
    expect(parsed.warnings[0]?.problem).toContain('RestoreSupportsLock');
  });
});
