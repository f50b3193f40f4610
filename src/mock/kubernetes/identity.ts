// Namespaces and service accounts as profiles, from which pods inherit labels and default rules (calc-graph.md 16).
import type { GraphEntry, Labels } from '../graph/entries.js';
import { builtInAllow } from '../resources/built-in.js';
import { defineKind, type ResourceKind } from '../resources/kind.js';
import { NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX } from '../selector/selector.js';

const NAME_LABEL = 'projectcalico.org/name';

function inherited(labels: Labels, prefix: string, name: string): Labels {
  const prefixed = new Map([...labels].map(([key, value]): [string, string] => [prefix + key, value]));
  return prefixed.set(prefix + NAME_LABEL, name);
}

const namespaceKind = defineKind({
  api: 'kubernetes',
  kind: 'Namespace',
  namespaced: false,
  fields: {},
  convert: ({ name, metadata }): GraphEntry[] => {
    const labels = inherited(metadata.labels, NAMESPACE_PREFIX, name);
    return [
      { type: 'profile', key: `kns.${name}`, value: { inbound: builtInAllow(), outbound: builtInAllow(), labels } },
    ];
  },
});

const serviceAccountKind = defineKind({
  api: 'kubernetes',
  kind: 'ServiceAccount',
  namespaced: true,
  fields: {},
  convert: ({ name, namespace, metadata }): GraphEntry[] => {
    const labels = inherited(metadata.labels, SERVICE_ACCOUNT_PREFIX, name);
    return [{ type: 'profile', key: `ksa.${namespace}.${name}`, value: { inbound: [], outbound: [], labels } }];
  },
});

/** Namespace and ServiceAccount. */
export const identityKinds: readonly ResourceKind[] = [namespaceKind, serviceAccountKind];
