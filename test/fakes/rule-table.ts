// A rule table in memory: keeps the desired state, and tells which chains a kernel would be given.
import type { Chain, Rule, VerdictMap } from '../../src/model/chain.js';
import { referencedChains } from '../../src/model/chain.js';
import type { Family, TableName } from '../../src/model/family.js';
import type { RuleTable } from '../../src/tables/rule-table.js';

/** What a chain named by the table's own interface may not do: be empty of a name, or longer than any back end takes. */
const MAX_NAME_LENGTH = 256;

/** Records desired state and the calls that changed it. Equal content handed over again is still a call. */
export class MemoryRuleTable implements RuleTable {
  readonly family: Family;
  readonly table: TableName;
  readonly chains = new Map<string, Chain>();
  readonly maps = new Map<string, VerdictMap>();
  readonly inserted = new Map<string, readonly Rule[]>();
  readonly appended = new Map<string, readonly Rule[]>();
  /** `set cali-tw-cali1`, `delete …`, `map …`: what reached the table since it was last emptied. */
  calls: string[] = [];

  constructor(family: Family, table: TableName) {
    this.family = family;
    this.table = table;
  }

  setInsertedRules(hook: string, rules: readonly Rule[]): void {
    this.inserted.set(hook, rules);
  }

  setAppendedRules(hook: string, rules: readonly Rule[]): void {
    this.appended.set(hook, rules);
  }

  setChain(chain: Chain): void {
    if (chain.name === '' || chain.name.length > MAX_NAME_LENGTH) throw new Error(`bad chain name ${chain.name}`);
    this.calls.push(`set ${chain.name}`);
    this.chains.set(chain.name, chain);
  }

  deleteChain(name: string): void {
    this.calls.push(`delete ${name}`);
    this.chains.delete(name);
  }

  setVerdictMap(map: VerdictMap): void {
    this.calls.push(`map ${map.name}`);
    this.maps.set(map.name, map);
  }

  changeVerdictMap(name: string, changes: ReadonlyMap<string, string | null>): void {
    this.calls.push(`map ${name}`);
    const elements = new Map(this.maps.get(name)?.elements);
    for (const [key, chain] of changes) {
      if (chain === null) elements.delete(key);
      else elements.set(key, chain);
    }
    this.maps.set(name, { name, elements });
  }

  deleteVerdictMap(name: string): void {
    this.calls.push(`delete map ${name}`);
    this.maps.delete(name);
  }

  /** The chains that something refers to, or that are forced, by name; throws if one of them is not defined. */
  programmed(): Map<string, Chain> {
    const found = new Map<string, Chain>();
    const names: string[] = [];
    for (const rules of [...this.inserted.values(), ...this.appended.values()]) {
      names.push(...referencedChains({ name: '', rules }));
    }
    for (const map of this.maps.values()) names.push(...map.elements.values());
    for (const chain of this.chains.values()) if (chain.forced === true) names.push(chain.name);
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      if (found.has(name)) continue;
      const chain = this.chains.get(name);
      if (chain === undefined) throw new Error(`${this.table}: chain ${name} is referred to but not defined`);
      found.set(name, chain);
      names.push(...referencedChains(chain));
    }
    return found;
  }

  /** The whole desired state as plain data, in an order that does not depend on the calls. */
  snapshot(): unknown {
    const sorted = <Value>(map: ReadonlyMap<string, Value>): [string, Value][] =>
      [...map].sort(([left], [right]) => (left < right ? -1 : 1));
    return {
      chains: sorted(this.chains),
      inserted: sorted(this.inserted),
      appended: sorted(this.appended),
      maps: sorted(this.maps).map(([name, { elements }]) => [name, sorted(elements)]),
    };
  }
}

/** The four tables of one family. */
export function memoryTables(family: Family): Record<TableName, MemoryRuleTable> {
  return {
    raw: new MemoryRuleTable(family, 'raw'),
    mangle: new MemoryRuleTable(family, 'mangle'),
    nat: new MemoryRuleTable(family, 'nat'),
    filter: new MemoryRuleTable(family, 'filter'),
  };
}
