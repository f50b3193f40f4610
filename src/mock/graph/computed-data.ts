// What the endpoints of this node get from resources about others: a BGP peer, a part in a live migration, membership of
// the Istio ambient mesh (calc-graph.md section 15).
import { isDeepStrictEqual } from 'node:util';
import { LiveMigrationRole } from '../../protocol/gen/felix/felixbackend_pb.js';
import { parseSelector, type Selector } from '../selector/selector.js';
import type { BgpPeerModel, Labels, LiveMigrationModel, MigrationParty, WorkloadModel } from './entries.js';
import { MatchIndex } from './match-index.js';
import { MultiMap } from './multi-map.js';

/** Pods in the ambient mesh: by their namespace unless they opt out, or by themselves. */
export const ISTIO_SELECTOR: Selector = parseSelector(
  "projectcalico.org/orchestrator == 'k8s' && (pcns.istio.io/dataplane-mode == 'ambient' && istio.io/dataplane-mode != 'none' || istio.io/dataplane-mode == 'ambient')",
);

/** Computed part of a workload endpoint; everything empty is the usual case. */
export interface WorkloadExtras {
  /** Name of the BGPPeer, or empty. */
  readonly bgpPeer: string;
  readonly role: LiveMigrationRole;
  readonly migrationUid: string;
  readonly inAmbientMesh: boolean;
}

export const NO_EXTRAS: WorkloadExtras = {
  bgpPeer: '',
  role: LiveMigrationRole.NO_ROLE,
  migrationUid: '',
  inAmbientMesh: false,
};

const ISTIO = 'istio';
const PEER = 'peer ';
const MIGRATION = 'migration ';

/** Identity of a workload or of one of its endpoints. A pod is known by its name alone, wherever it runs. */
function partyId(party: MigrationParty): string {
  const host = party.orchestrator === 'k8s' ? '' : party.hostname;
  return [host, party.orchestrator, party.workload, party.endpoint].join(' ');
}

function identities({ node, orchestrator, workload, endpoint }: WorkloadModel): string[] {
  const whole = { hostname: node, orchestrator, workload, endpoint: '' };
  return [partyId(whole), partyId({ ...whole, endpoint })];
}

/** Feeds on local workloads, profiles, this node, BGP peers and live migrations; tells which workload changed. */
export class ComputedData {
  readonly #onChange: (key: string, extras: WorkloadExtras) => void;
  readonly #index: MatchIndex;
  readonly #workloads = new Map<string, WorkloadModel>();
  readonly #keysOf = new MultiMap<string, string>();
  readonly #known = new Map<string, WorkloadExtras>();
  readonly #peers = new Map<string, BgpPeerModel>();
  readonly #migrations = new Map<string, LiveMigrationModel>();
  readonly #sources = new MultiMap<string, string>();
  readonly #targets = new MultiMap<string, string>();
  readonly #dirty = new Set<string>();
  readonly #hostname: string;
  #nodeLabels: Labels = new Map();

  constructor(hostname: string, istioEnabled: boolean, onChange: (key: string, extras: WorkloadExtras) => void) {
    this.#hostname = hostname;
    this.#onChange = onChange;
    const touch = (_: string, key: string): void => {
      this.#dirty.add(key);
    };
    this.#index = new MatchIndex(touch, touch);
    if (istioEnabled) this.#index.setSelector(ISTIO, ISTIO_SELECTOR);
  }

  /** Sets a local workload. `key` is handed back to `onChange`. */
  setWorkload(key: string, workload: WorkloadModel): void {
    this.#forget(key);
    this.#workloads.set(key, workload);
    for (const id of identities(workload)) this.#keysOf.add(id, key);
    this.#index.setItem(key, workload.labels, workload.profiles);
    this.#dirty.add(key);
    this.#settle();
  }

  /** Removes a workload; nothing is told about it. */
  deleteWorkload(key: string): void {
    this.#forget(key);
    this.#workloads.delete(key);
    this.#index.deleteItem(key);
    this.#known.delete(key);
    this.#settle();
  }

  /** Sets the labels that a profile hands down; undefined if it is gone. */
  setProfileLabels(name: string, labels: Labels | undefined): void {
    this.#index.setParent(name, labels);
    this.#settle();
  }

