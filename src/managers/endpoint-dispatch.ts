// Dispatch chains and maps, rendered anew only when the set of interface names changed (dataplane.md 3.8).
import { isPlainEqual } from '../base/plain-equal.js';
import type { VerdictMap } from '../model/chain.js';
import { ANY_INTERFACE, type DispatchChains, type RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import { OwnedChains } from './owned-chains.js';
import type { FamilyTables } from './static-rules.js';

/** The names that all dispatch is made from. */
export interface DispatchNames {
  readonly workloads: ReadonlySet<string>;
  /** Interfaces of host endpoints; `ANY_INTERFACE` stands for `*`. */
  readonly hosts: ReadonlySet<string>;
  readonly hostsWithPreDnat: ReadonlySet<string>;
  readonly hostsWithUntracked: ReadonlySet<string>;
}

/** One set of dispatch chains in one table: hands over only what differs. */
class DispatchTarget {
  readonly #table: RuleTable;
  readonly #chains: OwnedChains;
  #maps: readonly VerdictMap[] = [];

  constructor(table: RuleTable) {
    this.#table = table;
    this.#chains = new OwnedChains(table);
  }

  write({ chains, maps }: DispatchChains): void {
    this.#chains.replace('dispatch', chains);
    const old = new Map(this.#maps.map((map) => [map.name, map]));
    for (const map of maps) {
      if (!isPlainEqual(old.get(map.name), map)) this.#table.setVerdictMap(map);
      old.delete(map.name);
    }
    for (const name of old.keys()) this.#table.deleteVerdictMap(name);
    this.#maps = maps;
  }
}

/** All dispatch of one family. */
export class Dispatch {
  readonly #renderer: RuleRenderer;
  readonly #workloads: DispatchTarget;
  readonly #hostFilter: DispatchTarget;
  readonly #hostMangle: DispatchTarget;
  readonly #hostRaw: DispatchTarget;
  readonly #marks: DispatchTarget | null;
  #isFirst = true;

  constructor(renderer: RuleRenderer, tables: FamilyTables, isIpvs: boolean) {
    this.#renderer = renderer;
    this.#workloads = new DispatchTarget(tables.filter);
    this.#hostFilter = new DispatchTarget(tables.filter);
    this.#hostMangle = new DispatchTarget(tables.mangle);
    this.#hostRaw = new DispatchTarget(tables.raw);
    this.#marks = isIpvs ? new DispatchTarget(tables.filter) : null;
  }

  /** Brings all dispatch in line with the names. The first call writes everything, also for no names at all. */
  update(names: DispatchNames, changed: { readonly workloads: boolean; readonly hosts: boolean }): void {
    const renderer = this.#renderer;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (changed.workloads || isFirst) this.#workloads.write(renderer.workloadDispatch(names.workloads));
    if (changed.hosts || isFirst) {
      this.#hostFilter.write(renderer.hostFilterDispatch(names.hosts));
      this.#hostMangle.write(renderer.hostMangleDispatch(names.hosts, names.hostsWithPreDnat));
      this.#hostRaw.write(renderer.hostRawDispatch(names.hostsWithUntracked));
    }
    if (this.#marks !== null && (changed.workloads || changed.hosts || isFirst)) {
      const hosts = [...names.hosts].filter((name) => name !== ANY_INTERFACE);
      this.#marks.write(renderer.endpointMarkDispatch(names.workloads, hosts));
    }
  }
}
