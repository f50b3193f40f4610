// Keeps the policy routing rules of the tables that the driver owns (dataplane.md 6.3). Any other rule is none of ours.
import { errorMessage } from '../base/errors.js';
import type { Family } from '../model/family.js';
import { FAMILIES } from '../model/family.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { RouteRule } from '../model/route.js';
import { carryOut, GONE, type PlannedWrite, type WriteContext } from './kernel-writes.js';
import type { KernelRule } from './route-kernel.js';
import type { RouteRules } from './route-table.js';

function idOf(rule: KernelRule): string {
  return [rule.priority, rule.table, rule.mark, rule.mask, rule.invert, rule.source ?? 'all'].join(' ');
}

function writeOf(op: 'add-rule' | 'delete-rule', rule: KernelRule): PlannedWrite {
  const object = `v${rule.family} pref ${rule.priority} table ${rule.table}`;
  return { operation: { op, rule }, object, forgiven: op === 'add-rule' ? ['exists'] : GONE };
}

/** The rules to delete and to add, in that order. Pure. */
export function planRules(
  wanted: readonly KernelRule[],
  listed: readonly KernelRule[],
  ownTables: ReadonlySet<number>,
): PlannedWrite[] {
  const missing = new Map(wanted.map((rule) => [idOf(rule), rule]));
  const deletes: PlannedWrite[] = [];
  for (const rule of listed) {
    if (ownTables.has(rule.table) && !missing.delete(idOf(rule))) deletes.push(writeOf('delete-rule', rule));
  }
  return [...deletes, ...[...missing.values()].map((rule) => writeOf('add-rule', rule))];
}

/** Rules of both families. Lists a family's rules only after a change or a resync. */
export class RouteRulesReconciler implements RouteRules, Reconciler {
  readonly name = 'route-rules';
  readonly #context: WriteContext;
  /** Tables whose rules are all ours, by family. Families that are left out are not touched. */
  readonly #ownTables: ReadonlyMap<Family, ReadonlySet<number>>;
  readonly #wanted = new Map<Family, readonly KernelRule[]>();
  readonly #dirty: Set<Family>;

  constructor(options: WriteContext & { readonly ownTables: ReadonlyMap<Family, ReadonlySet<number>> }) {
    this.#context = options;
    this.#ownTables = options.ownTables;
    this.#dirty = new Set(options.ownTables.keys());
  }

  setRules(rules: readonly RouteRule[]): void {
    for (const family of FAMILIES) {
      const own = this.#ownTables.get(family);
      if (own === undefined) continue;
      const wanted: KernelRule[] = [];
      for (const rule of rules) {
        if (rule.family !== family) continue;
        if (own.has(rule.table)) wanted.push({ ...rule, invert: rule.invert ?? false, source: null });
        else this.#context.logger.error('Rule for a table that is not ours is left out', { ...rule });
      }
      if (JSON.stringify(wanted) === JSON.stringify(this.#wanted.get(family) ?? [])) continue;
      this.#wanted.set(family, wanted);
      this.#dirty.add(family);
    }
  }

  queueResync(): void {
    for (const family of this.#ownTables.keys()) this.#dirty.add(family);
  }

  async apply(): Promise<ApplyResult> {
    let operations = 0;
    for (const family of [...this.#dirty]) {
      try {
        const listed = await this.#context.kernel.listRules(family);
        const own = this.#ownTables.get(family) ?? new Set<number>();
        const outcome = await carryOut(this.#context, planRules(this.#wanted.get(family) ?? [], listed, own));
        operations += outcome.operations;
        for (const failure of outcome.failures) {
          this.#context.logger.warn('Policy routing rule could not be changed, will try again', {
            rule: failure.write.object,
            error: failure.message,
          });
        }
        if (outcome.failures.length === 0) this.#dirty.delete(family);
      } catch (error) {
        this.#context.logger.warn('Policy routing rules could not be read, will try again', {
          error: errorMessage(error),
        });
      }
    }
    return { refused: [], operations, ...(this.#dirty.size > 0 ? { failed: true } : {}) };
  }
}
