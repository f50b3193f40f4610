// The calculation graph: takes entries one at a time, passes each to the parts that need it, and hands over what
// follows as messages in a safe order (calc-graph.md section 1).
import type { Logger } from '../../base/logger.js';
import type { ConfigUpdate, Encapsulation } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../../protocol/session.js';
import type { StartParameters } from '../config/start-parameters.js';
import { ActiveRules } from './active-rules.js';
import { ComputedData, ISTIO_SELECTOR } from './computed-data.js';
import { encapsulationOf, needsRoutes, needsVteps } from './encapsulation.js';
import {
  type EntryRef,
  entryId,
  type GraphEntry,
  type HostEndpointModel,
  type NodeModel,
  type PoolModel,
  type PolicyId,
  type WorkloadModel,
} from './entries.js';
import { EventSequencer } from './event-sequencer.js';
import { type IpSetDefinition, istioSet, setType } from './ip-set.js';
import { NodeMessages } from './node-messages.js';
import { Passthrough } from './passthrough.js';
import { PolicyResolver } from './policy-resolver.js';
import { RouteResolver } from './route-resolver.js';
import { RuleScanner } from './rule-scanner.js';
import { SelectorSets } from './selector-sets.js';
import { ServiceSets } from './service-sets.js';

/** A graph for one stream: made at the start of the stream, thrown away with it. */
export class CalcGraph {
  readonly #hostname: string;
  readonly #parameters: StartParameters;
  readonly #log: Logger;
  readonly #sequencer = new EventSequencer();
  readonly #selectorSets: SelectorSets;
  readonly #serviceSets: ServiceSets;
  readonly #rules: RuleScanner;
  readonly #resolver: PolicyResolver;
  readonly #active: ActiveRules;
  readonly #computed: ComputedData;
  readonly #nodes: NodeMessages;
  readonly #passthrough: Passthrough;
  readonly #routes: RouteResolver;
  readonly #pools = new Map<string, PoolModel>();
  readonly #policyIds = new Map<string, PolicyId>();
  #poolsChanged = true;
  #encapsulation: Encapsulation;