  /** Sets the labels of a node; others than this one are ignored. */
  setNodeLabels(name: string, labels: Labels): void {
    if (name !== this.#hostname || isDeepStrictEqual(labels, this.#nodeLabels)) return;
    this.#nodeLabels = labels;
    for (const [peer, model] of this.#peers) this.setPeer(peer, model);
  }

  /** Sets a BGP peer, or removes it. */
  setPeer(name: string, peer: BgpPeerModel | undefined): void {
    if (peer === undefined) this.#peers.delete(name);
    else this.#peers.set(name, peer);
    if (peer !== undefined && peer.localWorkloadSelector !== '' && this.#isMine(peer)) {
      this.#index.setSelector(PEER + name, parseSelector(peer.localWorkloadSelector));
    } else {
      this.#index.deleteSelector(PEER + name);
    }
    this.#settle();
  }

  /** Sets a live migration, or removes it. */
  setMigration(name: string, migration: LiveMigrationModel | undefined): void {
    const before = this.#migrations.get(name);
    if (before !== undefined) this.#unlink(name, before);
    if (migration === undefined) this.#migrations.delete(name);
    else {
      this.#migrations.set(name, migration);
      this.#link(name, migration);
    }
    if (migration?.targetSelector === undefined) this.#index.deleteSelector(MIGRATION + name);
    else this.#index.setSelector(MIGRATION + name, parseSelector(migration.targetSelector));
    for (const key of this.#index.itemsOf(MIGRATION + name)) this.#dirty.add(key);
    this.#settle();
  }

  #isMine(peer: BgpPeerModel): boolean {
    if (peer.node !== '') return peer.node === this.#hostname;
    return parseSelector(peer.nodeSelector).matches((label) => this.#nodeLabels.get(label));
  }

  #link(name: string, migration: LiveMigrationModel): void {
    for (const [party, names] of this.#partiesOf(migration)) {
      names.add(partyId(party), name);
      for (const key of this.#keysOf.get(partyId(party))) this.#dirty.add(key);
    }
  }

  #unlink(name: string, migration: LiveMigrationModel): void {
    for (const [party, names] of this.#partiesOf(migration)) {
      names.delete(partyId(party), name);
      for (const key of this.#keysOf.get(partyId(party))) this.#dirty.add(key);
    }
  }

  #partiesOf({ source, target }: LiveMigrationModel): [MigrationParty, MultiMap<string, string>][] {
    return [
      ...(source === undefined ? [] : [[source, this.#sources] as [MigrationParty, MultiMap<string, string>]]),
      ...(target === undefined ? [] : [[target, this.#targets] as [MigrationParty, MultiMap<string, string>]]),
    ];
  }

  #forget(key: string): void {
    const before = this.#workloads.get(key);
    if (before !== undefined) for (const id of identities(before)) this.#keysOf.delete(id, key);
  }

  #settle(): void {
    for (const key of this.#dirty) {
      const workload = this.#workloads.get(key);
      if (workload === undefined) continue;
      const extras = this.#compute(key, workload);
      if (isDeepStrictEqual(extras, this.#known.get(key) ?? NO_EXTRAS)) continue;
      this.#known.set(key, extras);
      this.#onChange(key, extras);
    }
    this.#dirty.clear();
  }

  #compute(key: string, workload: WorkloadModel): WorkloadExtras {
    const matches = [...this.#index.matchesOf(key)];
    const named = (prefix: string): string[] =>
      matches.filter((id) => id.startsWith(prefix)).map((id) => id.slice(prefix.length));
    const direct = (names: MultiMap<string, string>): string[] =>
      identities(workload).flatMap((id) => [...names.get(id)]);
    const selected = named(MIGRATION);
    const targets = selected.length > 0 ? selected : direct(this.#targets);
    const sources = direct(this.#sources);
    const { NO_ROLE, SOURCE, TARGET } = LiveMigrationRole;
    const role = targets.length > 0 ? TARGET : sources.length > 0 ? SOURCE : NO_ROLE;
    const uids = (targets.length > 0 ? targets : sources).map((name) => this.#migrations.get(name)?.uid ?? '');
    return {
      bgpPeer: named(PEER).sort()[0] ?? '',
      role,
      migrationUid: uids.sort().at(-1) ?? '',
      inAmbientMesh: matches.includes(ISTIO),
    };
  }
}
