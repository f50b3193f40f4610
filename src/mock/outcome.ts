// What the mock answers when resources are written: names of resources, what happened to each, and what is wrong.

/** Which API a kind belongs to: `NetworkPolicy` is a kind of both. */
export type ApiFamily = 'calico' | 'kubernetes';

/** Names one resource. `namespace` is empty for kinds without namespace. */
export interface ResourceRef {
  readonly api: ApiFamily;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** One fault in one field. `line` counts from 1 and is absent for values that never were text. */
export interface ResourceProblem {
  readonly file: string;
  readonly line?: number;
  /** Path of the field: `spec.ingress[2].protocol`; empty for the whole document. */
  readonly field: string;
  /** What is wrong and what is allowed. */
  readonly message: string;
  /** The resource, if it could be made out. */
  readonly resource?: string;
}

/** What became of a batch of documents. A resource with problems was not taken: its last valid version stays. */
export interface ApplyOutcome {
  readonly applied: readonly ResourceRef[];
  /** Resources of faulty documents, of which an earlier version stays in force: not to be deleted by a file watcher. */
  readonly kept: readonly ResourceRef[];
  readonly problems: readonly ResourceProblem[];
  /** Taken, but probably not meant: e.g. an endpoint that the graph leaves out. */
  readonly warnings: readonly ResourceProblem[];
}

/** Text of a reference: `NetworkPolicy default/allow-web`, `Tier sec`. */
export function refText(ref: ResourceRef): string {
  const kind = ref.api === 'kubernetes' ? `Kubernetes ${ref.kind}` : ref.kind;
  return `${kind} ${ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`}`;
}

/** Text of a problem as printed: `policies.yaml:12: NetworkPolicy default/p: spec.order: …`. */
export function problemText(problem: ResourceProblem): string {
  const place = problem.line === undefined ? problem.file : `${problem.file}:${problem.line}`;
  return [place, problem.resource, problem.field, problem.message]
    .filter((part) => part !== undefined && part !== '')
    .join(': ');
}
