// Calico resources as its client stores them in etcd: names of keys, defaults, and what always exists.
import { parseAllDocuments } from 'yaml';

/** A Calico resource. */
export interface Resource {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** One step of a recording. */
export interface ResourceStep {
  readonly step: string;
  readonly apply: readonly Resource[];
  readonly delete: readonly Resource[];
}

/** Kinds whose resources are in a namespace. */
export const NAMESPACED = ['NetworkPolicy', 'StagedNetworkPolicy', 'NetworkSet', 'WorkloadEndpoint'];

function plural(kind: string): string {
  const name = kind.toLowerCase();
  return name.endsWith('y') ? `${name.slice(0, -1)}ies` : `${name}s`;
}

/** The key in etcd. */
export function keyOf({ kind, metadata }: Resource): string {
  const namespace = NAMESPACED.includes(kind) ? `${metadata.namespace ?? 'default'}/` : '';
  return `/calico/resources/v3/projectcalico.org/${plural(kind)}/${namespace}${metadata.name}`;
}

function typesOf(spec: Readonly<Record<string, unknown>>): string[] {
  const has = (direction: string): boolean => Array.isArray(spec[direction]) && spec[direction].length > 0;
  if (!has('egress')) return ['Ingress'];
  return has('ingress') ? ['Ingress', 'Egress'] : ['Egress'];
}

/** Fills in what Calico's client fills in before it writes. */
export function stored(resource: Resource): Resource {
  const { kind, metadata, spec = {} } = resource;
  const withSpec = (defaults: Record<string, unknown>, labels: Record<string, string> = {}): Resource => ({
    apiVersion: 'projectcalico.org/v3',
    kind,
    metadata: {
      ...metadata,
      ...(NAMESPACED.includes(kind) ? { namespace: metadata.namespace ?? 'default' } : {}),
      labels: { ...metadata.labels, ...labels },
    },
    spec: { ...defaults, ...spec },
  });
  if (kind.endsWith('NetworkPolicy')) {
    const tier = String(spec['tier'] ?? 'default');
    const staged = kind.startsWith('Staged') ? { stagedAction: 'Set' } : {};
    return withSpec({ tier, types: typesOf(spec), ...staged }, { 'projectcalico.org/tier': tier });
  }
  if (kind === 'Tier') return withSpec({ order: 1_000_000, defaultAction: 'Deny' });
  if (kind === 'IPPool') {
    const blockSize = String(spec['cidr']).includes(':') ? 122 : 26;
    const modes = { ipipMode: 'Never', vxlanMode: 'Never', assignmentMode: 'Automatic' };
    return withSpec({ allowedUses: ['Workload', 'Tunnel'], ...modes, blockSize, nodeSelector: 'all()' });
  }
  if (kind === 'WorkloadEndpoint')
    return withSpec(
      {},
      {
        'projectcalico.org/namespace': metadata.namespace ?? 'default',
        'projectcalico.org/orchestrator': String(spec['orchestrator']),
      },
    );
  return withSpec({});
}

const tier = (name: string, order: number, defaultAction: string): Resource => ({
  kind: 'Tier',
  metadata: { name },
  spec: { order, defaultAction },
});

/** What a datastore holds from the start. */
export const INITIAL: readonly Resource[] = [
  {
    kind: 'ClusterInformation',
    metadata: { name: 'default' },
    spec: { datastoreReady: true, clusterGUID: '0123456789abcdef0123456789abcdef' },
  },
  tier('kube-admin', 1000, 'Pass'),
  tier('default', 1_000_000, 'Deny'),
  tier('kube-baseline', 10_000_000, 'Pass'),
  {
    kind: 'Profile',
    metadata: { name: 'projectcalico-default-allow' },
    spec: { ingress: [{ action: 'Allow' }], egress: [{ action: 'Allow' }] },
  },
].map(stored);

/** Reads `resources.yaml` of a recording. */
export function readSteps(text: string): ResourceStep[] {
  return parseAllDocuments(text).map((document) => {
    const step = document.toJS() as { step: string; apply?: Resource[] | null; delete?: Resource[] | null };
    return { step: step.step, apply: (step.apply ?? []).map(stored), delete: step.delete ?? [] };
  });
}
