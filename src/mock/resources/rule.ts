// Rules of policies and profiles: reads a v3 rule, checks what belongs together, and combines its selectors
// (calc-graph.md sections 5, 6 and 17).
import type { EntityModel, RuleModel } from '../graph/entries.js';
import type { Cidr } from '../net/cidr.js';
import {
  type Cursor,
  type Decoded,
  type Decoder,
  integer,
  listOf,
  map,
  mapOf,
  object,
  oneOf,
  optional,
  text,
} from '../schema/decoder.js';
import {
  cidrOrAddress,
  portMatch,
  type ProtocolMatch,
  protocolMatch,
  resourceName,
  selectorText,
} from '../schema/scalars.js';
import { attachLabelPrefix, NAMESPACE_PREFIX, parseSelector, SERVICE_ACCOUNT_PREFIX } from '../selector/selector.js';

const NAMESPACE_LABEL = 'projectcalico.org/namespace';
const SERVICE_ACCOUNT_LABEL = 'projectcalico.org/serviceaccount';

const entity = object({
  nets: listOf(cidrOrAddress),
  notNets: listOf(cidrOrAddress),
  ports: listOf(portMatch),
  notPorts: listOf(portMatch),
  selector: optional(selectorText()),
  notSelector: optional(selectorText()),
  namespaceSelector: optional(selectorText(true)),
  serviceAccounts: optional(object({ names: listOf(resourceName), selector: optional(selectorText()) })),
  services: optional(object({ name: text('the name of a service'), namespace: optional(text('a namespace')) })),
});

const icmp = map(object({ type: optional(integer(0, 254)), code: optional(integer(0, 255)) }), (value, cursor) =>
  value.code !== undefined && value.type === undefined ? cursor.at('code').reject('needs a type as well') : value,
);

const fields = object({
  action: oneOf('Allow', 'Deny', 'Log', 'Pass'),
  ipVersion: optional(
    map(integer(4, 6), (value, cursor) => (value === 5 ? cursor.reject('must be 4 or 6') : (value as 4 | 6))),
  ),
  protocol: optional(protocolMatch),
  notProtocol: optional(protocolMatch),
  icmp: optional(icmp),
  notICMP: optional(icmp),
  source: optional(entity),
  destination: optional(entity),
  http: optional(
    object({
      methods: listOf(text('a method')),
      paths: listOf(object({ exact: optional(text('a path')), prefix: optional(text('a path')) })),
    }),
  ),
  metadata: optional(object({ annotations: optional(mapOf(text())) })),
});

/** A v3 rule as read. */
export type RuleRead = Decoded<typeof fields>;
type EntityRead = NonNullable<RuleRead['source']>;

const PORT_PROTOCOLS: readonly ProtocolMatch[] = ['tcp', 'udp', 'sctp', 6, 17, 132];

function checkPorts(rule: RuleRead, cursor: Cursor): void {
  for (const side of ['source', 'destination'] as const) {
    for (const field of ['ports', 'notPorts'] as const) {
      const ports = rule[side]?.[field] ?? [];
      if (ports.length === 0) continue;
      const numeric = ports.some((port) => 'first' in port);
      const fits = rule.protocol === undefined ? !numeric : PORT_PROTOCOLS.includes(rule.protocol);
      if (!fits) cursor.at(side).at(field).note('needs the protocol TCP, UDP or SCTP in the same rule');
    }
  }
}

function checkFamilies(rule: RuleRead, cursor: Cursor): void {
  const nets: Cidr[] = [rule.source, rule.destination].flatMap((side) => [
    ...(side?.nets ?? []),
    ...(side?.notNets ?? []),
  ]);
  const families = new Set(nets.map((net) => net.family));
  if (families.size > 1) cursor.note('nets of one rule must all be IPv4 or all be IPv6');
  if (rule.ipVersion !== undefined && nets.some((net) => net.family !== rule.ipVersion)) {
    cursor.at('ipVersion').note(`does not fit the nets of the rule, which are IPv${[...families].join(', IPv')}`);
  }
  for (const side of ['source', 'destination'] as const) {
    if (rule[side]?.notNets.some((net) => net.length === 0)) {
      cursor.at(side).at('notNets').note('must not contain 0.0.0.0/0 or ::/0');
    }
  }
}

function checkIcmp(rule: RuleRead, cursor: Cursor): void {
  for (const field of ['icmp', 'notICMP'] as const) {
    if (rule[field] !== undefined && !['icmp', 'icmpv6', 1, 58].includes(rule.protocol ?? '')) {
      cursor.at(field).note('needs the protocol ICMP or ICMPv6 in the same rule');
    }
  }
  for (const field of ['protocol', 'notProtocol'] as const) {
    const wanted = rule[field] === 'icmp' ? 4 : rule[field] === 'icmpv6' ? 6 : undefined;
    if (wanted !== undefined && rule.ipVersion !== undefined && rule.ipVersion !== wanted) {
      cursor.at('ipVersion').note(`must be ${wanted} with that ${field}`);
    }
  }
}

