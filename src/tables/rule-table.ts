// What managers may ask of a rule table: one object per family and table, the same for both back ends.
import type { Chain, Rule, VerdictMap } from '../model/chain.js';
import type { Family, TableName } from '../model/family.js';

/** Desired state of one table. All calls are idempotent, cheap, and write nothing: `apply` of the back end does. */
export interface RuleTable {
  readonly family: Family;
  readonly table: TableName;
  /** Replaces the rules that we put at the top (or end, by ChainInsertMode) of a kernel chain such as `FORWARD`. */
  setInsertedRules(hook: string, rules: readonly Rule[]): void;
  /** Replaces the rules that always go to the end of a kernel chain. */
  setAppendedRules(hook: string, rules: readonly Rule[]): void;
  /** Defines or replaces a chain. It is programmed while something refers to it, or if it is forced. */
  setChain(chain: Chain): void;
  /** Withdraws a chain; unknown names are ignored. It may still be referred to. */
  deleteChain(name: string): void;
  /** nft only; iptables tables ignore maps. Replaces the map, which keeps its target chains programmed. */
  setVerdictMap(map: VerdictMap): void;
  /** The same for single elements: interface → chain, or null to take it out. An unknown map is made. */
  changeVerdictMap(name: string, changes: ReadonlyMap<string, string | null>): void;
  deleteVerdictMap(name: string): void;
}
