import { toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { parseQuantity } from '../../../src/mock/kubernetes/quantity.js';
import { podInterfaceName } from '../../../src/mock/kubernetes/pod.js';
import { RuleSchema, WorkloadEndpointSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { applyText, applyValid, newMock, problemsOf, valuesOf } from './support/mock.js';

/** The endpoint that a pod becomes; `rest` is YAML flow text of further fields. */
function endpointOf(
  metadata: string,
  rest: string,
  config: Record<string, string> = {},
): Record<string, unknown> | undefined {
  const mock = newMock(config);
  applyValid(mock, `{apiVersion: v1, kind: Pod, metadata: {name: pod1, namespace: default${metadata}}, ${rest}}`);
  const [update] = valuesOf(mock.flush(), 'workloadEndpointUpdate');
  if (update?.endpoint === undefined) return undefined;
  return toJson(WorkloadEndpointSchema, update.endpoint) as Record<string, unknown>;
}

const STATUS = 'status: {podIPs: [{ip: 10.65.0.2}, {ip: "fd00::2"}]}';

describe('podInterfaceName', () => {
  it('is the prefix and the start of the SHA-1', () => {
    expect(podInterfaceName('default', 'pod1', 'cali')).toBe('calice0906292e2');
  });
});

describe('Pod', () => {
  it('becomes a workload endpoint of its node', () => {
    const spec = `spec:
      {nodeName: node1, serviceAccountName: sa,
       containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}, {containerPort: 81}]}],
       initContainers: [{ports: [{name: dns, containerPort: 53, protocol: UDP}]}]}`;
    expect(endpointOf(', labels: {app: a}', `${spec}, ${STATUS}`)).toEqual({
      state: 'active',
      name: 'calice0906292e2',
      profileIds: ['kns.default', 'ksa.default.sa'],
      ipv4Nets: ['10.65.0.2/32'],
      ipv6Nets: ['fd00::2/128'],
    });
  });

  it('without node is taken to be here', () => {
    expect(endpointOf('', `spec: {}, ${STATUS}`)).toMatchObject({ name: 'calice0906292e2' });
  });

  it('of another node, or of the host network, gives no local endpoint', () => {
    expect(endpointOf('', `spec: {nodeName: node2}, ${STATUS}`)).toBeUndefined();
    expect(endpointOf('', `spec: {hostNetwork: true}, ${STATUS}`)).toBeUndefined();
  });

  it('takes interface name and MAC from annotations, the prefix from InterfacePrefix', () => {
    const annotations =
      ', annotations: {felix-dataplane/interface-name: veth7, felix-dataplane/mac: "ee:ee:ee:ee:ee:ee"}';
    expect(endpointOf(annotations, `spec: {}, ${STATUS}`)).toMatchObject({ name: 'veth7', mac: 'ee:ee:ee:ee:ee:ee' });
    expect(endpointOf('', `spec: {}, ${STATUS}`, { InterfacePrefix: 'tap,cali' })).toMatchObject({
      name: 'tapce0906292e2',
    });
  });

  it.each([
    ['status.podIP', '', 'status: {podIP: 10.1.1.1}'],
    ['the annotation podIPs', ', annotations: {cni.projectcalico.org/podIPs: "10.1.1.1/32, fd00::1"}', 'status: {}'],
    ['the annotation podIP', ', annotations: {cni.projectcalico.org/podIP: 10.1.1.1/32}', 'status: {}'],
    ['the annotation of AWS', ', annotations: {vpc.amazonaws.com/pod-ips: 10.1.1.1}', 'status: {}'],
  ])('takes its addresses from %s', (_, metadata, status) => {
    expect(endpointOf(metadata, `spec: {}, ${status}`)).toMatchObject({ ipv4Nets: ['10.1.1.1/32'] });
  });

  it.each([
    ['finished', '', 'status: {phase: Succeeded, podIP: 10.1.1.1}'],
    [
      'being deleted and released',
      ', deletionTimestamp: "2026-01-01T00:00:00Z", annotations: {cni.projectcalico.org/podIP: ""}',
      'status: {podIP: 10.1.1.1}',
    ],
    ['without address', '', 'status: {}'],
  ])('that is %s has no endpoint, and a warning says so', (_, metadata, status) => {
    const mock = newMock();
    const outcome = applyText(
      mock,
      `{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default${metadata}}, spec: {}, ${status}}`,
    );
    expect(outcome.problems).toEqual([]);
    expect(outcome.warnings).toMatchObject([{ resource: 'Kubernetes Pod default/p', field: 'status' }]);
    expect(valuesOf(mock.flush(), 'workloadEndpointUpdate')).toEqual([]);
  });

  it('takes limits from annotations, with defaults and bounds', () => {
    const annotations = `, annotations: {kubernetes.io/ingress-bandwidth: 5M, qos.projectcalico.org/ingressBandwidth: 10M,
      qos.projectcalico.org/ingressPeakrate: 5M, qos.projectcalico.org/egressPacketRate: 20k, qos.projectcalico.org/egressBurst: 1M,
      qos.projectcalico.org/egressMaxConnections: "7", qos.projectcalico.org/dscp: AF11}`;
    expect(endpointOf(annotations, `spec: {}, ${STATUS}`)).toMatchObject({
      qosControls: {
        IngressBandwidth: '10000000',
        IngressBurst: '4294967296',
        EgressPacketRate: '10000',
        EgressPacketBurst: '5',
        EgressMaxConnections: '7',
      },
      qosPolicies: [{ dscp: 10 }],
      skipRedir: { Ingress: true, Egress: true },
    });
  });

  it('takes floating addresses and spoof prefixes from annotations', () => {
    const annotations = `, annotations: {cni.projectcalico.org/floatingIPs: '["172.16.0.1", "fd01::1"]',
      cni.projectcalico.org/allowedSourcePrefixes: '["8.8.8.8/24"]'}`;
    expect(endpointOf(annotations, `spec: {}, ${STATUS}`, { WorkloadSourceSpoofing: 'Any' })).toMatchObject({
      ipv4Nat: [{ extIp: '172.16.0.1', intIp: '10.65.0.2' }],
      ipv6Nat: [{ extIp: 'fd01::1', intIp: 'fd00::2' }],
      allowSpoofedSourcePrefixes: ['8.8.8.0/24'],
    });
    expect(endpointOf(annotations, `spec: {}, ${STATUS}`)).toBeUndefined();
  });

  it('is refused with bad annotations or addresses', () => {
    const pod = (metadata: string, status: string): string[] =>
      problemsOf(`{apiVersion: v1, kind: Pod, metadata: {name: p${metadata}}, spec: {}, status: ${status}}`);
    expect(pod(", annotations: {cni.projectcalico.org/floatingIPs: 'x'}", '{}')).toEqual([
      'test.yaml:1: Pod p: metadata.annotations: cni.projectcalico.org/floatingIPs must be a JSON list of addresses',
    ]);
    expect(pod('', '{podIP: x}')).toEqual([
      "test.yaml:1: Pod p: status: the pod's addresses must be IP addresses, not x",
    ]);
  });
});

describe('Namespace and ServiceAccount', () => {
  it('become profiles whose labels are sent and inherited', () => {
    const mock = newMock();
    applyValid(
      mock,
      `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {team: x}}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, namespace: default, labels: {role: y}}}
- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {serviceAccountName: sa}, status: {podIP: 10.0.0.1}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p},
   spec: {ingress: [{action: Allow, source: {namespaceSelector: "team == 'x'", serviceAccounts: {names: [sa], selector: "role == 'y'"}}}]}}
`,
    );
    const payloads = mock.flush();
    expect(valuesOf(payloads, 'namespaceUpdate')).toMatchObject([
      { id: { name: 'default' }, labels: { team: 'x', 'projectcalico.org/name': 'default' } },
    ]);
    expect(valuesOf(payloads, 'serviceAccountUpdate')).toMatchObject([
      { id: { namespace: 'default', name: 'sa' }, labels: { role: 'y', 'projectcalico.org/name': 'sa' } },
    ]);
    expect(valuesOf(payloads, 'ipsetUpdate')).toMatchObject([{ members: ['10.0.0.1/32'] }]);
    const profiles = valuesOf(payloads, 'activeProfileUpdate');
    expect(profiles.map(({ id, profile }) => [id?.name, profile?.inboundRules.length])).toEqual([
      ['kns.default', 1],
      ['ksa.default.sa', 0],
    ]);
  });
});

describe('NetworkPolicy of Kubernetes', () => {
  function policyOf(spec: string) {
    const mock = newMock();
    applyValid(
      mock,
      `{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: ns, labels: {app: x}}, spec: {}, status: {podIP: 10.0.0.1}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np, namespace: ns}, spec: ${spec}}`,
    );
    const payloads = mock.flush();
    const [update] = valuesOf(payloads, 'activePolicyUpdate');
    const shown = (rules: readonly Parameters<typeof toJson>[1][] | undefined) =>
      rules?.map((rule) => ({
        ...(toJson(RuleSchema, rule as never) as Record<string, unknown>),
        ruleId: undefined,
        srcIpSetIds: undefined,
        dstIpSetIds: undefined,
      }));
    return {
      id: update?.id,
      policy: update?.policy,
      inbound: shown(update?.policy?.inboundRules),
      outbound: shown(update?.policy?.outboundRules),
      tiers: valuesOf(payloads, 'workloadEndpointUpdate')[0]?.endpoint?.tiers,
    };
  }

  it('keeps its name, with its own kind, tier and selector', () => {
    const { id, policy, tiers } = policyOf(
      "{podSelector: {matchLabels: {app: 'x'}, matchExpressions: [{key: b, operator: NotIn, values: [q, r]}, {key: c, operator: DoesNotExist}]}}",
    );
    expect(id).toMatchObject({ kind: 'KubernetesNetworkPolicy', namespace: 'ns', name: 'np' });
    expect(policy).toMatchObject({
      tier: 'default',
      namespace: 'ns',
      originalSelector:
        '((projectcalico.org/orchestrator == "k8s" && app == "x" && b not in {"q", "r"} && !has(c)) && projectcalico.org/namespace == "ns")',
    });
    expect(tiers).toMatchObject([
      { name: 'default', ingressPolicies: [{ name: 'np' }], egressPolicies: [], defaultAction: 'Deny' },
    ]);
  });

  it('makes one rule of each protocol and peer, with ports merged', () => {
    const { inbound } = policyOf(`{podSelector: {}, ingress: [{
      ports: [{port: 82}, {port: 80, protocol: TCP}, {port: 81}, {port: web}, {port: 9090}, {protocol: UDP, port: 53, endPort: 54}, {protocol: SCTP}],
      from: [{podSelector: {}}, {ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16]}}]}]}`);
    expect(inbound).toEqual([
      { action: 'allow', protocol: { name: 'sctp' }, originalSrcSelector: "projectcalico.org/orchestrator == 'k8s'" },
      { action: 'allow', protocol: { name: 'sctp' }, srcNet: ['10.0.0.0/8'], notSrcNet: ['10.1.0.0/16'] },
      ...[
        { originalSrcSelector: "projectcalico.org/orchestrator == 'k8s'" },
        { srcNet: ['10.0.0.0/8'], notSrcNet: ['10.1.0.0/16'] },
      ].map((side) => ({
        action: 'allow',
        protocol: { name: 'tcp' },
        dstPorts: [
          { first: 80, last: 82 },
          { first: 9090, last: 9090 },
        ],
        dstNamedPortIpSetIds: [expect.stringMatching(/^n:/)],
        ...side,
      })),
      ...[
        { originalSrcSelector: "projectcalico.org/orchestrator == 'k8s'" },
        { srcNet: ['10.0.0.0/8'], notSrcNet: ['10.1.0.0/16'] },
      ].map((side) => ({
        action: 'allow',
        protocol: { name: 'udp' },
        dstPorts: [{ first: 53, last: 54 }],
        ...side,
      })),
    ]);
  });

  it('puts peers and ports of egress on the destination', () => {
    const { outbound, tiers } = policyOf(
      `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}], to: [{namespaceSelector: {}}]}, {}]}`,
    );
    expect(outbound).toEqual([
      {
        action: 'allow',
        protocol: { name: 'tcp' },
        dstPorts: [{ first: 443, last: 443 }],
        originalDstSelector: "projectcalico.org/orchestrator == 'k8s'",
        originalDstNamespaceSelector: 'all()',
      },
      { action: 'allow' },
    ]);
    expect(tiers).toMatchObject([{ ingressPolicies: [], egressPolicies: [{ name: 'np' }] }]);
  });

  it('is refused with the line of the fault', () => {
    expect(
      problemsOf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec:
  podSelector: {}
  ingress:
  - from:
    - podSelecter: {}
    ports:
    - {port: 90, endPort: 80}
    - {protocol: ICMP}
`),
    ).toEqual([
      'test.yaml:8: NetworkPolicy np: spec.ingress[0].from[0].podSelecter: unknown field; allowed: ipBlock, namespaceSelector, podSelector',
      'test.yaml:10: NetworkPolicy np: spec.ingress[0].ports[0].endPort: must not be below port',
      'test.yaml:11: NetworkPolicy np: spec.ingress[0].ports[1].protocol: must be one of TCP, UDP, SCTP, not "ICMP"',
    ]);
  });
});

describe('Service and EndpointSlice', () => {
  it('are sent, and fill the sets of rules that name the service', () => {
    const mock = newMock();
    applyValid(
      mock,
      `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.5], externalIPs: [1.2.3.4], ports: [{port: 80, nodePort: 30080, targetPort: http}]}
status: {loadBalancer: {ingress: [{ip: 5.6.7.8}, {hostname: x}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.2.3], conditions: {ready: false}}, {addresses: [some.host]}]
ports: [{port: 80}, {port: 53, protocol: UDP}, {name: any}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec:
  performanceHints: [AssumeNeededOnEveryNode]
  egress: [{action: Allow, destination: {services: {name: web, namespace: default}}}]
  ingress: [{action: Allow, source: {services: {name: web, namespace: default}}}]
`,
    );
    const payloads = mock.flush();
    expect(valuesOf(payloads, 'serviceUpdate')).toMatchObject([
      {
        name: 'web',
        namespace: 'default',
        type: 'LoadBalancer',
        clusterIps: ['10.96.0.5'],
        externalIps: ['1.2.3.4'],
        ports: [{ Protocol: 'TCP', Port: 80, NodePort: 30080 }],
        loadbalancerIngressIps: ['5.6.7.8'],
      },
    ]);
    expect(valuesOf(payloads, 'ipsetUpdate')).toMatchObject([
      { id: 'svc:-B0RxVUwdW1aFEcXPP4q2GF3e68JsTwIe-pf7w', type: 1, members: ['10.1.2.3,tcp:80', '10.1.2.3,udp:53'] },
      { id: 'svcnoport:b_Odath8L_-pMWpLC_tua_hO2jguw5ajClao3w', type: 2, members: ['10.1.2.3/32'] },
    ]);
  });
});

describe('parseQuantity', () => {
  it.each([
    ['10M', 10_000_000],
    ['4Gi', 2 ** 32],
    ['1.5k', 1500],
    ['1.01P', 1.01e15],
    ['2e3', 2000],
    ['1500m', 2],
    ['7', 7],
    ['', undefined],
    ['10 M', undefined],
    ['x', undefined],
  ])('%s is %s', (text, expected) => {
    expect(parseQuantity(text)).toBe(expected);
  });
});
