// All that is wanted of one nft table and all that is known of it in the kernel. Pure: takes listings in, gives the
// changes of the next transaction out.
import { BugError } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import type { TimeSlices } from '../../base/time-slices.js';
import { NftSets, type SetPlan } from '../../ipsets/nft-sets.js';
import type { TableName } from '../../model/family.js';
import type { Features } from '../../model/features.js';
import type { Refusal } from '../../model/refusal.js';
import type { DirtyObjects } from '../desired-table.js';
import { type BaseChain, baseChainsOf } from './base-chains.js';
import { FLOWTABLE_NAME, type FlowtableChange, flowtableWrites, planFlowtable } from './flowtable.js';
import type { KernelNftTable, NftFamily } from './io.js';
import { LAYERS, NftLayer } from './layer.js';
import { layerName } from './render.js';
import { isPrintableName, type PrintedChain, RenderedChains, type SharedChains } from './rendered-chains.js';
import type { ChainWrite, TableChanges } from './script.js';
import { diffMap, type MapChange, mapChanges } from './verdict-maps.js';

/** The changes of one transaction, until {@link TableState.commit} or {@link TableState.abort}. */
export interface TablePlan {
  readonly changes: TableChanges;
  readonly isEmpty: boolean;
  readonly setPlan: SetPlan;
  readonly taken: ReadonlyMap<NftLayer, DirtyObjects>;
}

const MAP_TYPE = 'ifname';

/** Desired and known state of one table. */
export class TableState {
  readonly family: NftFamily;
  readonly table: string;
  readonly layers: ReadonlyMap<TableName, NftLayer>;
  readonly sets: NftSets;
  readonly chains: RenderedChains;
  readonly #bases = new Map<string, BaseChain>();
  #knownChains = new Map<string, string>();
  #knownMaps = new Map<string, Map<string, string>>();
  #knownFlowtable: ReadonlySet<string> | undefined;
  #strayChains = new Set<string>();
  #strayMaps = new Set<string>();
  #strayFlowtables = new Set<string>();
  /** How the next transaction has to begin. */
  #start: TableChanges['start'] = 'create';
  #flowtableWanted: ReadonlySet<string> | null = null;
  /** Map → interfaces that nft has no text for. */
  readonly #unprintableKeys = new Map<string, Set<string>>();
  /** Names of wanted chains that nft has no text for. Nothing refers to them: see {@link diffMap}. */
  readonly #unprintableChains = new Set<string>();

  constructor(options: {
    readonly family: NftFamily;
    readonly table: string;
    readonly features: Features;
    readonly log: Logger;
    readonly shared?: SharedChains | undefined;
  }) {
    this.family = options.family;
    this.table = options.table;
    const family = options.family === 'ip6' ? 6 : 4;
    const layerNames = options.family === 'arp' ? (['filter'] as const) : LAYERS;
    this.layers = new Map(layerNames.map((table) => [table, new NftLayer({ family, table, log: options.log })]));
    this.sets = new NftSets({ family, log: options.log });
    this.chains = new RenderedChains({
      family: options.family === 'arp' ? 'arp' : family,
      features: options.features,
      sets: this.sets,
      shared: options.shared,
    });
    for (const base of baseChainsOf(options.family)) this.#bases.set(base.name, base);
  }

  /** Devices of the flowtable, or null for no flowtable. */
  set flowtable(devices: ReadonlySet<string> | null) {
    this.#flowtableWanted = devices;
  }

  /** Devices wanted in the flowtable; empty if there is none. */
  get flowtableDevices(): ReadonlySet<string> {
    return this.#flowtableWanted ?? new Set();
  }