function checkServices(rule: RuleRead, cursor: Cursor, direction: Direction, global: boolean): void {
  for (const side of ['source', 'destination'] as const) {
    const value = rule[side];
    if (value?.services === undefined) continue;
    const at = cursor.at(side).at('services');
    if ((direction === 'ingress') !== (side === 'source'))
      at.note('is allowed on the source of ingress rules and the destination of egress rules');
    const lists = [value.nets, value.notNets, value.ports, value.notPorts];
    const selectors = [value.selector, value.notSelector, value.namespaceSelector, value.serviceAccounts];
    if (lists.some((items) => items.length > 0) || selectors.some((item) => item !== undefined)) {
      at.note('must be the only match on that side');
    }
    if (global && value.services.namespace === undefined) at.note('needs a namespace in a global policy');
  }
}

function checkHttp(rule: RuleRead, cursor: Cursor, direction: Direction): void {
  if (rule.http === undefined) return;
  const at = cursor.at('http');
  if (rule.action !== 'Allow') at.note('needs the action Allow');
  if (direction !== 'ingress') at.note('is allowed in ingress rules only');
  if (![undefined, 'tcp', 6].includes(rule.protocol)) at.note('needs the protocol TCP or none');
  if (rule.http.paths.some((path) => path.exact !== undefined && path.prefix !== undefined)) {
    at.note('a path has either exact or prefix');
  }
}

type Direction = 'ingress' | 'egress';

/** Reads a rule and checks what must fit together. `global` is true in policies without namespace and in profiles. */
export function ruleDecoder(direction: Direction, global: boolean): Decoder<RuleRead> {
  return map(fields, (rule, cursor) => {
    checkPorts(rule, cursor);
    checkFamilies(rule, cursor);
    checkIcmp(rule, cursor);
    checkServices(rule, cursor, direction, global);
    checkHttp(rule, cursor, direction);
    return rule;
  });
}

function serviceAccountSelector(accounts: NonNullable<EntityRead['serviceAccounts']>): string {
  const bySelector =
    accounts.selector === undefined || accounts.selector === ''
      ? ''
      : attachLabelPrefix(accounts.selector, SERVICE_ACCOUNT_PREFIX);
  if (accounts.names.length === 0) return bySelector;
  const byName = parseSelector(`${SERVICE_ACCOUNT_LABEL} in { '${accounts.names.join("', '")}' }`).text;
  return bySelector === '' ? byName : `(${bySelector}) && (${byName})`;
}

function namespacePart(namespaceSelector: string, namespace: string): string {
  if (namespaceSelector !== '') {
    return attachLabelPrefix(namespaceSelector, NAMESPACE_PREFIX)
      .replaceAll('all()', `has(${NAMESPACE_LABEL})`)
      .replaceAll('global()', `!has(${NAMESPACE_LABEL})`);
  }
  return namespace === '' ? '' : `${NAMESPACE_LABEL} == '${namespace}'`;
}

function entitySelector(read: EntityRead, namespace: string): string {
  const accounts = read.serviceAccounts === undefined ? '' : serviceAccountSelector(read.serviceAccounts);
  const parts = [accounts, read.selector ?? ''].filter((part) => part !== '');
  const own = parts.length < 2 ? (parts[0] ?? '') : `(${parts.join(') && (')})`;
  const namespaceSelector = read.namespaceSelector ?? '';
  const within = namespacePart(namespaceSelector, namespace);
  const limited = own !== '' || (read.notSelector ?? '') !== '' || namespaceSelector !== '';
  if (within === '' || !limited) return own;
  return own === '' ? within : `(${within}) && (${own})`;
}

const EMPTY_ENTITY: EntityModel = {
  nets: [],
  notNets: [],
  ports: [],
  notPorts: [],
  selector: '',
  notSelector: '',
  originalSelector: '',
  originalNamespaceSelector: '',
  serviceAccountNames: [],
  serviceAccountSelector: '',
  serviceName: '',
  serviceNamespace: '',
};

function convertEntity(read: EntityRead | undefined, namespace: string): EntityModel {
  if (read === undefined) return EMPTY_ENTITY;
  return {
    nets: read.nets.map((net) => net.text),
    notNets: read.notNets.map((net) => net.text),
    ports: read.ports,
    notPorts: read.notPorts,
    selector: entitySelector(read, namespace),
    notSelector: read.notSelector ?? '',
    originalSelector: read.selector ?? '',
    originalNamespaceSelector: read.namespaceSelector ?? '',
    serviceAccountNames: read.serviceAccounts?.names ?? [],
    serviceAccountSelector: read.serviceAccounts?.selector ?? '',
    serviceName: read.services?.name ?? '',
    serviceNamespace: read.services?.namespace ?? '',
  };
}

/** The internal form of a rule of a policy in `namespace` (empty for global policies and profiles). */
export function convertRule(rule: RuleRead, namespace: string): RuleModel {
  return {
    action: rule.action === 'Pass' ? 'next-tier' : rule.action.toLowerCase(),
    ipVersion: rule.ipVersion,
    protocol: rule.protocol,
    notProtocol: rule.notProtocol,
    icmp: rule.icmp,
    notIcmp: rule.notICMP,
    source: convertEntity(rule.source, namespace),
    destination: convertEntity(rule.destination, namespace),
    http:
      rule.http === undefined
        ? undefined
        : {
            methods: rule.http.methods,
            paths: rule.http.paths.map((path) => ({ exact: path.exact ?? '', prefix: path.prefix ?? '' })),
          },
    annotations: rule.metadata?.annotations?.size === 0 ? undefined : rule.metadata?.annotations,
  };
}
