// Kubernetes NetworkPolicy, and Calico's staged form of it, as policies of the tier `default` (calc-graph.md 16).
import type { PolicyModel } from '../graph/entries.js';
import { type Decoded, defaulted, integer, listOf, map, object, oneOf, optional } from '../schema/decoder.js';
import { cidr, type PortMatch, portMatch } from '../schema/scalars.js';
import { defineKind, type ResourceKind } from '../resources/kind.js';
import { namespacedSelector, policyEntry } from '../resources/policy.js';
import { convertRule, type RuleRead } from '../resources/rule.js';
import { labelSelector, namespaceSelectorText, podSelectorText } from './label-selector.js';

const ORDER = 1000;

const port = map(
  object({
    protocol: defaulted(oneOf('TCP', 'UDP', 'SCTP'), 'TCP'),
    port: optional(portMatch),
    endPort: optional(integer(1, 65535)),
  }),
  (value, cursor) => {
    if (value.endPort === undefined) return value;
    if (value.port === undefined || !('first' in value.port))
      return cursor.at('endPort').reject('needs a port by number');
    return value.port.first <= value.endPort ? value : cursor.at('endPort').reject('must not be below port');
  },
);

const peer = map(
  object({
    podSelector: optional(labelSelector),
    namespaceSelector: optional(labelSelector),
    ipBlock: optional(object({ cidr, except: listOf(cidr) })),
  }),
  (value, cursor) => {
    const selects = value.podSelector !== undefined || value.namespaceSelector !== undefined;
    if (value.ipBlock !== undefined && selects) cursor.at('ipBlock').reject('must not be combined with selectors');
    if (value.ipBlock === undefined && !selects) cursor.reject('must have podSelector, namespaceSelector or ipBlock');
    return value;
  },
);

const fields = {
  podSelector: defaulted(labelSelector, { matchLabels: new Map(), matchExpressions: [] }),
  policyTypes: listOf(oneOf('Ingress', 'Egress')),
  ingress: listOf(object({ ports: listOf(port), from: listOf(peer) })),
  egress: listOf(object({ ports: listOf(port), to: listOf(peer) })),
};
const spec = object(fields);
const stagedSpec = object({ ...fields, stagedAction: defaulted(oneOf('Set', 'Delete', 'Learn', 'Ignore'), 'Set') });

type Spec = Decoded<typeof spec>;
type Port = Decoded<typeof port>;
type Peer = Decoded<typeof peer>;
type Side = NonNullable<RuleRead['source']>;

function simplify(ports: readonly PortMatch[]): readonly PortMatch[] {
  const numeric = ports.flatMap((item) => ('first' in item ? [item] : []));
  if (ports.length <= 1 || numeric.reduce((sum, { first, last }) => sum + last - first + 1, 0) <= 1) return ports;
  const ranges: { first: number; last: number }[] = [];
  for (const { first, last } of [...numeric].sort((a, b) => a.first - b.first)) {
    const previous = ranges.at(-1);
    if (previous !== undefined && first <= previous.last + 1) previous.last = Math.max(previous.last, last);
    else ranges.push({ first, last });
  }
  return [...ports.filter((item) => 'name' in item), ...ranges];
}

function matchOf(item: Port): PortMatch | undefined {
  if (item.port === undefined || !('first' in item.port)) return item.port;
  return { first: item.port.first, last: item.endPort ?? item.port.last };
}

/** Ports by protocol, protocols sorted; an undefined list means all ports. */
function portsByProtocol(ports: readonly Port[]): [string | undefined, readonly PortMatch[]][] {
  if (ports.length === 0) return [[undefined, []]];
  const protocols = [...new Set(ports.map(({ protocol }) => protocol))].sort();
  return protocols.map((protocol) => {
    const matches = ports.filter((item) => item.protocol === protocol).map(matchOf);
    const all = matches.includes(undefined);
    return [protocol.toLowerCase(), all ? [] : simplify(matches.flatMap((match) => match ?? []))];
  });
}

const ANY_SIDE: Side = {
  nets: [],
  notNets: [],
  ports: [],
  notPorts: [],
  selector: undefined,
  notSelector: undefined,
  namespaceSelector: undefined,
  serviceAccounts: undefined,
  services: undefined,
};

function peerSide(from: Peer | undefined): Side {
  if (from === undefined) return ANY_SIDE;
  if (from.ipBlock !== undefined) return { ...ANY_SIDE, nets: [from.ipBlock.cidr], notNets: from.ipBlock.except };
  return {
    ...ANY_SIDE,
    selector: podSelectorText(from.podSelector),
    namespaceSelector: namespaceSelectorText(from.namespaceSelector),
  };
}

function toRules(ports: readonly Port[], peers: readonly Peer[], direction: 'ingress' | 'egress'): RuleRead[] {
  const sides = peers.length === 0 ? [undefined] : peers;
  return portsByProtocol(ports).flatMap(([protocol, matches]) =>
    sides.map((item): RuleRead => {
      const side = peerSide(item);
      const portSide = { ...(direction === 'ingress' ? ANY_SIDE : side), ports: matches };
      return {
        action: 'Allow',
        ipVersion: undefined,
        protocol,
        notProtocol: undefined,
        icmp: undefined,
        notICMP: undefined,
        source: direction === 'ingress' ? side : ANY_SIDE,
        destination: portSide,
        http: undefined,
        metadata: undefined,
      };
    }),
  );
}

function toModel(body: Spec, namespace: string): PolicyModel {
  const inbound = body.ingress.flatMap((rule) => toRules(rule.ports, rule.from, 'ingress'));
  const outbound = body.egress.flatMap((rule) => toRules(rule.ports, rule.to, 'egress'));
  return {
    tier: 'default',
    namespace,
    order: ORDER,
    ingress: body.policyTypes.length === 0 || body.policyTypes.includes('Ingress'),
    egress: body.policyTypes.includes('Egress'),
    doNotTrack: false,
    preDnat: false,
    applyOnForward: false,
    selector: namespacedSelector(podSelectorText(body.podSelector), namespace, ''),
    inbound: inbound.map((rule) => convertRule(rule, namespace)),
    outbound: outbound.map((rule) => convertRule(rule, namespace)),
    performanceHints: [],
  };
}

const networkPolicy = defineKind({
  api: 'kubernetes',
  kind: 'NetworkPolicy',
  namespaced: true,
  fields: { spec },
  convert: ({ name, namespace, body }) => [
    policyEntry('KubernetesNetworkPolicy', namespace, name, toModel(body.spec, namespace)),
  ],
});

const stagedNetworkPolicy = defineKind({
  api: 'calico',
  kind: 'StagedKubernetesNetworkPolicy',
  namespaced: true,
  fields: { spec: stagedSpec },
  convert: ({ name, namespace, body }) =>
    body.spec.stagedAction === 'Delete'
      ? []
      : [policyEntry('StagedKubernetesNetworkPolicy', namespace, name, toModel(body.spec, namespace))],
});

/** NetworkPolicy of Kubernetes and StagedKubernetesNetworkPolicy of Calico. */
export const kubernetesPolicyKinds: readonly ResourceKind[] = [networkPolicy, stagedNetworkPolicy];
