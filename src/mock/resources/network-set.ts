// NetworkSet and GlobalNetworkSet (calc-graph.md section 8).
import { listOf, object } from '../schema/decoder.js';
import { cidrOrAddress } from '../schema/scalars.js';
import { defineKind, type Fault, type Metadata, type ResourceKind } from './kind.js';

const NAMESPACE_LABEL = 'projectcalico.org/namespace';
const spec = object({ nets: listOf(cidrOrAddress) });

function check({ metadata }: { readonly metadata: Metadata }): Fault[] {
  if (!metadata.labels.has(NAMESPACE_LABEL)) return [];
  return [{ field: 'metadata.labels', message: `must not contain ${NAMESPACE_LABEL}` }];
}

const networkSet = defineKind({
  api: 'calico',
  kind: 'NetworkSet',
  namespaced: true,
  fields: { spec },
  check,
  convert: ({ name, namespace, metadata, body }) => [
    {
      type: 'network-set',
      key: `${namespace}/${name}`,
      value: {
        labels: new Map(metadata.labels).set(NAMESPACE_LABEL, namespace),
        profiles: [`kns.${namespace}`],
        nets: body.spec.nets,
      },
    },
  ],
});

const globalNetworkSet = defineKind({
  api: 'calico',
  kind: 'GlobalNetworkSet',
  namespaced: false,
  fields: { spec },
  check,
  convert: ({ name, metadata, body }) => [
    { type: 'network-set', key: name, value: { labels: metadata.labels, profiles: [], nets: body.spec.nets } },
  ],
});

/** Both kinds of network sets. */
export const networkSetKinds: readonly ResourceKind[] = [networkSet, globalNetworkSet];
