// BGPPeer and LiveMigration, as far as they bear on the endpoints of a node (calc-graph.md section 15).
import type { MigrationParty } from '../graph/entries.js';
import { type Decoded, defaulted, map, object, openObject, optional, text } from '../schema/decoder.js';
import { selectorText } from '../schema/scalars.js';
import { defineKind, type ResourceKind } from './kind.js';

const peerSpec = openObject({
  node: defaulted(text('the name of a node'), ''),
  nodeSelector: defaulted(selectorText(), ''),
  localWorkloadSelector: defaulted(selectorText(), ''),
});

const bgpPeer = defineKind({
  api: 'calico',
  kind: 'BGPPeer',
  namespaced: false,
  fields: { spec: peerSpec },
  convert: ({ name, body: { spec } }) => [{ type: 'bgp-peer', key: name, value: spec }],
});

const workload = object({
  hostname: defaulted(text('the name of a node'), ''),
  orchestratorID: text('the name of an orchestrator such as k8s'),
  workloadID: text('NAMESPACE/NAME'),
});
const workloadEndpoint = object({
  hostname: defaulted(text('the name of a node'), ''),
  orchestratorID: text('the name of an orchestrator such as k8s'),
  workloadID: text('NAMESPACE/NAME'),
  endpointID: text('the name of an interface such as eth0'),
});

const source = map(
  object({ workload: optional(workload), workloadEndpoint: optional(workloadEndpoint) }),
  (value, cursor) =>
    (value.workload === undefined) === (value.workloadEndpoint === undefined)
      ? cursor.reject('must have either workload or workloadEndpoint')
      : value,
);
const target = map(
  object({ selector: optional(selectorText()), workloadEndpoint: optional(workloadEndpoint) }),
  (value, cursor) =>
    (value.selector === undefined) === (value.workloadEndpoint === undefined)
      ? cursor.reject('must have either selector or workloadEndpoint')
      : value,
);
const migrationSpec = object({ source: optional(source), target: optional(target) });

function party(
  whole: Decoded<typeof workload> | undefined,
  endpoint: Decoded<typeof workloadEndpoint> | undefined,
): MigrationParty | undefined {
  const named = endpoint ?? whole;
  if (named === undefined) return undefined;
  return {
    hostname: named.hostname,
    orchestrator: named.orchestratorID,
    workload: named.workloadID,
    endpoint: endpoint?.endpointID ?? '',
  };
}

const liveMigration = defineKind({
  api: 'calico',
  kind: 'LiveMigration',
  namespaced: true,
  fields: { spec: migrationSpec },
  convert: ({ name, namespace, metadata, body: { spec } }) => [
    {
      type: 'live-migration',
      key: `${namespace}/${name}`,
      value: {
        uid: metadata.uid ?? '',
        source: party(spec.source?.workload, spec.source?.workloadEndpoint),
        target: party(undefined, spec.target?.workloadEndpoint),
        targetSelector: spec.target?.selector,
      },
    },
  ],
});

/** BGPPeer and LiveMigration. */
export const peeringKinds: readonly ResourceKind[] = [bgpPeer, liveMigration];
