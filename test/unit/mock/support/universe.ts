// A small world of resources, each in a few versions, that touch each other in as many ways as possible; the property
// tests apply and delete them in any order.

function calico(kind: string, metadata: object, spec: object): object {
  return { apiVersion: 'projectcalico.org/v3', kind, metadata, spec };
}

function workload(node: string, pod: string, spec: object, labels: object): object {
  const metadata = { namespace: 'default', labels };
  const own = {
    node,
    orchestrator: 'k8s',
    pod,
    endpoint: 'eth0',
    interfaceName: `cali${pod}`,
    mac: 'ee:ee:ee:ee:ee:01',
  };
  return calico('WorkloadEndpoint', metadata, { ...own, ...spec });
}

function k8s(apiVersion: string, kind: string, metadata: object, rest: object): object {
  return { apiVersion, kind, metadata, ...rest };
}

const http = [{ name: 'http', port: 8080, protocol: 'TCP' }];

/** Versions of each resource; all versions of one have the same name. */
export const UNIVERSE: readonly (readonly object[])[] = [
  [
    workload(
      'node1',
      'a',
      { ipNetworks: ['10.65.0.2/32', 'fd00:65::2/128'], profiles: ['open', 'kns.default'], ports: http },
      { app: 'a', role: 'client' },
    ),
    workload('node1', 'a', { ipNetworks: ['10.65.0.9/32'], profiles: ['missing'] }, { app: 'a' }),
    workload(
      'node1',
      'a',
      { ipNetworks: ['10.65.0.2/32'], profiles: ['open'], ports: [{ ...http[0], port: 81 }] },
      { app: 'b' },
    ),
  ],
  [
    workload('node1', 'b', { ipNetworks: ['10.65.0.3/32'], profiles: ['open'] }, { app: 'b', role: 'server' }),
    workload('node1', 'b', { ipNetworks: ['10.65.2.3/32'], profiles: [] }, { role: 'client' }),
    workload('node1', 'b', { ipNetworks: [] }, { app: 'b' }),
  ],
  [
    workload(
      'node2',
      'c',
      { ipNetworks: ['10.65.2.5/32'], profiles: ['open'], ports: http },
      { app: 'c', role: 'client' },
    ),
    workload('node2', 'c', { ipNetworks: ['10.65.0.2/32'], profiles: ['kns.default'] }, { app: 'c' }),
  ],
  [
    calico(
      'Profile',
      { name: 'open' },
      { ingress: [{ action: 'Allow' }], egress: [{ action: 'Allow' }], labelsToApply: { role: 'server', via: 'open' } },
    ),
    calico('Profile', { name: 'open' }, { ingress: [{ action: 'Deny', source: { selector: "role == 'client'" } }] }),
  ],
  [
    k8s('v1', 'Namespace', { name: 'default', labels: { team: 'x', 'istio.io/dataplane-mode': 'ambient' } }, {}),
    k8s('v1', 'Namespace', { name: 'default', labels: { team: 'y', via: 'ns' } }, {}),
  ],
  [
    calico('Tier', { name: 'sec' }, { order: 100 }),
    calico('Tier', { name: 'sec' }, { order: 2_000_000, defaultAction: 'Pass' }),
  ],
  [
    calico(
      'GlobalNetworkPolicy',
      { name: 'sec.all' },
      {
        tier: 'sec',
        order: 10,
        ingress: [{ action: 'Pass', source: { selector: 'has(app)' } }],
        egress: [{ action: 'Allow' }],
      },
    ),
    calico(
      'GlobalNetworkPolicy',
      { name: 'sec.all' },
      { tier: 'sec', order: 30, selector: "role == 'client'", ingress: [{ action: 'Deny' }] },
    ),
    calico(
      'GlobalNetworkPolicy',
      { name: 'sec.all' },
      {
        tier: 'default',
        selector: "role == 'client'",
        ingress: [{ action: 'Deny' }],
        performanceHints: ['AssumeNeededOnEveryNode'],
      },
    ),
  ],
  [
    calico(
      'GlobalNetworkPolicy',
      { name: 'host' },
      {
        selector: 'has(host)',
        applyOnForward: true,
        doNotTrack: true,
        ingress: [{ action: 'Allow', protocol: 'TCP', destination: { ports: [22] } }],
      },
    ),
    calico(
      'GlobalNetworkPolicy',
      { name: 'host' },
      {
        selector: 'has(host)',
        applyOnForward: true,
        preDNAT: true,
        ingress: [{ action: 'Deny', source: { selector: "feed == 'bad'" } }],
      },
    ),
    calico(
      'GlobalNetworkPolicy',
      { name: 'host' },
      { selector: 'all()', namespaceSelector: "team == 'x'", ingress: [{ action: 'Log' }] },
    ),
  ],
  [
    calico(
      'NetworkPolicy',
      { name: 'web', namespace: 'default' },
      {
        selector: "app == 'a'",
        ingress: [
          {
            action: 'Allow',
            protocol: 'TCP',
            source: { selector: "role == 'client'", notSelector: "app == 'c'" },
            destination: { ports: ['http', 443] },
          },
        ],
        egress: [{ action: 'Allow', destination: { namespaceSelector: "team == 'x'" } }],
      },
    ),
    calico(
      'NetworkPolicy',
      { name: 'web', namespace: 'default' },
      {
        selector: "app in {'a', 'b'}",
        order: 5,
        ingress: [
          { action: 'Allow', protocol: 'TCP', destination: { ports: ['http'] } },
          { action: 'Deny', source: { notSelector: "via == 'open'" } },
        ],
      },
    ),
  ],
  [
    calico(
      'StagedNetworkPolicy',
      { name: 'web', namespace: 'default' },
      { order: 5, ingress: [{ action: 'Deny', source: { selector: "feed == 'bad'" } }] },
    ),
    calico('StagedNetworkPolicy', { name: 'web', namespace: 'default' }, { stagedAction: 'Delete' }),
  ],
  [
    calico(
      'GlobalNetworkSet',
      { name: 'bad', labels: { feed: 'bad' } },
      { nets: ['10.0.0.0/8', '10.65.0.0/24', '0.0.0.0/0'] },
    ),
    calico(
      'GlobalNetworkSet',
      { name: 'bad', labels: { feed: 'bad', app: 'set' } },
      { nets: ['10.65.0.0/16', '10.65.0.3', 'fd00::/16'] },
    ),
    calico('GlobalNetworkSet', { name: 'bad', labels: { feed: 'good' } }, { nets: ['192.0.2.0/24'] }),
  ],
  [
    calico(
      'NetworkSet',
      { name: 'more', namespace: 'default', labels: { feed: 'bad', role: 'client' } },
      { nets: ['10.65.0.0/25', '10.0.0.0/9', '::/0'] },
    ),
    calico('NetworkSet', { name: 'more', namespace: 'default', labels: { feed: 'bad' } }, { nets: ['10.128.0.0/9'] }),
  ],
  [
    calico(
      'HostEndpoint',
      { name: 'h1', labels: { host: 'yes', role: 'client' } },
      { node: 'node1', interfaceName: 'eth0', expectedIPs: ['192.168.0.1'], profiles: ['open'] },
    ),
    calico('HostEndpoint', { name: 'h1', labels: { host: 'yes' } }, { node: 'node2', interfaceName: '*' }),
  ],
  [
    calico('IPPool', { name: 'pool' }, { cidr: '10.65.0.0/16', vxlanMode: 'CrossSubnet', natOutgoing: true }),
    calico('IPPool', { name: 'pool' }, { cidr: '10.65.0.0/16', ipipMode: 'Always' }),
    calico('IPPool', { name: 'pool' }, { cidr: '10.64.0.0/14' }),
  ],
  [calico('IPPool', { name: 'pool-again' }, { cidr: '10.65.0.0/16', natOutgoing: true, vxlanMode: 'Always' })],
  [
    calico(
      'Node',
      { name: 'node1', labels: { zone: 'a' } },
      { bgp: { ipv4Address: '192.168.0.1/24', ipv4IPIPTunnelAddr: '10.65.1.1' }, ipv4VXLANTunnelAddr: '10.65.1.1' },
    ),
    calico('Node', { name: 'node1' }, { bgp: { ipv4Address: '192.168.9.1/24', asNumber: 64512 } }),
    calico('Node', { name: 'node1' }, { addresses: [{ address: '192.168.0.7', type: 'InternalIP' }] }),
  ],
  [
    calico(
      'Node',
      { name: 'node2' },
      {
        bgp: { ipv4Address: '192.168.0.2/24', ipv6Address: 'fd00:10::2/64' },
        ipv4VXLANTunnelAddr: '10.65.2.1',
        ipv6VXLANTunnelAddr: 'fd00:66::2',
      },
    ),
    calico('Node', { name: 'node2' }, { bgp: {} }),
  ],
  [
    calico(
      'IPAMBlock',
      { name: '10-65-2-0-26' },
      {
        cidr: '10.65.2.0/26',
        affinity: 'host:node2',
        allocations: [null, 0, 1],
        attributes: [{ secondary: { node: 'node2' } }, { secondary: { node: 'node1' } }],
      },
    ),
    calico(
      'IPAMBlock',
      { name: '10-65-2-0-26' },
      {
        cidr: '10.65.2.0/26',
        affinity: 'host:node1',
        allocations: [0, null, null, null, null, 1],
        attributes: [{ secondary: { node: 'node1' } }, { secondary: { node: 'node2' } }],
      },
    ),
  ],
  [
    k8s(
      'v1',
      'Pod',
      { name: 'p', namespace: 'default', labels: { app: 'a' } },
      { spec: { nodeName: 'node1', serviceAccountName: 'sa' }, status: { podIPs: [{ ip: '10.65.0.20' }] } },
    ),
    k8s(
      'v1',
      'Pod',
      { name: 'p', namespace: 'default', labels: { app: 'a' } },
      { spec: { nodeName: 'node2' }, status: { podIP: '10.65.2.20' } },
    ),
    k8s(
      'v1',
      'Pod',
      { name: 'p', namespace: 'default', labels: { app: 'b' } },
      { spec: {}, status: { phase: 'Succeeded', podIP: '10.65.0.20' } },
    ),
  ],
  [
    k8s(
      'networking.k8s.io/v1',
      'NetworkPolicy',
      { name: 'web', namespace: 'default' },
      {
        spec: {
          podSelector: {},
          ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 'http' }, { port: 80 }, { port: 81 }] }],
        },
      },
    ),
    k8s(
      'networking.k8s.io/v1',
      'NetworkPolicy',
      { name: 'web', namespace: 'default' },
      {
        spec: {
          podSelector: { matchLabels: { app: 'b' } },
          policyTypes: ['Egress'],
          egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }] }],
        },
      },
    ),
  ],
  [
    k8s(
      'discovery.k8s.io/v1',
      'EndpointSlice',
      { name: 's', namespace: 'default', labels: { 'kubernetes.io/service-name': 'svc' } },
      {
        addressType: 'IPv4',
        endpoints: [{ addresses: ['10.65.0.2', '10.65.2.5'] }],
        ports: [{ port: 80 }, { port: 53, protocol: 'UDP' }],
      },
    ),
    k8s(
      'discovery.k8s.io/v1',
      'EndpointSlice',
      { name: 's', namespace: 'default', labels: { 'kubernetes.io/service-name': 'other' } },
      { addressType: 'IPv4', endpoints: [{ addresses: ['10.65.0.2'] }], ports: [] },
    ),
  ],
  [
    calico(
      'GlobalNetworkPolicy',
      { name: 'svc' },
      {
        selector: 'has(app)',
        egress: [{ action: 'Allow', destination: { services: { name: 'svc', namespace: 'default' } } }],
      },
    ),
    calico(
      'GlobalNetworkPolicy',
      { name: 'svc' },
      {
        selector: 'has(app)',
        ingress: [{ action: 'Allow', source: { services: { name: 'svc', namespace: 'default' } } }],
      },
    ),
  ],
  [
    k8s(
      'v1',
      'Service',
      { name: 'svc', namespace: 'default' },
      { spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }] } },
    ),
  ],
  [
    calico('FelixConfiguration', { name: 'default' }, { logPrefix: 'one' }),
    calico('FelixConfiguration', { name: 'default' }, { logPrefix: 'two', iptablesRefreshInterval: '90s' }),
  ],
  [
    calico('BGPPeer', { name: 'peer-b' }, { nodeSelector: "zone == 'a'", localWorkloadSelector: "app == 'a'" }),
    calico('BGPPeer', { name: 'peer-b' }, { node: 'node1', localWorkloadSelector: 'has(role)' }),
  ],
  [calico('BGPPeer', { name: 'peer-a' }, { node: 'node1', localWorkloadSelector: "via == 'open'", peerIP: '1.2.3.4' })],
  [
    calico(
      'LiveMigration',
      { name: 'm1', namespace: 'default', uid: '1' },
      { source: { workload: { orchestratorID: 'k8s', workloadID: 'default/a' } }, target: { selector: "app == 'b'" } },
    ),
    calico(
      'LiveMigration',
      { name: 'm1', namespace: 'default', uid: '3' },
      {
        target: {
          workloadEndpoint: { hostname: 'x', orchestratorID: 'k8s', workloadID: 'default/a', endpointID: 'eth0' },
        },
      },
    ),
  ],
  [
    calico(
      'LiveMigration',
      { name: 'm2', namespace: 'default', uid: '2' },
      { source: { workload: { orchestratorID: 'k8s', workloadID: 'default/b' } }, target: { selector: "app == 'a'" } },
    ),
  ],
];

const ROUTING_KINDS = ['WorkloadEndpoint', 'IPPool', 'Node', 'IPAMBlock', 'Pod'];

/** Those that bear on routes and tunnels. */
export const ROUTING_UNIVERSE = UNIVERSE.filter(([first]) => ROUTING_KINDS.includes((first as { kind: string }).kind));
