// The ARP table: the host must not claim a workload's own address when it proxies ARP (dataplane.md 5.7, IPv4 only).
import { isValidCidr } from '../base/ip.js';
import type { Chain } from '../model/chain.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import { withoutLength } from './addresses.js';
import { OwnedChains } from './owned-chains.js';

/** Chains and the verdict map of the ARP table, per interface. */
export class ArpChains {
  readonly #renderer: RuleRenderer;
  readonly #table: RuleTable;
  readonly #chains: OwnedChains;
  readonly #staticNames: ReadonlySet<string>;
  /** Map name → interface → chain. */
  readonly #elements = new Map<string, Map<string, string>>();
  /** Map name → elements that changed since the last flush. */
  readonly #changes = new Map<string, Map<string, string | null>>();

  constructor(renderer: RuleRenderer, table: RuleTable) {
    this.#renderer = renderer;
    this.#table = table;
    this.#chains = new OwnedChains(table);
    const fixed = renderer.arpTable(new Map());
    this.#staticNames = new Set(fixed.chains.map((chain) => chain.name));
    this.#chains.replace('dispatch', fixed.chains);
    for (const [hook, rules] of fixed.inserted) table.setInsertedRules(hook, rules);
    for (const map of fixed.maps) {
      this.#elements.set(map.name, new Map());
      this.#changes.set(map.name, new Map());
    }
  }

  /** Replaces an interface's addresses (`ipv4_nets`); none takes its chain and element away. Bad ones are left out. */
  setAddresses(interfaceName: string, nets: readonly string[]): void {
    const addresses = nets.filter((net) => isValidCidr(net, 4)).map(withoutLength);
    let chains: readonly Chain[] = [];
    const targets = new Map<string, string>();
    if (addresses.length > 0) {
      const rendered = this.#renderer.arpTable(new Map([[interfaceName, addresses]]));
      chains = rendered.chains.filter((chain) => !this.#staticNames.has(chain.name));
      for (const map of rendered.maps) {
        const chainName = map.elements.get(interfaceName);
        if (chainName !== undefined) targets.set(map.name, chainName);
      }
    }
    this.#chains.replace(`interface ${interfaceName}`, chains);
    for (const [mapName, elements] of this.#elements) {
      const chainName = targets.get(mapName);
      if (elements.get(interfaceName) === chainName) continue;
      const changes = this.#changes.get(mapName) ?? new Map<string, string | null>();
      this.#changes.set(mapName, changes.set(interfaceName, chainName ?? null));
      if (chainName === undefined) elements.delete(interfaceName);
      else elements.set(interfaceName, chainName);
    }
  }

  /** Hands over what changed in the maps; the first time the maps themselves, also when they are empty. */
  flush(): void {
    for (const [name, changes] of this.#changes) this.#table.changeVerdictMap(name, changes);
    this.#changes.clear();
  }
}