  /** Takes over a listing (null = no such table), and makes dirty what differs from it. Sliced as {@link plan}. */
  async adopt(kernel: KernelNftTable | null, slices: TimeSlices): Promise<void> {
    const wanted = this.#wantedChains();
    this.#knownChains = new Map();
    this.#knownMaps = new Map();
    this.#strayChains = new Set();
    this.#strayMaps = new Set();
    let rebuild = await this.sets.adopt(kernel?.sets ?? new Map(), slices);
    for (const [name, chain] of kernel?.chains ?? []) {
      this.#knownChains.set(name, chain.tags);
      if (!wanted.has(name) && !this.#bases.has(name)) this.#strayChains.add(name);
      else if (!hasShape(this.#bases.get(name), chain.base)) rebuild = true;
    }
    const wantedMaps = this.#wantedMaps();
    for (const [name, map] of kernel?.maps ?? []) {
      this.#knownMaps.set(name, new Map(map.elements));
      if (!wantedMaps.has(name)) this.#strayMaps.add(name);
      else if (map.type !== MAP_TYPE || map.flags !== '') rebuild = true;
    }
    this.#knownFlowtable = kernel?.flowtables.get(FLOWTABLE_NAME);
    this.#strayFlowtables = new Set([...(kernel?.flowtables.keys() ?? [])].filter((name) => name !== FLOWTABLE_NAME));
    this.#start = kernel === null ? 'create' : rebuild ? 'recreate' : 'keep';
    this.#markDifferences();
  }

  /** Makes the next transaction delete the table, if there is one, and write all of it anew. */
  rebuild(): void {
    if (this.#start === 'keep') this.#start = 'recreate';
  }

  /**
   * The changes to write; proportional to what changed. `existingDevices` is asked for flowtable devices only. Hands the
   * event loop back between slices; nothing may be wanted anew meanwhile. Rejects for a chain that cannot be printed and
   * that everything depends on.
   */
  async plan(existingDevices: ReadonlySet<string>, slices: TimeSlices): Promise<TablePlan> {
    if (this.sets.needsNewTable) this.rebuild();
    if (this.#start !== 'keep') this.#forgetKernel();
    this.chains.setsChanged(this.sets.takeShaken());
    const chains: ChainWrite[] = [];
    const deletedChains: string[] = [];
    const maps: MapChange[] = [];
    const deletedMaps: string[] = [];
    const taken = new Map<NftLayer, DirtyObjects>();
    for (const layer of this.layers.values()) {
      const dirty = layer.desired.takeDirty();
      taken.set(layer, dirty);
      for (const hook of dirty.hooks) this.#planHook(layer, hook, chains);
      for (const name of dirty.chains) {
        this.#planChain(layer, name, chains, deletedChains);
        if (slices.isOver()) await slices.pause();
      }
      for (const [name, keys] of dirty.maps) this.#planMap(layer, name, keys, maps, deletedMaps);
    }
    this.chains.endOfPlan();
    deletedChains.push(...this.#strayChains);
    deletedMaps.push(...this.#strayMaps);
    const setPlan = this.sets.plan();
    const flowtable = this.#planFlowtable(existingDevices);
    const deletedFlowtables = [...this.#strayFlowtables];
    if (this.#flowtableWanted === null && this.#knownFlowtable !== undefined) deletedFlowtables.push(FLOWTABLE_NAME);
    const changes: TableChanges = {
      family: this.family,
      table: this.table,
      start: this.#start,
      chains,
      deletedChains,
      maps,
      deletedMaps,
      sets: setPlan.changed,
      deletedSets: setPlan.deleted,
      flowtable,
      deletedFlowtables,
    };
    return { changes, isEmpty: isEmpty(changes), setPlan, taken };
  }

  /** The plan was carried out. */
  commit(plan: TablePlan): void {
    const { changes } = plan;
    this.#start = 'keep';
    for (const { chain } of changes.chains) this.#knownChains.set(chain.fullName, chain.key);
    for (const name of changes.deletedChains) {
      this.#knownChains.delete(name);
      this.#strayChains.delete(name);
    }
    for (const map of changes.maps) {
      const known = this.#knownMaps.get(map.fullName) ?? new Map<string, string>();
      this.#knownMaps.set(map.fullName, known);
      for (const name of map.removed) known.delete(name);
      for (const [name, target] of map.added) known.set(name, target);
    }
    for (const name of changes.deletedMaps) {
      this.#knownMaps.delete(name);
      this.#strayMaps.delete(name);
    }
    if (changes.flowtable !== undefined) this.#knownFlowtable = changes.flowtable.devices;
    for (const name of changes.deletedFlowtables) {
      this.#strayFlowtables.delete(name);
      if (name === FLOWTABLE_NAME) this.#knownFlowtable = undefined;
    }
    plan.setPlan.commit();
  }

  /** The plan was not carried out, or nobody knows (then {@link adopt} follows). */
  abort(plan: TablePlan): void {
    plan.setPlan.abort();
    for (const [layer, dirty] of plan.taken) layer.desired.putBack(dirty);
  }

  /** Everything that is closed right now. */
  refusals(): Refusal[] {
    const family = this.family === 'ip6' ? 6 : 4;
    const refusals = this.sets.refusals();
    for (const { name, reason } of this.chains.closed()) refusals.push({ family, kind: 'chain', object: name, reason });
    for (const layer of this.layers.values()) {
      for (const { name, reason } of layer.desired.refusedChains()) {
        refusals.push({ family, kind: 'chain', object: name, reason });
      }
    }
    for (const object of this.#unprintableChains) {
      refusals.push({ family, kind: 'chain', object, reason: 'nft has no text for a chain of this name' });
    }
    for (const [map, names] of this.#unprintableKeys) {
      if (names.size === 0) continue;
      refusals.push({
        family,
        kind: 'map',
        object: map,
        reason: `interface names that nft has no text for: ${[...names].join(' ')}`,
      });
    }
    return refusals;
  }

  #planHook(layer: NftLayer, hook: string, chains: ChainWrite[]): void {
    const base = this.#bases.get(`${layer.table}-${hook}`);
    if (base === undefined) {
      const { desired } = layer;
      if (desired.insertedRules(hook).length + desired.appendedRules(hook).length === 0) return;
      throw new BugError(
        `rules for ${layer.table} ${hook}, which is no base chain of table ${this.family} ${this.table}`,
      );
    }
    this.#planWrite(this.chains.printBase(base, layer), chains);
  }

  #planChain(layer: NftLayer, name: string, chains: ChainWrite[], deletedChains: string[]): void {
    const fullName = layerName(layer.table, name);
    const chain = layer.desired.chain(name);
    if (!isPrintableName(fullName)) {
      if (chain === undefined) this.#unprintableChains.delete(name);
      else this.#unprintableChains.add(name);
      return;
    }
    if (chain !== undefined) {
      // A foreign chain of this name was known as a stray until a manager wanted it.
      this.#strayChains.delete(fullName);
      this.#planWrite(this.chains.print(layer, chain), chains);
      return;
    }
    this.chains.forget(fullName);
    if (this.#knownChains.has(fullName) && !this.#strayChains.has(fullName)) deletedChains.push(fullName);
  }

  #planWrite(chain: PrintedChain, chains: ChainWrite[]): void {
    const known = this.#knownChains.get(chain.fullName);
    if (known !== chain.key) chains.push({ chain, created: known === undefined });
  }

  #planMap(
    layer: NftLayer,
    name: string,
    keys: ReadonlySet<string> | null,
    maps: MapChange[],
    deletedMaps: string[],
  ): void {
    const fullName = layerName(layer.table, name);
    const elements = layer.desired.verdictMap(name);
    if (elements !== undefined) this.#strayMaps.delete(fullName);
    else {
      this.#unprintableKeys.delete(name);
      if (this.#knownMaps.has(fullName) && !this.#strayMaps.has(fullName)) deletedMaps.push(fullName);
      return;
    }
    const unprintable = this.#unprintableKeys.get(name) ?? new Set();
    this.#unprintableKeys.set(name, unprintable);
    const change = diffMap(layer.table, { name, elements }, this.#knownMaps.get(fullName), keys, unprintable);
    if (mapChanges(change)) maps.push(change);
  }

  #planFlowtable(existing: ReadonlySet<string>): FlowtableChange | undefined {
    if (this.#flowtableWanted === null) return undefined;
    return planFlowtable(this.#flowtableWanted, existing, this.#knownFlowtable);
  }

  #wantedChains(): Set<string> {
    const names = new Set<string>();
    for (const { table, desired } of this.layers.values()) {
      for (const name of desired.referencedNames()) names.add(layerName(table, name));
    }
    return names;
  }

  #wantedMaps(): Set<string> {
    const names = new Set<string>();
    for (const { table, desired } of this.layers.values()) {
      for (const name of desired.verdictMapNames()) names.add(layerName(table, name));
    }
    return names;
  }

  /** Nothing of ours is in the kernel before the next transaction: all is dirty. */
  #forgetKernel(): void {
    this.#knownChains.clear();
    this.#knownMaps.clear();
    this.#knownFlowtable = undefined;
    this.#strayChains.clear();
    this.#strayMaps.clear();
    this.#strayFlowtables.clear();
    this.sets.forgetKernel();
    this.#markDifferences();
  }

  #markDifferences(): void {
    for (const { table, desired } of this.layers.values()) {
      const chains: string[] = [];
      for (const name of desired.referencedNames()) {
        const fullName = layerName(table, name);
        const key = this.chains.key(fullName);
        if (key === undefined || key !== this.#knownChains.get(fullName)) chains.push(name);
      }
      const hooks: string[] = [];
      for (const base of this.#bases.values()) {
        if (base.layer === table && this.chains.key(base.name) !== this.#knownChains.get(base.name))
          hooks.push(base.hookName);
      }
      desired.putBack({ chains, hooks, maps: [...desired.verdictMapNames()].map((name) => [name, null] as const) });
    }
  }
}

function isEmpty(changes: TableChanges): boolean {
  const { chains, deletedChains, maps, deletedMaps, sets, deletedSets, flowtable, deletedFlowtables } = changes;
  if (changes.start !== 'keep' || (flowtable !== undefined && flowtableWrites(flowtable))) return false;
  return [chains, deletedChains, maps, deletedMaps, sets, deletedSets, deletedFlowtables].every(
    ({ length }) => length === 0,
  );
}

/** Whether a listed chain is the base chain (or plain chain) that it has to be. */
function hasShape(
  wanted: BaseChain | undefined,
  listed: { type: string; hook: string; priority: number; policy: string } | undefined,
): boolean {
  if (wanted === undefined || listed === undefined) return wanted === undefined && listed === undefined;
  return (
    listed.type === wanted.type &&
    listed.hook === wanted.hook &&
    listed.priority === wanted.priority &&
    listed.policy === 'accept'
  );
}
