// Turns internal rules into messages: selectors and named ports become set ids, and every rule gets its id
// (calc-graph.md section 6; Felix: felix/calc/rule_scanner.go and rule_convert.go).
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { sha224 } from '../../base/digest.js';
import {
  type HTTPMatch_PathMatchSchema,
  IPVersion,
  type PortRangeSchema,
  type ProtocolSchema,
  type Rule,
  RuleSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import type { PortMatch, ProtocolMatch } from '../schema/scalars.js';
import { parseSelector, type Selector } from '../selector/selector.js';
import type { EntityModel, IcmpModel, RuleModel } from './entries.js';
import { type IpSetDefinition, type NamedPortProtocol, namedPortSet, selectorSet, serviceSet } from './ip-set.js';

type RuleInit = MessageInitShape<typeof RuleSchema>;
type PathInit = MessageInitShape<typeof HTTPMatch_PathMatchSchema>;
type PortInit = MessageInitShape<typeof PortRangeSchema>;

const RULE_ID_LENGTH = 16;

/** Rules as messages, and the sets that they name. */
export interface ConvertedRules {
  readonly rules: readonly Rule[];
  readonly sets: ReadonlyMap<string, IpSetDefinition>;
}

function namedPortProtocol(protocol: ProtocolMatch | undefined): NamedPortProtocol {
  if (protocol === undefined) return 'any';
  if (protocol === 'udp' || protocol === 17) return 'udp';
  return protocol === 'sctp' || protocol === 132 ? 'sctp' : 'tcp';
}

function protocolInit(protocol: ProtocolMatch | undefined): {
  readonly value?: MessageInitShape<typeof ProtocolSchema>;
} {
  if (protocol === undefined) return {};
  const value =
    typeof protocol === 'number'
      ? { case: 'number' as const, value: protocol }
      : { case: 'name' as const, value: protocol };
  return { value: { numberOrName: value } };
}

function numericPorts(ports: readonly PortMatch[]): PortInit[] {
  return ports.flatMap((port) => ('first' in port ? [{ first: port.first, last: port.last }] : []));
}

function portNames(ports: readonly PortMatch[]): string[] {
  return ports.flatMap((port) => ('name' in port ? [port.name] : []));
}

/** The sets that one side of a rule needs, in the order in which the rule names them. */
interface SideSets {
  readonly selected: IpSetDefinition[];
  readonly notSelected: IpSetDefinition[];
  readonly named: IpSetDefinition[];
  readonly notNamed: IpSetDefinition[];
}

function sideSets(entity: EntityModel, protocol: NamedPortProtocol): SideSets {
  let positive: Selector | undefined;
  let negative: Selector | undefined;
  if (entity.selector !== '' && entity.notSelector !== '') {
    positive = parseSelector(`(${entity.selector}) && (!(${entity.notSelector}))`);
  } else if (entity.selector !== '') {
    positive = parseSelector(entity.selector);
  } else if (entity.notSelector !== '') {
    negative = parseSelector(entity.notSelector);
  }
  const base = positive ?? parseSelector('');
  const portSets = (ports: readonly PortMatch[]): IpSetDefinition[] =>
    portNames(ports).map((name) => namedPortSet(base, protocol, name));
  // Named ports alone are already limited by the selector, so the plain set would say nothing new.
  const implied = numericPorts(entity.ports).length === 0 && portNames(entity.ports).length > 0;
  return {
    selected: positive === undefined || implied ? [] : [selectorSet(positive)],
    notSelected: negative === undefined ? [] : [selectorSet(negative)],
    named: portSets(entity.ports),
    notNamed: portSets(entity.notPorts),
  };
}

function serviceOf(entity: EntityModel, withPorts: boolean): IpSetDefinition[] {
  return entity.serviceName === '' ? [] : [serviceSet(`${entity.serviceNamespace}/${entity.serviceName}`, withPorts)];
}

function ipVersion(rule: RuleModel): IPVersion {
  if (rule.ipVersion === 4) return IPVersion.IPV4;
  if (rule.ipVersion === 6) return IPVersion.IPV6;
  if (rule.protocol === 'icmp') return IPVersion.IPV4;
  return rule.protocol === 'icmpv6' ? IPVersion.IPV6 : IPVersion.ANY;
}

function icmpInit(icmp: IcmpModel | undefined): RuleInit['icmp'] {
  if (icmp?.type === undefined) return { case: undefined };
  return icmp.code === undefined
    ? { case: 'icmpType', value: icmp.type }
    : { case: 'icmpTypeCode', value: { type: icmp.type, code: icmp.code } };
}

function notIcmpInit(icmp: IcmpModel | undefined): RuleInit['notIcmp'] {
  if (icmp?.type === undefined) return { case: undefined };
  return icmp.code === undefined
    ? { case: 'notIcmpType', value: icmp.type }
    : { case: 'notIcmpTypeCode', value: { type: icmp.type, code: icmp.code } };
}

function serviceAccountInit(entity: EntityModel): RuleInit['srcServiceAccountMatch'] {
  const { serviceAccountNames: names, serviceAccountSelector: selector } = entity;
  return names.length === 0 && selector === '' ? undefined : { names: [...names], selector };
}

function httpInit(rule: RuleModel): RuleInit['httpMatch'] {
  if (rule.http === undefined) return undefined;
  const paths = rule.http.paths.flatMap(({ exact, prefix }): PathInit[] => {
    if (exact !== '') return [{ pathMatch: { case: 'exact', value: exact } }];
    return prefix === '' ? [] : [{ pathMatch: { case: 'prefix', value: prefix } }];
  });
  return { methods: [...rule.http.methods], paths };
}

function annotationsInit(rule: RuleModel): RuleInit['metadata'] {
  if (rule.annotations === undefined) return undefined;
  // Felix hashes the map in random order; sorted keys at least give the same id every time.
  const sorted = [...rule.annotations].sort(([a], [b]) => (a < b ? -1 : 1));
  return { annotations: Object.fromEntries(sorted) };
}

function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}

