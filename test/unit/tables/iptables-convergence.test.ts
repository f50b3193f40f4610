// Whatever managers want, others do and tools fail at, in any order: the table ends as a fresh one would, foreign
// rules keep their order, and a second look finds nothing to write.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Rule } from '../../../src/model/chain.js';
import { act, chain, from, jump, setUp } from './iptables-table-setup.js';

const CHAINS = ['cali-a', 'cali-b', 'cali-c', 'cali-d'];
const HOOKS = ['INPUT', 'FORWARD'];

// Rules of a chain jump only to later chains, as all real ones do.
const ruleOf = (index: number): fc.Arbitrary<Rule> =>
  fc.oneof(
    fc.integer({ min: 1, max: 9 }).map((last) => from(`10.0.0.${last}/32`, { kind: 'accept' })),
    fc.constantFrom(act('drop'), act('return')),
    ...CHAINS.slice(index + 1).map((name) => fc.constant(jump(name))),
  );

const step = fc.oneof(
  fc.nat(CHAINS.length - 1).chain((index) =>
    fc.record({
      kind: fc.constant('set' as const),
      index: fc.constant(index),
      rules: fc.array(ruleOf(index), { maxLength: 4 }),
    }),
  ),
  fc.record({ kind: fc.constant('delete' as const), index: fc.nat(CHAINS.length - 1) }),
  fc.record({
    kind: fc.constant('hook' as const),
    isAppended: fc.boolean(),
    hook: fc.constantFrom(...HOOKS),
    rules: fc.array(ruleOf(-1), { maxLength: 2 }),
  }),
  fc.record({ kind: fc.constant('apply' as const), faults: fc.nat(2), pushMs: fc.constantFrom(0, 0, 5_000, 180_000) }),
  fc.record({ kind: fc.constant('chain' as const), isFlush: fc.boolean(), name: fc.constantFrom(...CHAINS, ...HOOKS) }),
  fc.record({
    kind: fc.constant('foreign' as const),
    hook: fc.constantFrom(...HOOKS),
    id: fc.integer({ min: 10, max: 99 }),
    atTop: fc.boolean(),
  }),
);

describe.each(['legacy', 'nft'] as const)('IptablesTable (%s)', (backend) => {
  it.each(['insert', 'append'] as const)('converges in %s mode', async (insertMode) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const one = setUp({ backend, insertMode });
        const twin = setUp({ backend, insertMode });
        const foreign: Record<string, string[]> = { INPUT: [], FORWARD: [] };
        const run = (lines: string): void => {
          one.kernel.run(4, `*filter\n${lines}\nCOMMIT\n`);
        };
        for (const each of steps) {
          if (each.kind === 'set') {
            const name = CHAINS[each.index] ?? '';
            for (const { table } of [one, twin]) table.setChain(chain(name, ...each.rules));
          } else if (each.kind === 'delete') {
            for (const { table } of [one, twin]) table.deleteChain(CHAINS[each.index] ?? '');
          } else if (each.kind === 'hook') {
            for (const { table } of [one, twin]) {
              if (each.isAppended) table.setAppendedRules(each.hook, each.rules);
              else table.setInsertedRules(each.hook, each.rules);
            }
          } else if (each.kind === 'apply') {
            one.clock.skip(each.pushMs);
            one.kernel.failRestores(each.faults);
            await one.apply();
          } else if (each.kind === 'chain' && each.isFlush) {
            if (one.kernel.chains(4, 'filter')[each.name] === undefined) continue;
            run(`:${each.name} - -`);
            if (foreign[each.name] !== undefined) foreign[each.name] = [];
          } else if (each.kind === 'chain') {
            if (!each.name.startsWith('cali-') || one.kernel.chains(4, 'filter')[each.name] === undefined) continue;
            run(`-I ${each.name} -s 6.6.6.6/32 -j ACCEPT`);
          } else if (each.kind === 'foreign') {
            const rule = `-s 1.1.1.${each.id}/32 -j ACCEPT`;
            run(`${each.atTop ? '-I' : '-A'} ${each.hook} ${rule}`);
            if (each.atTop) foreign[each.hook]?.unshift(rule);
            else foreign[each.hook]?.push(rule);
          }
        }
        one.table.queueResync();
        await one.apply();
        for (const hook of HOOKS)
          for (const rule of foreign[hook] ?? []) twin.kernel.run(4, `*filter\n-A ${hook} ${rule}\nCOMMIT\n`);
        await twin.apply();
        expect(one.kernel.chains(4, 'filter')).toEqual(twin.kernel.chains(4, 'filter'));
        const writes = one.kernel.restores.length;
        one.table.queueResync();
        expect((await one.apply()).operations).toBe(0);
        expect(one.kernel.restores).toHaveLength(writes);
      }),
      { numRuns: 150 },
    );
  });
});
