// The mock control plane: keeps Calico and Kubernetes resources and says what Felix would send to the driver of one
// node. No I/O: whoever owns it reads the files and carries the messages.
import { equals } from '@bufbuild/protobuf';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from '../base/logger.js';
import { type Encapsulation, EncapsulationSchema } from '../protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../protocol/session.js';
import { ConfigResolver } from './config/config-resolver.js';
import { readStartParameters, type StartParameters } from './config/start-parameters.js';
import type { ResourceDocument } from './documents.js';
import { EntryOwners } from './entry-owners.js';
import { CalcGraph } from './graph/calc-graph.js';
import type { GraphEntry, Labels } from './graph/entries.js';
import { type ApplyOutcome, refText, type ResourceProblem, type ResourceRef } from './outcome.js';
import { builtInEntries } from './resources/built-in.js';
import type { Resource } from './resources/kind.js';
import { kindOfDocument, nameOfDocument, refOfDocument } from './resources/registry.js';

/** What a mock is made of. */
export interface MockOptions {
  /** Name of the node whose driver is served. */
  readonly hostname: string;
  /** Felix parameters as environment variables would set them, names in any case and without `FELIX_`. */
  readonly config?: Readonly<Record<string, string>>;
  readonly log: Logger;
}

interface Running {
  readonly graph: CalcGraph;
  readonly parameters: StartParameters;
  config: Labels;
  /** At the start of the stream. */
  encapsulation: Encapsulation | undefined;
}

/** A control plane for one node. All calls are synchronous; nothing happens between them. */
export class MockControlPlane {
  readonly #hostname: string;
  readonly #log: Logger;
  readonly #config: ConfigResolver;
  readonly #resources = new Map<string, Resource>();
  readonly #owners = new EntryOwners();
  #interfacePrefix: string;
  #running: Running | undefined;

  constructor(options: MockOptions) {
    this.#hostname = options.hostname;
    this.#log = options.log;
    this.#config = new ConfigResolver(options.hostname, options.config ?? {});
    this.#interfacePrefix = this.#readParameters().interfacePrefix;
    for (const entry of builtInEntries()) this.#emit(this.#owners.set('~', entry));
  }

  /**
   * Takes resources, in order. One with a fault changes nothing: the last valid version of it stays in force, all
   * others are taken. What follows is sent with the next flush.
   */
  apply(documents: readonly ResourceDocument[]): ApplyOutcome {
    const applied: ResourceRef[] = [];
    const kept: ResourceRef[] = [];
    const problems: ResourceProblem[] = [];
    const warnings: ResourceProblem[] = [];
    for (const document of documents) {
      const kind = kindOfDocument(document);
      const read = 'problems' in kind ? kind : kind.read(document);
      if ('problems' in read) {
        const resource = nameOfDocument(document);
        problems.push(...read.problems.map((problem) => (resource === undefined ? problem : { ...problem, resource })));
        const ref = refOfDocument(document);
        if (ref !== undefined && this.#resources.has(keyOf(ref))) kept.push(ref);
        continue;
      }
      this.#store(read);
      applied.push(read.ref);
      warnings.push(...read.warnings.map((warning) => ({ ...warning, resource: refText(read.ref) })));
    }
    return { applied, kept, problems, warnings };
  }

  /** Removes a resource; false if there is none of that name. */
  delete(ref: ResourceRef): boolean {
    const key = keyOf(ref);
    const resource = this.#resources.get(key);
    if (resource === undefined) return false;
    for (const entry of this.#owners.entriesOf(key)) this.#emit(this.#owners.delete(key, entry));
    this.#resources.delete(key);
    return true;
  }

  /** The resources in force, sorted by API, kind, namespace and name. */
  list(): ResourceRef[] {
    return [...this.#resources.keys()].sort().map((key) => (this.#resources.get(key) as Resource).ref);
  }

  /**
   * The messages that follow from all changes since the last flush, safe to be applied in this order. The first flush of
   * a stream begins with ConfigUpdate and ends with InSync.
   */
  flush(): ToDataplanePayload[] {
    if (this.#running === undefined) return this.#open();
    const running = this.#running;
    const config = this.#config.parameters();
    if (!isDeepStrictEqual(config, running.config)) {
      running.config = config;
      running.graph.setConfig(this.#config.update());
    }
    return running.graph.flush();
  }

  /** Begins a new stream: the next flush sends everything again, for a driver that knows nothing. */
  restart(): void {
    this.#running = undefined;
  }

  /** Why Felix would restart now, and its driver with it; undefined if it would not. */
  get restartReason(): string | undefined {
    if (this.#running === undefined) return undefined;
    const { parameters, graph, encapsulation } = this.#running;
    if (!isDeepStrictEqual(parameters, this.#readParameters())) return 'a parameter changed that is read only at start';
    const same = encapsulation === undefined || equals(EncapsulationSchema, encapsulation, graph.encapsulation);
    return same ? undefined : 'the encapsulation that the IP pools ask for changed';
  }

  #open(): ToDataplanePayload[] {
    const parameters = this.#readParameters();
    if (parameters.interfacePrefix !== this.#interfacePrefix) {
      this.#interfacePrefix = parameters.interfacePrefix;
      for (const [key, resource] of this.#resources) this.#convert(key, resource);
    }
    const graph = new CalcGraph(this.#hostname, parameters, this.#log);
    graph.setConfig(this.#config.update());
    for (const entry of this.#owners.winners()) graph.update(entry);
    graph.onInSync();
    const payloads = graph.flush();
    this.#running = { graph, parameters, config: this.#config.parameters(), encapsulation: graph.encapsulation };
    return payloads;
  }

  #readParameters(): StartParameters {
    const parameters = this.#config.parameters();
    return readStartParameters((name) => parameters.get(name));
  }

  #store(resource: Resource): void {
    const key = keyOf(resource.ref);
    this.#resources.set(key, resource);
    this.#convert(key, resource);
  }

  #convert(key: string, resource: Resource): void {
    const context = { hostname: this.#hostname, interfacePrefix: this.#interfacePrefix };
    const entries = resource.convert(context);
    const stale = this.#owners
      .entriesOf(key)
      .filter((old) => !entries.some((next) => next.type === old.type && next.key === old.key));
    for (const entry of entries) this.#emit(this.#owners.set(key, entry));
    for (const entry of stale) this.#emit(this.#owners.delete(key, entry));
  }

  /** Passes on what a change of ownership means: an entry to send, or one that is gone. */
  #emit(change: { readonly update: GraphEntry } | { readonly remove: GraphEntry } | undefined): void {
    if (change === undefined) return;
    const entry = 'update' in change ? change.update : change.remove;
    const present = 'update' in change;
    if (entry.type === 'felix-config') this.#config.setConfig(entry.key, present ? entry.value : undefined);
    if (entry.type === 'node') this.#config.setNode(entry.key, present ? entry.value : undefined);
    if (present) this.#running?.graph.update(entry);
    else this.#running?.graph.remove(entry);
  }
}

/** Sorts as resources are listed; also decides which of two resources with the same entry wins. */
function keyOf(ref: ResourceRef): string {
  return `${ref.api}/${ref.kind}/${ref.namespace}/${ref.name}`;
}
