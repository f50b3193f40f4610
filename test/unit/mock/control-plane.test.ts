import { describe, expect, it } from 'vitest';
import { documentOf } from '../../../src/mock/documents.js';
import { problemText } from '../../../src/mock/outcome.js';
import { payloadText } from './support/stream-view.js';
import { applyText, applyValid, newMock, problemsOf, valuesOf } from './support/mock.js';

const POLICY = `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {performanceHints: [AssumeNeededOnEveryNode], ingress: [{action: Allow}]}
`;

describe('MockControlPlane.apply', () => {
  it('names file, line, resource, field and what is allowed, and every fault at once', () => {
    expect(
      problemsOf(`apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: bad
  namespace: default
spec:
  selector: app = 'x'
  order: high
  types: [Ingress, Egres]
  ingress:
  - action: Permit
  - action: Allow
    protocol: ICMP
    destination:
      ports: [80]
  - action: Allow
    source:
      nets: [10.0.0.0/33]
  doNotTrack: true
`),
    ).toEqual([
      `test.yaml:7: NetworkPolicy default/bad: spec.selector: selector "app = 'x'", column 5: expected ==, !=, contains, starts with, ends with, in or not in, after the label app, found "= 'x'"`,
      'test.yaml:8: NetworkPolicy default/bad: spec.order: must be a number, not "high"',
      'test.yaml:9: NetworkPolicy default/bad: spec.types[1]: must be one of Ingress, Egress, not "Egres"',
      'test.yaml:11: NetworkPolicy default/bad: spec.ingress[0].action: must be one of Allow, Deny, Log, Pass, not "Permit"',
      'test.yaml:15: NetworkPolicy default/bad: spec.ingress[1].destination.ports: needs the protocol TCP, UDP or SCTP in the same rule',
      'test.yaml:18: NetworkPolicy default/bad: spec.ingress[2].source.nets[0]: must be a prefix or an address, not "10.0.0.0/33"',
      'test.yaml:19: NetworkPolicy default/bad: spec.doNotTrack: unknown field; allowed: egress, ingress, order, performanceHints, selector, serviceAccountSelector, tier, types',
    ]);
  });

  it('keeps the last valid version of a resource that becomes invalid, and takes the others', () => {
    const mock = newMock();
    applyValid(mock, POLICY);
    const before = mock.flush().map(payloadText);
    const outcome = applyText(
      mock,
      `${POLICY.replace('Allow', 'Nothing')}---\n{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: 1}}`,
    );
    expect(outcome.problems).toHaveLength(1);
    expect(outcome.kept).toEqual([{ api: 'calico', kind: 'GlobalNetworkPolicy', namespace: '', name: 'p' }]);
    expect(outcome.applied).toEqual([{ api: 'calico', kind: 'Tier', namespace: '', name: 't' }]);
    expect(mock.flush()).toEqual([]);
    mock.restart();
    expect(mock.flush().map(payloadText)).toEqual(before);
  });

  it('reads the good documents of a file with a syntax error', () => {
    const outcome = applyText(newMock(), `a: [\n---${POLICY}`);
    expect(outcome.problems[0]).toMatchObject({
      file: 'test.yaml',
      message: expect.stringMatching(/^not valid YAML: /),
    });
    expect(outcome.applied).toHaveLength(1);
  });

  it.each([
    ['- 1', 'test.yaml:1: must be a resource: a map with apiVersion, kind and metadata'],
    [
      '{apiVersion: projectcalico.org/v3, kind: Nothing, metadata: {name: x}}',
      'test.yaml:1: Nothing x: kind: must be a kind of projectcalico.org/v3: BGPConfiguration, BGPPeer, BlockAffinity, ',
    ],
    [
      '{apiVersion: v1, kind: Tier, metadata: {name: x}}',
      'kind: must be a kind of Kubernetes: EndpointSlice, Namespace, ',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: X}}',
      'metadata.name: must be a name of at most 253 lower-case letters',
    ],
    ['{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {}}', 'metadata.name: is required'],
    ['{apiVersion: projectcalico.org/v3, kind: Tier}', 'metadata: is required'],
    [
      '{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: default}, spec: {order: 5}}',
      'spec.order: must be 1000000 for the tier default',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.0.0.0/27}}',
      'spec.cidr: must not be smaller than one block, which is a /26',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: "fd00::/64", ipipMode: Always}}',
      'spec.ipipMode: must be Never for an IPv6 pool',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: h}, spec: {node: n}}',
      'spec: needs interfaceName or expectedIPs',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: WorkloadEndpoint, metadata: {name: w}, spec: {node: a-b, orchestrator: k8s, pod: p, endpoint: eth0}}',
      'metadata.name: must be a--b-k8s-p-eth0, which follows from the spec',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {doNotTrack: true}}',
      'spec.doNotTrack: needs applyOnForward: true',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, spec: {logPrefixx: a}}',
      'spec.logPrefixx: is no field of FelixConfiguration',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, spec: {routeRefreshInterval: fast}}',
      'spec.routeRefreshInterval: must be a duration such as 90s, not "fast"',
    ],
    [
      '{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: s, labels: {a: true}}, spec: {}}',
      'metadata.labels.a: must be a text, not true',
    ],
  ])('refuses %s', (text, message) => {
    expect(problemsOf(text)).toEqual([expect.stringContaining(message)]);
  });

  it.each([
    ['source: {nets: [10.0.0.0/8, "fd00::/8"]}', 'nets of one rule must all be IPv4 or all be IPv6'],
    ['ipVersion: 6, source: {nets: [10.0.0.0/8]}', 'does not fit the nets of the rule, which are IPv4'],
    ['source: {notNets: [0.0.0.0/0]}', 'must not contain 0.0.0.0/0 or ::/0'],
    ['protocol: TCP, icmp: {type: 8}', 'needs the protocol ICMP or ICMPv6 in the same rule'],
    ['protocol: ICMP, icmp: {code: 0}', 'needs a type as well'],
    ['protocol: ICMP, ipVersion: 6', 'must be 4 with that protocol'],
    ['ipVersion: 5', 'must be 4 or 6'],
    ['protocol: FOO', 'must be one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255'],
    [
      'protocol: TCP, destination: {ports: [0]}',
      'must be a port from 1 to 65535, a range such as 1024:2048, or a name',
    ],
    ['protocol: TCP, destination: {ports: ["9:8"]}', 'must be a port from 1 to 65535'],
    [
      'destination: {services: {name: s, namespace: n}}',
      'is allowed on the source of ingress rules and the destination of egress rules',
    ],
    ['source: {services: {name: s}}', 'needs a namespace in a global policy'],
    ['source: {services: {name: s, namespace: n}, selector: has(a)}', 'must be the only match on that side'],
    ['protocol: UDP, http: {methods: [GET]}', 'needs the protocol TCP or none'],
    ['source: {selector: global()}', 'global() is allowed only alone, in the namespaceSelector of a rule'],
    ['source: {namespaceSelector: "global() || has(a)"}', 'global() is allowed only alone'],
  ])('refuses a rule with %s', (rule, message) => {
    const text = `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {ingress: [{action: Allow, ${rule}}]}}`;
    expect(problemsOf(text)).toEqual([expect.stringContaining(message)]);
  });

  it('takes values without text, whose problems have no line', () => {
    const value = { apiVersion: 'projectcalico.org/v3', kind: 'Tier', metadata: { name: 't' }, spec: { order: 'x' } };
    const { problems } = newMock().apply([documentOf(value, 'PUT /tiers/t')]);
    expect(problems.map(problemText)).toEqual(['PUT /tiers/t: Tier t: spec.order: must be a number, not "x"']);
  });

  it('takes nothing as no resource', () => {
    expect(newMock().apply([documentOf(undefined, 'PUT')]).problems).toHaveLength(1);
  });

  it('follows aliases', () => {
    const mock = newMock();
    applyValid(
      mock,
      `
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec:
  performanceHints: [AssumeNeededOnEveryNode]
  ingress: &rules [{action: Allow}, &deny {action: Deny}]
  egress: [*deny]
`,
    );
    const [policy] = valuesOf(mock.flush(), 'activePolicyUpdate');
    expect(policy?.policy?.inboundRules.map(({ action }) => action)).toEqual(['allow', 'deny']);
    expect(policy?.policy?.outboundRules.map(({ action }) => action)).toEqual(['deny']);
  });
});

