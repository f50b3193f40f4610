// All kinds that the mock knows, and how a document finds its kind.
import { isMap } from 'yaml';
import { identityKinds } from '../kubernetes/identity.js';
import { kubernetesPolicyKinds } from '../kubernetes/network-policy.js';
import { pod } from '../kubernetes/pod.js';
import { serviceKinds } from '../kubernetes/service.js';
import type { ResourceDocument } from '../documents.js';
import type { ResourceProblem, ResourceRef } from '../outcome.js';
import { Cursor } from '../schema/decoder.js';
import { bgpConfiguration, clusterInformation, felixConfiguration } from './configuration.js';
import { hostEndpoint } from './host-endpoint.js';
import { blockAffinity, ipamBlock, ipPool } from './ip-pool.js';
import type { ResourceKind } from './kind.js';
import { networkSetKinds } from './network-set.js';
import { node } from './node.js';
import { peeringKinds } from './peering.js';
import { policyKinds } from './policy.js';
import { profile, tier } from './profile.js';
import { workloadEndpoint } from './workload-endpoint.js';

/** Every kind, of both APIs. */
export const RESOURCE_KINDS: readonly ResourceKind[] = [
  ...policyKinds,
  tier,
  profile,
  workloadEndpoint,
  hostEndpoint,
  ...networkSetKinds,
  ipPool,
  node,
  ipamBlock,
  blockAffinity,
  felixConfiguration,
  clusterInformation,
  bgpConfiguration,
  ...peeringKinds,
  ...kubernetesPolicyKinds,
  pod,
  ...identityKinds,
  ...serviceKinds,
];

/** The kind of that name in that API; without API the Calico one comes first. */
export function findKind(kind: string, apiVersion: string | undefined): ResourceKind | undefined {
  const calico = apiVersion === undefined || apiVersion.includes('projectcalico.org/');
  const candidates = RESOURCE_KINDS.filter((candidate) => candidate.kind === kind);
  if (apiVersion === undefined) return candidates[0];
  return candidates.find((candidate) => (candidate.api === 'calico') === calico);
}

/** The kind of a document, or the problem that it has none. */
export function kindOfDocument(
  document: ResourceDocument,
): ResourceKind | { readonly problems: readonly ResourceProblem[] } {
  const problems: ResourceProblem[] = [];
  const root = new Cursor(document, problems, document.node, '');
  if (!isMap(document.node)) {
    root.note('must be a resource: a map with apiVersion, kind and metadata');
    return { problems };
  }
  const kind: unknown = document.node.get('kind');
  const apiVersion: unknown = document.node.get('apiVersion');
  const found =
    typeof kind === 'string' ? findKind(kind, typeof apiVersion === 'string' ? apiVersion : undefined) : undefined;
  if (found !== undefined) return found;
  const calico = typeof apiVersion !== 'string' || apiVersion.includes('projectcalico.org/');
  const known = RESOURCE_KINDS.filter((candidate) => (candidate.api === 'calico') === calico).map(
    (candidate) => candidate.kind,
  );
  root
    .at('kind')
    .note(`must be a kind of ${calico ? 'projectcalico.org/v3' : 'Kubernetes'}: ${[...known].sort().join(', ')}`);
  return { problems };
}

/** Name of the resource that a document seems to be, for messages; undefined if that cannot be told. */
export function nameOfDocument(document: ResourceDocument): string | undefined {
  if (!isMap(document.node)) return undefined;
  const kind: unknown = document.node.get('kind');
  const name: unknown = document.node.getIn(['metadata', 'name']);
  const namespace: unknown = document.node.getIn(['metadata', 'namespace']);
  if (typeof kind !== 'string' || typeof name !== 'string') return undefined;
  return `${kind} ${typeof namespace === 'string' ? `${namespace}/` : ''}${name}`;
}

/** The resource that a document, faulty perhaps, is about; undefined if kind or name cannot be told. */
export function refOfDocument(document: ResourceDocument): ResourceRef | undefined {
  const kind = kindOfDocument(document);
  if ('problems' in kind || !isMap(document.node)) return undefined;
  const name: unknown = document.node.getIn(['metadata', 'name']);
  const namespace: unknown = document.node.getIn(['metadata', 'namespace']);
  if (typeof name !== 'string') return undefined;
  const within = typeof namespace === 'string' ? namespace : 'default';
  return { api: kind.api, kind: kind.kind, namespace: kind.namespaced ? within : '', name };
}