function ids(sets: readonly IpSetDefinition[]): string[] {
  return sets.map((set) => set.id);
}

function convertRule(rule: RuleModel, sets: Map<string, IpSetDefinition>): Rule {
  const protocol = namedPortProtocol(rule.protocol);
  const source = sideSets(rule.source, protocol);
  const destination = sideSets(rule.destination, protocol);
  const sourceService = serviceOf(rule.source, false);
  const destinationService = serviceOf(rule.destination, true);
  const all = [...Object.values(source), ...Object.values(destination), sourceService, destinationService] as const;
  for (const set of all.flat() as IpSetDefinition[]) sets.set(set.id, set);
  return create(RuleSchema, {
    action: rule.action,
    ipVersion: ipVersion(rule),
    ...present('protocol', protocolInit(rule.protocol).value),
    ...present('notProtocol', protocolInit(rule.notProtocol).value),
    srcNet: [...rule.source.nets],
    notSrcNet: [...rule.source.notNets],
    dstNet: [...rule.destination.nets],
    notDstNet: [...rule.destination.notNets],
    srcPorts: numericPorts(rule.source.ports),
    notSrcPorts: numericPorts(rule.source.notPorts),
    dstPorts: numericPorts(rule.destination.ports),
    notDstPorts: numericPorts(rule.destination.notPorts),
    srcIpSetIds: ids([...source.selected, ...sourceService]),
    notSrcIpSetIds: ids(source.notSelected),
    dstIpSetIds: ids(destination.selected),
    notDstIpSetIds: ids(destination.notSelected),
    dstIpPortSetIds: ids(destinationService),
    srcNamedPortIpSetIds: ids(source.named),
    notSrcNamedPortIpSetIds: ids(source.notNamed),
    dstNamedPortIpSetIds: ids(destination.named),
    notDstNamedPortIpSetIds: ids(destination.notNamed),
    icmp: icmpInit(rule.icmp) ?? { case: undefined },
    notIcmp: notIcmpInit(rule.notIcmp) ?? { case: undefined },
    originalSrcSelector: rule.source.originalSelector,
    originalDstSelector: rule.destination.originalSelector,
    originalSrcNamespaceSelector: rule.source.originalNamespaceSelector,
    originalDstNamespaceSelector: rule.destination.originalNamespaceSelector,
    originalNotSrcSelector: rule.source.notSelector,
    originalNotDstSelector: rule.destination.notSelector,
    originalSrcService: rule.source.serviceName,
    originalSrcServiceNamespace: rule.source.serviceNamespace,
    originalDstService: rule.destination.serviceName,
    originalDstServiceNamespace: rule.destination.serviceNamespace,
    ...present('srcServiceAccountMatch', serviceAccountInit(rule.source)),
    ...present('dstServiceAccountMatch', serviceAccountInit(rule.destination)),
    ...present('httpMatch', httpInit(rule)),
    ...present('metadata', annotationsInit(rule)),
  });
}

/** The bytes that Go's library writes for a rule: members of a oneof come last, whatever their numbers. */
function hashedBytes(rule: Rule): Buffer {
  const plain = create(RuleSchema, { ...rule, ruleId: '', icmp: { case: undefined }, notIcmp: { case: undefined } });
  const parts = [plain, create(RuleSchema, { icmp: rule.icmp }), create(RuleSchema, { notIcmp: rule.notIcmp })];
  return Buffer.concat(parts.map((part) => toBinary(RuleSchema, part)));
}

/**
 * Fills in the rule ids: each hashes the rule and the id before it, the first one the seed. Seeds are
 * `pol-in-default/NAME`, `pol-out-default/NAME`, `prof-in-NAME` and `prof-out-NAME`.
 */
export function assignRuleIds(rules: readonly Rule[], seed: string): void {
  let hash = sha224(seed);
  for (const rule of rules) {
    hash = sha224(hash, hashedBytes(rule));
    rule.ruleId = hash.toString('base64url').slice(0, RULE_ID_LENGTH);
  }
}

/** Converts the rules of one direction of a policy or profile. */
export function convertRules(models: readonly RuleModel[], seed: string): ConvertedRules {
  const sets = new Map<string, IpSetDefinition>();
  const rules = models.map((model) => convertRule(model, sets));
  assignRuleIds(rules, seed);
  return { rules, sets };
}
