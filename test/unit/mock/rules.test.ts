import { describe, expect, it } from 'vitest';
import { type Rule, RuleSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { toJson } from '@bufbuild/protobuf';
import { parseSelector } from '../../../src/mock/selector/selector.js';
import { applyValid, newMock, valuesOf } from './support/mock.js';

const POD = `
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {namespace: default, labels: {app: a}}
spec:
  {node: node1, orchestrator: k8s, pod: a, endpoint: eth0, interfaceName: cali1, ipNetworks: [10.65.0.2/32], profiles: [p, open, missing]}
`;

/** Rules of a NetworkPolicy `default/NAME` with this ingress. */
function ingressRules(ingress: string, name = 'x'): readonly Rule[] {
  const mock = newMock();
  const policy = `{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: ${name}, namespace: default}, spec: {types: [Ingress], ingress: ${ingress}}}`;
  applyValid(mock, `${POD}---\n${policy}`);
  return valuesOf(mock.flush(), 'activePolicyUpdate')[0]?.policy?.inboundRules ?? [];
}

function ids(rules: readonly Rule[]): string[] {
  return rules.map((rule) => rule.ruleId);
}

function set(selector: string): string {
  return parseSelector(selector).id;
}

describe('rule ids', () => {
  it.each([
    [
      'sec.a',
      '[{action: Pass, protocol: TCP}, {action: Deny, protocol: UDP}]',
      ['Jv9DIRREtiF9V25M', 'g5ODvvHrhZbRy5eT'],
    ],
    ['x', '[{action: Allow, protocol: ICMP, icmp: {type: 8}}]', ['9hHa3H8iJ55z9gwZ']],
  ])('of the policy %s are those of Felix', (name, ingress, expected) => {
    expect(ids(ingressRules(ingress, name))).toEqual(expected);
  });

  it('of profiles are those of Felix, of missing ones too, and oneof members are hashed last', () => {
    const mock = newMock();
    applyValid(
      mock,
      `${POD}---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: open}
spec: {ingress: [{action: Allow}], egress: [{action: Allow}]}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: p}
spec:
  ingress:
  - {action: Allow, protocol: ICMP, icmp: {type: 3, code: 1}, source: {selector: has(a)}, destination: {nets: [10.0.0.0/8]}}
  - {action: Allow, protocol: ICMP, icmp: {type: 3}, notICMP: {type: 4}, source: {selector: has(a), notNets: [10.0.0.0/8]}}
`,
    );
    const profiles = new Map(
      valuesOf(mock.flush(), 'activeProfileUpdate').map(({ id, profile }) => [
        id?.name,
        [ids(profile?.inboundRules ?? []), ids(profile?.outboundRules ?? [])],
      ]),
    );
    expect(profiles.get('open')).toEqual([['_a74PWsD6rR4dWjd'], ['0a8M1x6OGA5ZcFK3']]);
    expect(profiles.get('p')).toEqual([['X9uPTb7XEcTeD3Ct', '9MXJfunku68NoGUC'], []]);
    expect(profiles.get('missing')).toEqual([['vHAXJgdkig7OUMNT'], ['nyUgsOPyEc9fXIjy']]);
  });
});

describe('rule conversion', () => {
  it.each<[string, string, Record<string, unknown>]>([
    [
      'ICMP without version is IPv4',
      '{action: Allow, protocol: ICMP}',
      { action: 'allow', ipVersion: 'IPV4', protocol: { name: 'icmp' } },
    ],
    [
      'protocol 1 by number has no version',
      '{action: Allow, protocol: 1}',
      { action: 'allow', protocol: { number: 1 } },
    ],
    ['a quoted number is a name', '{action: Allow, protocol: "47"}', { action: 'allow', protocol: { name: '47' } }],
    [
      'nets are masked, single addresses get a length',
      '{action: Deny, source: {nets: [10.1.2.3/8, 10.9.9.9]}}',
      { action: 'deny', srcNet: ['10.0.0.0/8', '10.9.9.9/32'] },
    ],
    [
      'a selector is limited to the namespace',
      "{action: Allow, source: {selector: app == 'x'}}",
      {
        action: 'allow',
        srcIpSetIds: [set("(projectcalico.org/namespace == 'default') && (app == 'x')")],
        originalSrcSelector: "app == 'x'",
      },
    ],
    [
      'a notSelector beside a selector is merged into one set',
      "{action: Allow, source: {selector: app == 'x', notSelector: app == 'y'}}",
      {
        action: 'allow',
        srcIpSetIds: [set("((projectcalico.org/namespace == 'default') && (app == 'x')) && (!(app == 'y'))")],
        originalSrcSelector: "app == 'x'",
        originalNotSrcSelector: "app == 'y'",
      },
    ],
    [
      'a notSelector alone is merged with the namespace',
      "{action: Allow, source: {notSelector: app == 'y'}}",
      {
        action: 'allow',
        srcIpSetIds: [set("(projectcalico.org/namespace == 'default') && (!(app == 'y'))")],
        originalNotSrcSelector: "app == 'y'",
      },
    ],
    [
      'a namespaceSelector of global() means outside namespaces',
      '{action: Allow, source: {namespaceSelector: global()}}',
      {
        action: 'allow',
        srcIpSetIds: [set('!has(projectcalico.org/namespace)')],
        originalSrcNamespaceSelector: 'global()',
      },
    ],
    [
      'service accounts by name and selector',
      "{action: Allow, source: {namespaceSelector: all(), serviceAccounts: {names: [b, a], selector: x == 'y'}}}",
      {
        action: 'allow',
        srcIpSetIds: [
          set(
            "(has(projectcalico.org/namespace)) && ((pcsa.x == 'y') && (projectcalico.org/serviceaccount in {'a', 'b'}))",
          ),
        ],
        originalSrcNamespaceSelector: 'all()',
        srcServiceAccountMatch: { selector: "x == 'y'", names: ['b', 'a'] },
      },
    ],
    [
      'a port range and an open http match',
      '{action: Allow, protocol: TCP, destination: {ports: ["1:5", 7]}, http: {}}',
      {
        action: 'allow',
        protocol: { name: 'tcp' },
        dstPorts: [
          { first: 1, last: 5 },
          { first: 7, last: 7 },
        ],
        httpMatch: {},
      },
    ],
  ])('%s', (_, rule, expected) => {
    const [converted] = ingressRules(`[${rule}]`);
    const json = toJson(RuleSchema, converted as Rule) as Record<string, unknown>;
    expect({ ...json, ruleId: undefined }).toEqual(expected);
  });

  it('leaves the plain set out for named ports alone, and keeps it beside a number', () => {
    const [named, both] = ingressRules(
      "[{action: Allow, destination: {selector: app == 'x', ports: [http]}}, {action: Allow, protocol: TCP, destination: {selector: app == 'x', ports: [http, 80]}}]",
    );
    expect(named?.dstIpSetIds).toEqual([]);
    expect(named?.dstNamedPortIpSetIds).toHaveLength(1);
    expect(both?.dstIpSetIds).toHaveLength(1);
    expect(both?.dstPorts).toMatchObject([{ first: 80, last: 80 }]);
    expect(both?.dstNamedPortIpSetIds).not.toEqual(named?.dstNamedPortIpSetIds);
  });
});

describe('policy selectors', () => {
  function selectorOf(kind: string, spec: string): string {
    const mock = newMock();
    const hints = 'performanceHints: [AssumeNeededOnEveryNode]';
    const scope = kind === 'NetworkPolicy' ? ', namespace: ns' : '';
    applyValid(
      mock,
      `{apiVersion: projectcalico.org/v3, kind: ${kind}, metadata: {name: p${scope}}, spec: {${hints}${spec}}}`,
    );
    return valuesOf(mock.flush(), 'activePolicyUpdate')[0]?.policy?.originalSelector ?? '';
  }

  it.each([
    ['NetworkPolicy', '', 'projectcalico.org/namespace == "ns"'],
    ['NetworkPolicy', ", selector: app == 'x'", '(app == "x" && projectcalico.org/namespace == "ns")'],
    [
      'NetworkPolicy',
      ", selector: all(), serviceAccountSelector: sa == 'y'",
      '((all() && projectcalico.org/namespace == "ns") && pcsa.sa == "y")',
    ],
    ['GlobalNetworkPolicy', '', 'all()'],
    [
      'GlobalNetworkPolicy',
      ", selector: all(), namespaceSelector: team == 'x'",
      '(has(projectcalico.org/namespace) && pcns.team == "x")',
    ],
    ['GlobalNetworkPolicy', ', namespaceSelector: all()', 'has(projectcalico.org/namespace)'],
    [
      'GlobalNetworkPolicy',
      ", selector: has(a), namespaceSelector: team == 'x', serviceAccountSelector: all()",
      '((has(a) && pcns.team == "x") && has(projectcalico.org/serviceaccount))',
    ],
  ])('of %s%s', (kind, spec, expected) => {
    expect(selectorOf(kind, spec)).toBe(expected);
  });
});