describe('MockControlPlane.delete and list', () => {
  it('list what is in force and tell what was not there', () => {
    const mock = newMock();
    applyValid(mock, POLICY);
    const ref = { api: 'calico', kind: 'GlobalNetworkPolicy', namespace: '', name: 'p' } as const;
    expect(mock.list()).toEqual([ref]);
    expect(mock.delete(ref)).toBe(true);
    expect(mock.delete(ref)).toBe(false);
    expect(mock.list()).toEqual([]);
  });
});

describe('MockControlPlane.flush', () => {
  it('of an empty mock opens the stream with configuration, encapsulation and InSync', () => {
    const mock = newMock();
    expect(mock.flush().map((payload) => payload.case)).toEqual(['configUpdate', 'encapsulation', 'inSync']);
    expect(mock.flush()).toEqual([]);
  });

  it('cancels what came and went since the last one', () => {
    const mock = newMock();
    mock.flush();
    applyValid(mock, POLICY);
    mock.delete({ api: 'calico', kind: 'GlobalNetworkPolicy', namespace: '', name: 'p' });
    expect(mock.flush()).toEqual([]);
  });

  it('sends an endpoint again when its resource is written unchanged, a policy not', () => {
    const mock = newMock();
    const pod = '{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: n}, spec: {}, status: {podIP: 10.0.0.1}}';
    applyValid(mock, `${POLICY}---\n${pod}`);
    mock.flush();
    applyValid(mock, `${POLICY}---\n${pod}`);
    expect(mock.flush().map((payload) => payload.case)).toEqual(['workloadEndpointUpdate']);
  });
});

describe('MockControlPlane.restartReason', () => {
  it('is given when a start parameter or the encapsulation changes, and gone after a restart', () => {
    const mock = newMock();
    mock.flush();
    expect(mock.restartReason).toBeUndefined();
    applyValid(
      mock,
      '{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, spec: {nftablesMode: Disabled}}',
    );
    expect(valuesOf(mock.flush(), 'configUpdate')[0]?.config.NFTablesMode).toBe('Disabled');
    expect(mock.restartReason).toBe('a parameter changed that is read only at start');
    mock.restart();
    mock.flush();
    expect(mock.restartReason).toBeUndefined();
    applyValid(
      mock,
      '{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, spec: {cidr: 10.0.0.0/16, vxlanMode: Always}}',
    );
    mock.flush();
    expect(mock.restartReason).toBe('the encapsulation that the IP pools ask for changed');
  });
});