  constructor(hostname: string, parameters: StartParameters, log: Logger) {
    this.#hostname = hostname;
    this.#parameters = parameters;
    this.#log = log;
    this.#encapsulation = encapsulationOf([], parameters);
    this.#selectorSets = new SelectorSets(this.#sequencer.sets, parameters.suppressOverlaps);
    this.#serviceSets = new ServiceSets(this.#sequencer.sets);
    this.#rules = new RuleScanner(this.#sequencer, {
      onSetUsed: (definition) => this.#useSet(definition),
      onSetUnused: (definition) => this.#dropSet(definition),
    });
    const resolver = new PolicyResolver(this.#sequencer);
    this.#resolver = resolver;
    this.#active = new ActiveRules({
      onPolicyActive: (key, policy) => this.#rules.onPolicyActive(key, policy),
      onPolicyInactive: (key) => this.#rules.onPolicyInactive(key, this.#policyIds.get(key) as PolicyId),
      onProfileActive: (name, profile) => this.#rules.onProfileActive(name, profile),
      onProfileInactive: (name) => this.#rules.onProfileInactive(name),
      onPolicyMatch: (policyKey, endpointKey) => resolver.onPolicyMatch(policyKey, endpointKey),
      onPolicyMatchStopped: (policyKey, endpointKey) => resolver.onPolicyMatchStopped(policyKey, endpointKey),
    });
    this.#computed = new ComputedData(hostname, parameters.istioEnabled, (key, extras) =>
      resolver.setExtras(key, extras),
    );
    if (parameters.istioEnabled) this.#useSet(istioSet(ISTIO_SELECTOR));
    this.#nodes = new NodeMessages(this.#sequencer);
    this.#passthrough = new Passthrough(this.#sequencer);
    this.#routes = new RouteResolver(hostname, this.#sequencer);
  }

  /** What the pools ask for now. */
  get encapsulation(): Encapsulation {
    return this.#encapsulation;
  }

  /** The next flush begins with this message. */
  setConfig(update: ConfigUpdate): void {
    this.#sequencer.config.set(update);
  }

  /** The next flush ends with InSync. To be called once. */
  onInSync(): void {
    this.#sequencer.onInSync();
  }

  /** Takes an entry, new, changed or unchanged. */
  update(entry: GraphEntry): void {
    switch (entry.type) {
      case 'policy':
        this.#policyIds.set(entry.key, entry.value.id);
        this.#resolver.setPolicy(entry.key, entry.value);
        this.#active.setPolicy(entry.key, entry.value);
        return;
      case 'tier':
        this.#resolver.setTier(entry.key, entry.value);
        return;
      case 'profile':
        this.#selectorSets.setProfileLabels(entry.key, entry.value.labels);
        this.#computed.setProfileLabels(entry.key, entry.value.labels);
        this.#active.setProfile(entry.key, entry.value);
        this.#passthrough.setProfileLabels(entry.key, entry.value.labels);
        return;
      case 'workload':
        this.#setWorkload(entry.key, entry.value);
        return;
      case 'host-endpoint':
        this.#setHostEndpoint(entry.key, entry.value);
        return;
      case 'network-set':
        this.#selectorSets.setItem(entryId(entry), { ...entry.value, ports: [] });
        return;
      case 'pool':
        this.#setPool(entry.key, entry.value);
        return;
      case 'node':
        this.#setNode(entry.key, entry.value);
        return;
      case 'block':
        if (this.#parameters.routeSource === 'CalicoIPAM') this.#routes.setBlock(entry.key, entry.value);
        return;
      case 'bgp-config':
        this.#passthrough.setBgpConfig(entry.value);
        return;
      case 'service':
        this.#passthrough.setService(entry.key, entry.value);
        return;
      case 'endpoint-slice':
        this.#serviceSets.setSlice(entry.key, entry.value);
        return;
      case 'bgp-peer':
        this.#computed.setPeer(entry.key, entry.value);
        return;
      case 'live-migration':
        this.#computed.setMigration(entry.key, entry.value);
        return;
      case 'felix-config':
        return;
    }
  }

  /** Takes the end of an entry; one that is not there is ignored. */
  remove(ref: EntryRef): void {
    const { key } = ref;
    switch (ref.type) {
      case 'policy':
        this.#active.deletePolicy(key);
        this.#resolver.deletePolicy(key);
        this.#policyIds.delete(key);
        return;
      case 'tier':
        this.#resolver.deleteTier(key);
        return;
      case 'profile':
        this.#selectorSets.setProfileLabels(key, undefined);
        this.#computed.setProfileLabels(key, undefined);
        this.#active.deleteProfile(key);
        this.#passthrough.removeProfileLabels(key);
        return;
      case 'workload':
      case 'host-endpoint':
        this.#deleteEndpoint(ref);
        return;
      case 'network-set':
        this.#selectorSets.deleteItem(entryId(ref));
        return;
      case 'pool':
        this.#deletePool(key);
        return;
      case 'node':
        this.#computed.setNodeLabels(key, new Map());
        this.#nodes.setNode(key, undefined);
        this.#routes.setNode(key, undefined);
        return;
      case 'block':
        this.#routes.setBlock(key, undefined);
        return;
      case 'bgp-config':
        this.#passthrough.removeBgpConfig();
        return;
      case 'service':
        this.#passthrough.removeService(key);
        return;
      case 'endpoint-slice':
        this.#serviceSets.setSlice(key, undefined);
        return;
      case 'bgp-peer':
        this.#computed.setPeer(key, undefined);
        return;
      case 'live-migration':
        this.#computed.setMigration(key, undefined);
        return;
      case 'felix-config':
        return;
    }
  }

  /** All messages that follow from what was taken since the last flush. */
  flush(): ToDataplanePayload[] {
    if (this.#poolsChanged) {
      this.#poolsChanged = false;
      this.#encapsulation = encapsulationOf(this.#pools.values(), this.#parameters);
      this.#sequencer.encapsulation.set(this.#encapsulation);
      this.#nodes.setVxlanEnabled(needsVteps(this.#encapsulation));
      this.#routes.setEnabled(needsRoutes(this.#encapsulation, this.#parameters));
    }
    this.#resolver.flush();
    this.#routes.flush();
    return this.#sequencer.flush();
  }

  #useSet(definition: IpSetDefinition): void {
    this.#sequencer.sets.onSetAdded(definition.id, setType(definition));
    if (definition.kind === 'service') this.#serviceSets.activate(definition);
    else this.#selectorSets.activate(definition);
  }

  #dropSet(definition: IpSetDefinition): void {
    if (definition.kind === 'service') this.#serviceSets.deactivate(definition.id);
    else this.#selectorSets.deactivate(definition.id);
    this.#sequencer.sets.onSetRemoved(definition.id);
  }

  #setWorkload(key: string, workload: WorkloadModel): void {
    const ref: EntryRef = { type: 'workload', key };
    const fault = this.#faultOf(workload);
    if (fault !== undefined) {
      this.#log.warn('workload endpoint is left out', { endpoint: workload.workload, reason: fault });
      this.#deleteEndpoint(ref);
      return;
    }
    const id = entryId(ref);
    const { labels, profiles, addresses, ports } = workload;
    this.#selectorSets.setItem(id, { labels, profiles, nets: addresses, ports });
    const local = workload.node === this.#hostname;
    if (local) {
      this.#resolver.setEndpoint(id, { type: 'workload', value: workload });
      this.#computed.setWorkload(id, workload);
      this.#active.setEndpoint(id, labels, profiles);
    }
    if (local || this.#parameters.routeSource === 'WorkloadIPs')
      this.#routes.setWorkload(key, workload.node, addresses);
  }

  #faultOf(workload: WorkloadModel): string | undefined {
    if (workload.interfaceName === '') return 'no interfaceName';
    if (workload.allowSpoofedSourcePrefixes.length > 0 && !this.#parameters.allowsSpoofing) {
      return 'allowSpoofedSourcePrefixes needs the parameter WorkloadSourceSpoofing = Any';
    }
    return undefined;
  }

  #setHostEndpoint(key: string, endpoint: HostEndpointModel): void {
    const id = entryId({ type: 'host-endpoint', key });
    const { labels, profiles, addresses, ports } = endpoint;
    this.#selectorSets.setItem(id, { labels, profiles, nets: addresses, ports });
    if (endpoint.node === this.#hostname) {
      this.#resolver.setEndpoint(id, { type: 'host-endpoint', value: endpoint });
      this.#active.setEndpoint(id, labels, profiles);
    } else {
      this.#resolver.deleteEndpoint(id);
      this.#active.deleteEndpoint(id);
    }
  }

  #deleteEndpoint(ref: EntryRef): void {
    const id = entryId(ref);
    this.#selectorSets.deleteItem(id);
    this.#resolver.deleteEndpoint(id);
    this.#active.deleteEndpoint(id);
    this.#computed.deleteWorkload(id);
    if (ref.type === 'workload') this.#routes.setWorkload(ref.key, '', []);
  }

  #setPool(key: string, pool: PoolModel): void {
    this.#pools.set(key, pool);
    this.#poolsChanged = true;
    this.#routes.setPool(pool.cidr, pool);
    this.#passthrough.setPool(key, pool);
  }

  #deletePool(key: string): void {
    const pool = this.#pools.get(key);
    if (pool === undefined) return;
    this.#pools.delete(key);
    this.#poolsChanged = true;
    this.#routes.setPool(pool.cidr, undefined);
    this.#passthrough.removePool(key);
  }

  #setNode(key: string, node: NodeModel): void {
    this.#computed.setNodeLabels(key, node.labels);
    this.#nodes.setNode(key, node);
    this.#routes.setNode(key, node);
  }
}
