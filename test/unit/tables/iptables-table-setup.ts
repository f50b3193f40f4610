// What the tests of the iptables reconciler share: a table over the fake kernel, and short names for rules.
import { silentLogger } from '../../../src/base/logger.js';
import type { Chain, Rule } from '../../../src/model/chain.js';
import type { Action } from '../../../src/model/action.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import type { TableName } from '../../../src/model/family.js';
import type { Operation } from '../../../src/model/operation.js';
import type { ApplyResult } from '../../../src/model/reconciler.js';
import { IptablesTable } from '../../../src/tables/iptables/iptables-table.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeIptablesKernel } from '../../fakes/iptables-kernel.js';

export const jump = (chain: string): Rule => ({ match: [], action: { kind: 'jump', chain } });
export const act = (kind: 'accept' | 'drop' | 'return'): Rule => ({ match: [], action: { kind } });
export const from = (net: string, action: Action): Rule => ({ match: [{ kind: 'source-net', net }], action });
export const chain = (name: string, ...rules: Rule[]): Chain => ({ name, rules });

export interface Setup {
  readonly clock: FakeClock;
  readonly kernel: FakeIptablesKernel;
  readonly table: IptablesTable;
  readonly operations: Operation[];
  /** Applies, letting fake time pass for pauses between attempts. */
  apply(): Promise<ApplyResult>;
  /** Chains of the table with hash comments cut out. */
  rules(): Record<string, string[]>;
}

export function setUp(
  options: {
    backend?: 'legacy' | 'nft';
    table?: TableName;
    insertMode?: 'insert' | 'append';
    refreshIntervalMs?: number;
    postWriteCheckIntervalMs?: number;
    kernel?: FakeIptablesKernel;
    clock?: FakeClock;
  } = {},
): Setup {
  const clock = options.clock ?? new FakeClock();
  const kernel = options.kernel ?? new FakeIptablesKernel(options.backend ?? 'legacy');
  const operations: Operation[] = [];
  const name = options.table ?? 'filter';
  const table = new IptablesTable({
    family: 4,
    table: name,
    backend: kernel.backend,
    insertMode: options.insertMode ?? 'insert',
    refreshIntervalMs: options.refreshIntervalMs ?? 180_000,
    postWriteCheckIntervalMs: options.postWriteCheckIntervalMs ?? 5_000,
    features: MODERN_FEATURES,
    io: kernel,
    clock,
    log: silentLogger,
    onOperation: (operation) => operations.push(operation),
  });
  const apply = async (): Promise<ApplyResult> => {
    let settled = false;
    const result = table.apply().finally(() => {
      settled = true;
    });
    result.catch(() => undefined);
    await clock.advance(0);
    for (let idle = 0; !settled; ) {
      const wait = clock.nextTimerInMs();
      // Probes are long promise chains without a timer.
      idle = wait === null ? idle + 1 : 0;
      if (idle > 100) throw new Error('apply() waits for something that is not a timer');
      await clock.advance(wait ?? 0);
    }
    return result;
  };
  const rules = (): Record<string, string[]> => {
    const chains = kernel.chains(4, name);
    for (const lines of Object.values(chains)) {
      for (const [index, line] of lines.entries()) {
        lines[index] = line.replace(/-m comment --comment "cali:[A-Za-z0-9_-]{16}" ?/, '# ').trim();
      }
    }
    return chains;
  };
  return { clock, kernel, table, operations, apply, rules };
}

/** A small wanted state: two hooks, a dispatch chain, a policy chain, an appended rule. */
export function program(table: IptablesTable): void {
  table.setInsertedRules('FORWARD', [jump('cali-FORWARD')]);
  table.setInsertedRules('INPUT', [jump('cali-INPUT')]);
  table.setAppendedRules('FORWARD', [act('accept')]);
  table.setChain(chain('cali-FORWARD', jump('cali-pi-a'), act('drop')));
  table.setChain(chain('cali-INPUT', act('return')));
  table.setChain(chain('cali-pi-a', from('10.0.0.1/32', { kind: 'accept' }), from('10.0.0.2/32', { kind: 'accept' })));
  table.setChain(chain('cali-unused', act('accept')));
}

export const PROGRAMMED = {
  INPUT: ['# -j cali-INPUT'],
  FORWARD: ['# -j cali-FORWARD', '# -j ACCEPT'],
  OUTPUT: [],
  'cali-FORWARD': ['# -j cali-pi-a', '# -j DROP'],
  'cali-INPUT': ['# -j RETURN'],
  'cali-pi-a': ['# -s 10.0.0.1/32 -j ACCEPT', '# -s 10.0.0.2/32 -j ACCEPT'],
};
