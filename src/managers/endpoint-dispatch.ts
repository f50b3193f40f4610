// Dispatch chains and maps (dataplane.md 3.8): those of workloads are changed by the names that came or went, all others
// rendered anew when their names changed.
import { ANY_INTERFACE, type DispatchChains, type DispatchTree, type RuleRenderer } from '../rules/renderer.js';
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

  constructor(table: RuleTable) {
    this.#table = table;
    this.#chains = new OwnedChains(table);
  }

  /** All of it. */
  write({ chains, maps }: DispatchChains): void {
    this.#chains.replace('dispatch', chains);
    for (const map of maps) this.#table.setVerdictMap(map);
  }

  /** Only elements of its maps: those of `added` come, those of the interfaces in `removed` go. */
  change(added: DispatchChains, removed: readonly string[]): void {
    for (const { name, elements } of added.maps) {
      this.#table.changeVerdictMap(name, new Map([...removed.map((key) => [key, null] as const), ...elements]));
    }
  }
}

/** All dispatch of one family. */
export class Dispatch {
  readonly #renderer: RuleRenderer;
  readonly #workloads: DispatchTarget;
  readonly #workloadTable: RuleTable;
  /** iptables only. */
  readonly #workloadTree: DispatchTree | null;
  readonly #hostFilter: DispatchTarget;
  readonly #hostMangle: DispatchTarget;
  readonly #hostRaw: DispatchTarget;
  readonly #marks: DispatchTarget | null;
  #isFirst = true;

  constructor(renderer: RuleRenderer, tables: FamilyTables, isIpvs: boolean) {
    this.#renderer = renderer;
    this.#workloads = new DispatchTarget(tables.filter);
    this.#workloadTable = tables.filter;
    this.#workloadTree = renderer.options.backend === 'iptables' ? renderer.createWorkloadDispatchTree() : null;
    this.#hostFilter = new DispatchTarget(tables.filter);
    this.#hostMangle = new DispatchTarget(tables.mangle);
    this.#hostRaw = new DispatchTarget(tables.raw);
    this.#marks = isIpvs ? new DispatchTarget(tables.filter) : null;
  }

  /**
   * Brings all dispatch in line with the names; `changed` says which workloads came or went since the last call. The
   * first call writes everything, also for no names at all.
   */
  update(names: DispatchNames, changed: { readonly workloads: ReadonlySet<string>; readonly hosts: boolean }): void {
    const renderer = this.#renderer;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    const workloadsChanged = changed.workloads.size > 0;
    if (isFirst || workloadsChanged) this.#updateWorkloads(names.workloads, isFirst ? null : changed.workloads);
    if (changed.hosts || isFirst) {
      this.#hostFilter.write(renderer.hostFilterDispatch(names.hosts));
      this.#hostMangle.write(renderer.hostMangleDispatch(names.hosts, names.hostsWithPreDnat));
      this.#hostRaw.write(renderer.hostRawDispatch(names.hostsWithUntracked));
    }
    if (this.#marks !== null && (workloadsChanged || changed.hosts || isFirst)) {
      const hosts = [...names.hosts].filter((name) => name !== ANY_INTERFACE);
      this.#marks.write(renderer.endpointMarkDispatch(names.workloads, hosts));
    }
  }

  /** `changed` null = all of them. */
  #updateWorkloads(names: ReadonlySet<string>, changed: ReadonlySet<string> | null): void {
    const [added, removed] = changed === null ? [[...names], []] : split(changed, names);
    if (this.#workloadTree !== null) {
      const chains = this.#workloadTree.change(added, removed);
      for (const chain of chains.changed) this.#workloadTable.setChain(chain);
      for (const name of chains.gone) this.#workloadTable.deleteChain(name);
      return;
    }
    const dispatch = this.#renderer.workloadDispatch(added);
    if (changed === null) this.#workloads.write(dispatch);
    // The chains that look names up in the maps are the same for all names.
    else this.#workloads.change(dispatch, removed);
  }
}

/** Those names that are in `present`, and the others. */
function split(names: ReadonlySet<string>, present: ReadonlySet<string>): [string[], string[]] {
  return [[...names].filter((name) => present.has(name)), [...names].filter((name) => !present.has(name))];
}
