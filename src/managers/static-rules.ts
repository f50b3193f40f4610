// Hands the chains and hook rules that depend on configuration alone to the tables, once, before any manager runs.
import { TABLE_NAMES, type TableName } from '../model/family.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';

/** The four tables of one family. */
export type FamilyTables = Readonly<Record<TableName, RuleTable>>;

/** Defines all static chains and hooks (dataplane.md 3.2–3.4, 3.7). Idempotent. */
export function setStaticRules(renderer: RuleRenderer, tables: FamilyTables): void {
  for (const name of TABLE_NAMES) {
    const table = tables[name];
    const { chains, inserted, appended } = renderer.staticTable(name);
    for (const chain of chains) table.setChain(chain);
    for (const [hook, rules] of inserted) table.setInsertedRules(hook, rules);
    for (const [hook, rules] of appended) table.setAppendedRules(hook, rules);
  }
}
