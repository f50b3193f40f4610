// The four Calico policy kinds, enforced and staged (calc-graph.md sections 3 and 5).
import type { GraphEntry, PolicyModel } from '../graph/entries.js';
import {
  bool,
  type Cursor,
  type DecodedFields,
  defaulted,
  listOf,
  map,
  number,
  object,
  oneOf,
  optional,
  text,
} from '../schema/decoder.js';
import { selectorText } from '../schema/scalars.js';
import { attachLabelPrefix, NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX } from '../selector/selector.js';
import { defineKind, type Read, type ResourceKind } from './kind.js';
import { convertRule, ruleDecoder } from './rule.js';

const LABEL_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

const tierName = map(text('the name of a tier'), (value, cursor) =>
  value.length <= 63 && LABEL_NAME.test(value)
    ? value
    : cursor.reject(
        `must be the name of a tier: at most 63 lower-case letters, digits and -, not ${JSON.stringify(value)}`,
      ),
);

const policyTypes = map(listOf(oneOf('Ingress', 'Egress')), (types, cursor) =>
  new Set(types).size === types.length ? types : cursor.reject('must not name a type twice'),
);

function commonFields(global: boolean) {
  return {
    tier: defaulted(tierName, 'default'),
    order: optional(number),
    selector: defaulted(selectorText(), ''),
    types: policyTypes,
    ingress: listOf(ruleDecoder('ingress', global)),
    egress: listOf(ruleDecoder('egress', global)),
    serviceAccountSelector: defaulted(selectorText(), ''),
    performanceHints: listOf(oneOf('AssumeNeededOnEveryNode')),
  };
}

const globalFields = {
  ...commonFields(true),
  namespaceSelector: defaulted(selectorText(), ''),
  doNotTrack: defaulted(bool, false),
  preDNAT: defaulted(bool, false),
  applyOnForward: defaulted(bool, false),
};
const namespacedFields = commonFields(false);
const stagedAction = { stagedAction: defaulted(oneOf('Set', 'Delete', 'Learn', 'Ignore'), 'Set') };

type CommonSpec = DecodedFields<typeof namespacedFields>;
type GlobalSpec = Pick<
  DecodedFields<typeof globalFields>,
  'namespaceSelector' | 'doNotTrack' | 'preDNAT' | 'applyOnForward'
>;

const namespacedSpec = object(namespacedFields);
const globalSpec = map(object(globalFields), checkGlobal);
const stagedNamespacedSpec = object({ ...namespacedFields, ...stagedAction });
const stagedGlobalSpec = map(object({ ...globalFields, ...stagedAction }), checkGlobal);

function checkGlobal<T extends CommonSpec & GlobalSpec>(spec: T, cursor: Cursor): T {
  if (spec.doNotTrack && spec.preDNAT) cursor.at('preDNAT').note('must not be combined with doNotTrack');
  if ((spec.doNotTrack || spec.preDNAT) && !spec.applyOnForward) {
    cursor.at(spec.doNotTrack ? 'doNotTrack' : 'preDNAT').note('needs applyOnForward: true');
  }
  if (spec.preDNAT && (spec.egress.length > 0 || spec.types.includes('Egress'))) {
    cursor.at('preDNAT').note('must not be combined with egress rules or the type Egress');
  }
  return spec;
}

function appendSelector(current: string, selector: string, prefix: string): string {
  if (selector === '') return current;
  const attached = attachLabelPrefix(selector, prefix);
  return current === '' ? attached : `(${current}) && ${attached}`;
}

function globalSelector(spec: CommonSpec & GlobalSpec): string {
  let selector = spec.selector;
  // Felix rewrites the whole text, so an all() of the user's own is narrowed as well.
  if (spec.namespaceSelector !== '') {
    selector = appendSelector(selector, spec.namespaceSelector, NAMESPACE_PREFIX).replaceAll(
      'all()',
      'has(projectcalico.org/namespace)',
    );
  }
  if (spec.serviceAccountSelector !== '') {
    selector = appendSelector(selector, spec.serviceAccountSelector, SERVICE_ACCOUNT_PREFIX).replaceAll(
      'all()',
      'has(projectcalico.org/serviceaccount)',
    );
  }
  return selector;
}

