import { toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { vtepMac } from '../../../src/mock/graph/node-messages.js';
import { type RouteUpdate, RouteUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { applyValid, newMock, valuesOf } from './support/mock.js';

const VXLAN_POOL =
  '{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.65.0.0/16, vxlanMode: Always, natOutgoing: true}}';

function routesOf(
  text: string,
  config: Record<string, string> = { RouteSource: 'WorkloadIPs' },
): Record<string, unknown>[] {
  const mock = newMock(config);
  applyValid(mock, text);
  return valuesOf(mock.flush(), 'routeUpdate').map(
    (route) => toJson(RouteUpdateSchema, route as RouteUpdate) as Record<string, unknown>,
  );
}

function pod(node: string, name: string, ip: string): string {
  return `{apiVersion: v1, kind: Pod, metadata: {name: ${name}, namespace: n}, spec: {nodeName: ${node}}, status: {podIP: ${ip}}}`;
}

describe('routes', () => {
  it('are those of the example in calc-graph.md section 13', () => {
    const text = [
      VXLAN_POOL,
      '{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node2}, spec: {bgp: {ipv4Address: 192.168.0.2/24}, ipv4VXLANTunnelAddr: 10.65.2.1}}',
      pod('node2', 'far', '10.65.2.5'),
      pod('node1', 'near', '10.65.0.2'),
    ].join('\n---\n');
    const pool = { ipPoolType: 'VXLAN', natOutgoing: true };
    const node2 = { dstNodeName: 'node2', dstNodeIp: '192.168.0.2' };
    expect(routesOf(text)).toEqual([
      { dst: '10.65.0.0/16', ...pool },
      { dst: '10.65.0.2/32', types: 'LOCAL_WORKLOAD', dstNodeName: 'node1', localWorkload: true, ...pool },
      { dst: '10.65.2.1/32', types: 'REMOTE_TUNNEL', tunnelType: { vxlan: true }, ...node2, ...pool },
      { dst: '10.65.2.5/32', types: 'REMOTE_WORKLOAD', ...node2, ...pool },
      { dst: '192.168.0.2/32', types: 'REMOTE_HOST', ...node2 },
    ]);
  });

  it('come from blocks by default, with borrowed addresses marked', () => {
    const text = [
      VXLAN_POOL,
      pod('node2', 'far', '10.65.9.9'),
      `{apiVersion: crd.projectcalico.org/v1, kind: IPAMBlock, metadata: {name: b}, spec: {cidr: 10.65.2.0/26, affinity: "host:node2",
        allocations: [0, 1, null, 2], attributes: [{secondary: {node: node2}}, {secondary: {node: node3}}, {handle_id: x}]}}`,
    ].join('\n---\n');
    expect(
      routesOf(text, {}).map(({ dst, types, dstNodeName, borrowed }) => [dst, types, dstNodeName, borrowed]),
    ).toEqual([
      ['10.65.0.0/16', undefined, undefined, undefined],
      ['10.65.2.0/26', 'REMOTE_WORKLOAD', 'node2', undefined],
      ['10.65.2.1/32', 'REMOTE_WORKLOAD', 'node3', true],
    ]);
  });

  it('say whether the other node is in the same subnet, if the pool crosses subnets', () => {
    const node = (name: string, address: string): string =>
      `{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: ${name}}, spec: {bgp: {ipv4Address: ${address}}}}`;
    const text = [
      VXLAN_POOL.replace('Always', 'CrossSubnet'),
      node('node1', '192.168.0.1/24'),
      node('node2', '192.168.0.2/24'),
      node('node3', '192.168.1.3/24'),
      pod('node2', 'a', '10.65.2.5'),
      pod('node3', 'b', '10.65.3.5'),
    ].join('\n---\n');
    const remote = routesOf(text).filter(({ types }) => types === 'REMOTE_WORKLOAD');
    expect(remote.map(({ dst, sameSubnet }) => [dst, sameSubnet])).toEqual([
      ['10.65.2.5/32', true],
      ['10.65.3.5/32', undefined],
    ]);
  });

  it.each([
    [{}, 'ipipMode: Never', false],
    [{}, 'ipipMode: Always', true],
    [{}, 'vxlanMode: Always', true],
    [{ ProgramClusterRoutes: 'Disabled' }, 'ipipMode: Always', false],
    [{ ProgramClusterRoutes: 'Enabled' }, 'ipipMode: Never', true],
    [{ ProgramClusterRoutes: 'EnabledNoEncapOnly' }, 'ipipMode: Never', true],
    [{ ProgramClusterRoutes: 'EnabledNoEncapOnly' }, 'ipipMode: Always', false],
    [{ VXLANEnabled: 'true' }, 'ipipMode: Never', true],
    [{ WireguardEnabled: 'true' }, 'ipipMode: Never', true],
  ])('with %o and a pool of %s are sent: %s', (config, mode, sent) => {
    const pool = `{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.65.0.0/16, ${mode}}}`;
    expect(routesOf(pool, config).length > 0).toBe(sent);
  });
});

describe('vtepMac', () => {
  it.each([
    ['node2', 4, '66:2d:bf:44:a6:8b'],
    ['node2', 6, '66:32:42:ed:de:d5'],
  ] as const)('of %s for IPv%s', (node, family, expected) => {
    expect(vtepMac(node, family)).toBe(expected);
  });
});

describe('nodes', () => {
  it('are sent as host metadata with prefix length, AS number and labels', () => {
    const mock = newMock();
    applyValid(
      mock,
      `
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: a, labels: {zone: x}}, spec: {bgp: {ipv4Address: 192.168.0.1/24, asNumber: "1.10"}}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: b}, spec: {bgp: {ipv4Address: 192.168.0.2}, addresses: [{address: 1.2.3.4, type: ExternalIP}, {address: 10.0.0.1, type: InternalIP}]}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: c}, spec: {bgp: {}}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: d}, spec: {}}
`,
    );
    expect(valuesOf(mock.flush(), 'hostMetadataUpdate')).toMatchObject([
      { hostname: 'a', ipv4Addr: '192.168.0.1/24', asnumber: '65546', labels: { zone: 'x' } },
      { hostname: 'b', ipv4Addr: '10.0.0.1/32' },
      { hostname: 'd', ipv4Addr: '', ipv6Addr: '' },
    ]);
  });

  it('with wireguard keys are sent per family, and withdrawn when the key goes', () => {
    const mock = newMock();
    const node = (status: string): string =>
      `{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: a}, spec: {wireguard: {interfaceIPv4Address: 10.65.9.1}}, status: {${status}}}`;
    applyValid(mock, node('wireguardPublicKey: k4, wireguardPublicKeyV6: k6'));
    const payloads = mock.flush();
    expect(valuesOf(payloads, 'wireguardEndpointUpdate')).toMatchObject([
      { hostname: 'a', publicKey: 'k4', interfaceIpv4Addr: '10.65.9.1' },
    ]);
    expect(valuesOf(payloads, 'wireguardEndpointV6Update')).toMatchObject([{ hostname: 'a', publicKeyV6: 'k6' }]);
    applyValid(mock, node('wireguardPublicKeyV6: k6'));
    expect(valuesOf(mock.flush(), 'wireguardEndpointRemove')).toMatchObject([{ hostname: 'a' }]);
  });
});

describe('configuration', () => {
  const felix = (name: string, spec: string, metadata = ''): string =>
    `{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: ${name}${metadata}}, spec: {${spec}}}`;

  it('is merged from its sources, the higher one winning', () => {
    const mock = newMock({ LogSeverityScreen: 'Debug', Unknown_Thing: 'x' });
    applyValid(
      mock,
      [
        felix(
          'default',
          'logSeverityScreen: Info, chainInsertMode: Append, ipipMTU: 1400, routeRefreshInterval: 1m30s, iptablesLockProbeInterval: 500ms, reportingInterval: 0s',
          ', annotations: {config.projectcalico.org/MaxIpsetSize: "7"}',
        ),
        felix(
          'node.node1',
          'chainInsertMode: Insert, failsafeInboundHostPorts: [{protocol: TCP, port: 22}, {protocol: udp, port: 68, net: 10.0.0.0/8}, {protocol: tcp, port: 1, net: "fd00::/8"}], failsafeOutboundHostPorts: []',
        ),
        felix('node.node2', 'chainInsertMode: never'),
        felix(
          'b-young',
          'nodeSelector: "zone == \'a\'", logPrefix: young',
          ', creationTimestamp: "2026-02-01T00:00:00Z"',
        ),
        felix(
          'z-old',
          'nodeSelector: "zone == \'a\'", logPrefix: old, routeTableRanges: [{min: 1, max: 250}]',
          ', creationTimestamp: "2026-01-01T00:00:00Z"',
        ),
        felix('other', 'nodeSelector: "zone == \'b\'", logPrefix: other'),
        '{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node1, labels: {zone: a}}, spec: {ipv4VXLANTunnelAddr: 10.65.1.1}}',
        '{apiVersion: projectcalico.org/v3, kind: ClusterInformation, metadata: {name: default}, spec: {clusterGUID: g, datastoreReady: true}}',
      ].join('\n---\n'),
    );
    const [update] = valuesOf(mock.flush(), 'configUpdate');
    expect(update?.config).toEqual({
      ChainInsertMode: 'Insert',
      ClusterGUID: 'g',
      FailsafeInboundHostPorts: 'tcp:22,udp:10.0.0.0/8:68,tcp:[fd00::/8]:1',
      FailsafeOutboundHostPorts: 'none',
      FelixHostname: 'node1',
      IPv4VXLANTunnelAddr: '10.65.1.1',
      IpInIpMtu: '1400',
      IptablesLockProbeIntervalMillis: '500',
      LogPrefix: 'old',
      LogSeverityScreen: 'Debug',
      MaxIpsetSize: '7',
      ReportingIntervalSecs: '0',
      RouteRefreshInterval: '90',
      RouteTableRanges: '1-250',
      unknown_thing: 'x',
    });
    expect(Object.entries(update?.sourceToRawConfig ?? {}).map(([number, { source }]) => [number, source])).toEqual([
      ['1', 'datastore (global)'],
      ['2', 'datastore (per-node-selector)'],
      ['3', 'datastore (per-host)'],
      ['4', 'config file'],
      ['5', 'environment variable'],
    ]);
    expect(update?.sourceToRawConfig[5]?.config).toEqual({
      felixhostname: 'node1',
      logseverityscreen: 'Debug',
      unknown_thing: 'x',
    });
  });

  it('is sent again only when the merged parameters change', () => {
    const mock = newMock({ LogPrefix: 'env' });
    mock.flush();
    applyValid(mock, felix('default', 'logPrefix: hidden'));
    expect(mock.flush()).toEqual([]);
    applyValid(mock, felix('default', 'logPrefix: hidden, vxlanPort: 4790'));
    expect(valuesOf(mock.flush(), 'configUpdate')[0]?.config.VXLANPort).toBe('4790');
  });
});
