// One layer (raw, mangle, nat, filter) of an nft table, as managers see it: a rule table whose desired state is kept
// for the plane.
import type { Logger } from '../../base/logger.js';
import type { Chain, Rule, VerdictMap } from '../../model/chain.js';
import type { Family, TableName } from '../../model/family.js';
import { DesiredTable } from '../desired-table.js';
import type { RuleTable } from '../rule-table.js';

/** The layers in the order in which a packet can meet them. */
export const LAYERS: readonly TableName[] = ['raw', 'mangle', 'nat', 'filter'];

/** A layer's desired state behind the managers' interface. */
export class NftLayer implements RuleTable {
  readonly family: Family;
  readonly table: TableName;
  readonly desired: DesiredTable;

  constructor(options: { readonly family: Family; readonly table: TableName; readonly log: Logger }) {
    this.family = options.family;
    this.table = options.table;
    this.desired = new DesiredTable({ table: options.table, log: options.log });
  }

  /** See RuleTable. */
  setInsertedRules(hook: string, rules: readonly Rule[]): void {
    this.desired.setInsertedRules(hook, rules);
  }

  /** See RuleTable. */
  setAppendedRules(hook: string, rules: readonly Rule[]): void {
    this.desired.setAppendedRules(hook, rules);
  }

  /** See RuleTable. */
  setChain(chain: Chain): void {
    this.desired.setChain(chain);
  }

  /** See RuleTable. */
  deleteChain(name: string): void {
    this.desired.deleteChain(name);
  }

  /** See RuleTable. */
  setVerdictMap(map: VerdictMap): void {
    this.desired.setVerdictMap(map);
  }

  /** See RuleTable. */
  changeVerdictMap(name: string, changes: ReadonlyMap<string, string | null>): void {
    this.desired.changeVerdictMap(name, changes);
  }

  /** See RuleTable. */
  deleteVerdictMap(name: string): void {
    this.desired.deleteVerdictMap(name);
  }
}