/** The selector of a policy of a namespace: its own, limited to the namespace and the service accounts. */
export function namespacedSelector(selector: string, namespace: string, serviceAccountSelector: string): string {
  const within = `projectcalico.org/namespace == '${namespace}'`;
  return appendSelector(
    selector === '' ? within : `(${selector}) && ${within}`,
    serviceAccountSelector,
    SERVICE_ACCOUNT_PREFIX,
  );
}

function policyModel(
  spec: CommonSpec,
  namespace: string,
  selector: string,
  flags: GlobalSpec | undefined,
): PolicyModel {
  const typed = spec.types.length > 0;
  return {
    tier: spec.tier,
    namespace,
    order: spec.order ?? Number.POSITIVE_INFINITY,
    ingress: typed ? spec.types.includes('Ingress') : spec.ingress.length > 0 || spec.egress.length === 0,
    egress: typed ? spec.types.includes('Egress') : spec.egress.length > 0,
    doNotTrack: flags?.doNotTrack ?? false,
    preDnat: flags?.preDNAT ?? false,
    applyOnForward: flags?.applyOnForward ?? false,
    selector,
    inbound: spec.ingress.map((rule) => convertRule(rule, namespace)),
    outbound: spec.egress.map((rule) => convertRule(rule, namespace)),
    performanceHints: spec.performanceHints,
  };
}

/** The graph entry of a policy. */
export function policyEntry(kind: string, namespace: string, name: string, model: PolicyModel): GraphEntry {
  return {
    type: 'policy',
    key: `${name}/${namespace}/${kind}`,
    value: { ...model, id: { kind, namespace, name } },
  };
}

function namespacedEntry(kind: string, read: Read<{ readonly spec: CommonSpec }>): GraphEntry {
  const { spec } = read.body;
  const selector = namespacedSelector(spec.selector, read.namespace, spec.serviceAccountSelector);
  return policyEntry(kind, read.namespace, read.name, policyModel(spec, read.namespace, selector, undefined));
}

function globalEntry(kind: string, read: Read<{ readonly spec: CommonSpec & GlobalSpec }>): GraphEntry {
  const { spec } = read.body;
  return policyEntry(kind, '', read.name, policyModel(spec, '', globalSelector(spec), spec));
}

const networkPolicy = defineKind({
  api: 'calico',
  kind: 'NetworkPolicy',
  namespaced: true,
  fields: { spec: namespacedSpec },
  convert: (read) => [namespacedEntry('NetworkPolicy', read)],
});

const globalNetworkPolicy = defineKind({
  api: 'calico',
  kind: 'GlobalNetworkPolicy',
  namespaced: false,
  fields: { spec: globalSpec },
  convert: (read) => [globalEntry('GlobalNetworkPolicy', read)],
});

const stagedNetworkPolicy = defineKind({
  api: 'calico',
  kind: 'StagedNetworkPolicy',
  namespaced: true,
  fields: { spec: stagedNamespacedSpec },
  convert: (read) => (read.body.spec.stagedAction === 'Delete' ? [] : [namespacedEntry('StagedNetworkPolicy', read)]),
});

const stagedGlobalNetworkPolicy = defineKind({
  api: 'calico',
  kind: 'StagedGlobalNetworkPolicy',
  namespaced: false,
  fields: { spec: stagedGlobalSpec },
  convert: (read) => (read.body.spec.stagedAction === 'Delete' ? [] : [globalEntry('StagedGlobalNetworkPolicy', read)]),
});

/** NetworkPolicy, GlobalNetworkPolicy and their staged forms. */
export const policyKinds: readonly ResourceKind[] = [
  networkPolicy,
  globalNetworkPolicy,
  stagedNetworkPolicy,
  stagedGlobalNetworkPolicy,
];
