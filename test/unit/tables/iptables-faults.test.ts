// What others do to the table, and what fails: repaired by the next check, retried, closed, or fatal
// (tests.md B1-B8, B11, B22, B27-B31).
import { describe, expect, it } from 'vitest';
import { ToolError } from '../../../src/base/errors.js';
import type { Rule } from '../../../src/model/chain.js';
import { act, chain, from, jump, program, PROGRAMMED, setUp } from './iptables-table-setup.js';

const BACKENDS = ['legacy', 'nft'] as const;
const refusedRule = (address: string): Rule => from(address, { kind: 'accept' });

describe.each(BACKENDS)('IptablesTable when others interfere (%s)', (backend) => {
  it.each([
    ['deleted jump (B1)', '*filter\n:INPUT - -\nCOMMIT\n'],
    ['flushed base chain (B2)', '*filter\n:FORWARD - -\nCOMMIT\n'],
    ['flushed chain of ours', '*filter\n:cali-FORWARD - -\nCOMMIT\n'],
    ['changed chain of ours', '*filter\n-I cali-pi-a -j ACCEPT\nCOMMIT\n'],
    [
      'chain of ours deleted',
      '*filter\n:cali-FORWARD - -\n:FORWARD - -\n:cali-pi-a - -\n--delete-chain cali-pi-a\nCOMMIT\n',
    ],
  ])('repairs a %s at the next check, not before', async (_name, script) => {
    const { table, apply, kernel, rules, clock } = setUp({ backend });
    program(table);
    await apply();
    kernel.run(4, script);
    expect((await apply()).operations).toBe(0);
    clock.skip(5_000);
    expect((await apply()).operations).toBeGreaterThan(0);
    expect(rules()).toEqual(PROGRAMMED);
  });

  it('goes back to the top when another firewall put its rules above, theirs stay (B3)', async () => {
    const { table, apply, kernel, rules, clock } = setUp({ backend });
    program(table);
    await apply();
    kernel.run(4, '*filter\n:FORWARD - -\n:ufw-forward - -\n-A FORWARD -j ufw-forward\nCOMMIT\n');
    clock.skip(5_000);
    await apply();
    expect(rules().FORWARD).toEqual(['# -j cali-FORWARD', '-j ufw-forward', '# -j ACCEPT']);
    kernel.run(4, '*filter\n-I FORWARD -s 1.1.1.1/32 -j ACCEPT\nCOMMIT\n');
    clock.skip(180_000);
    await apply();
    expect(rules().FORWARD).toEqual(['# -j cali-FORWARD', '-s 1.1.1.1/32 -j ACCEPT', '-j ufw-forward', '# -j ACCEPT']);
  });

  it('changes only its own lines when a foreign rule came in between read and write (B4, B5)', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    program(table);
    await apply();
    table.setInsertedRules('INPUT', [act('drop')]);
    kernel.beforeRestore = () => {
      kernel.beforeRestore = () => undefined;
      kernel.run(4, '*filter\n-I INPUT -s 1.1.1.1/32 -j ACCEPT\nCOMMIT\n');
    };
    await apply();
    expect(rules().INPUT).toEqual(['# -j DROP', '-s 1.1.1.1/32 -j ACCEPT']);
  });

  it('reads again and tries once more when the chains are gone between read and write (B6)', async () => {
    const { table, apply, kernel, rules, clock } = setUp({ backend });
    program(table);
    await apply();
    table.setInsertedRules('INPUT', [act('drop')]);
    kernel.beforeRestore = () => {
      kernel.beforeRestore = () => undefined;
      kernel.run(4, '*filter\n:INPUT - -\nCOMMIT\n');
    };
    const startMs = clock.nowMs();
    await apply();
    expect(rules().INPUT).toEqual(['# -j DROP']);
    expect(clock.nowMs() - startMs).toBe(1);
  });

  it('restores everything after a roll-back to an old copy, with changes waiting in the same apply (B7)', async () => {
    const { table, apply, kernel, rules, clock } = setUp({ backend });
    program(table);
    await apply();
    kernel.run(
      4,
      '*filter\n:INPUT - -\n:FORWARD - -\n:cali-FORWARD - -\n:cali-INPUT - -\n--delete-chain cali-INPUT\n:cali-pi-a - -\n-A cali-pi-a -j DROP\n:cali-old - -\n-A FORWARD -j cali-FORWARD\nCOMMIT\n',
    );
    clock.skip(5_000);
    table.setChain(chain('cali-INPUT', act('accept')));
    await apply();
    expect(rules()).toEqual({ ...PROGRAMMED, 'cali-INPUT': ['# -j ACCEPT'] });
  });

  it('writes nothing when a chain of another tool goes (B8)', async () => {
    const { table, apply, kernel, clock } = setUp({ backend });
    kernel.run(4, '*filter\n:OTHER - -\n-A OTHER -j ACCEPT\nCOMMIT\n');
    program(table);
    await apply();
    kernel.run(4, '*filter\n:OTHER - -\n--delete-chain OTHER\nCOMMIT\n');
    clock.skip(180_000);
    expect((await apply()).operations).toBe(0);
    expect(kernel.restores).toHaveLength(1);
  });

  it('writes its change when a chain it jumps to was deleted by hand meanwhile', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    program(table);
    await apply();
    kernel.run(4, '*filter\n:cali-FORWARD - -\n:cali-pi-a - -\n--delete-chain cali-pi-a\nCOMMIT\n');
    table.setChain(chain('cali-FORWARD', jump('cali-pi-a'), act('return')));
    await apply();
    expect(rules()).toEqual({ ...PROGRAMMED, 'cali-FORWARD': ['# -j cali-pi-a', '# -j RETURN'] });
  });
});

describe('IptablesTable checks', () => {
  it('re-reads at doubling intervals after a write, up to the refresh interval (B11)', async () => {
    const { table, apply, kernel, clock } = setUp({ postWriteCheckIntervalMs: 10, refreshIntervalMs: 0 });
    program(table);
    let result = await apply();
    const delays: number[] = [];
    for (let round = 0; round < 6; round++) {
      delays.push(result.rescheduleAfterMs ?? -1);
      clock.skip((result.rescheduleAfterMs ?? 0) - 1);
      await apply();
      expect(kernel.saves).toHaveLength(1 + round);
      clock.skip(1);
      result = await apply();
      expect(kernel.saves).toHaveLength(2 + round);
    }
    expect(delays).toEqual([50, 50, 100, 200, 400, 800]);
    clock.skip(2 * 3_600_000);
    result = await apply();
    expect(result.rescheduleAfterMs).toBeUndefined();
    clock.skip(24 * 3_600_000);
    const reads = kernel.saves.length;
    await apply();
    expect(kernel.saves).toHaveLength(reads);
  });

  it('looks at the comments instead of reading, where it can, and reads only when ours are not as known', async () => {
    const { table, apply, kernel, clock, rules } = setUp({ postWriteCheckIntervalMs: 1_000, refreshIntervalMs: 0 });
    kernel.tellsComments = true;
    program(table);
    await apply();
    const check = async (): Promise<readonly [looks: number, saves: number]> => {
      const before = [kernel.looks.length, kernel.saves.length] as const;
      clock.skip((await apply()).rescheduleAfterMs ?? 0);
      await apply();
      return [kernel.looks.length - before[0], kernel.saves.length - before[1]];
    };
    expect(await check()).toEqual([1, 0]);
    // Others' chains are theirs.
    kernel.run(4, '*filter\n:KUBE-FORWARD - -\n-A KUBE-FORWARD -j RETURN\nCOMMIT\n');
    expect(await check()).toEqual([1, 0]);
    for (const harm of [
      ':cali-pi-a - -',
      '-A cali-FORWARD -j ACCEPT',
      '-I FORWARD -j ACCEPT',
      ':FORWARD - -',
      ':cali-stranger - -',
      '-A KUBE-FORWARD -m comment --comment "cali:0123456789abcdef" -j RETURN',
    ]) {
      kernel.run(4, `*filter\n${harm}\nCOMMIT\n`);
      expect(await check(), harm).toEqual([1, 1]);
      expect(rules(), harm).toMatchObject({
        'cali-pi-a': PROGRAMMED['cali-pi-a'],
        'cali-FORWARD': PROGRAMMED['cali-FORWARD'],
      });
      expect(rules()['FORWARD']?.[0], harm).toBe(PROGRAMMED['FORWARD']?.[0]);
      expect(rules()['cali-stranger'], harm).toBeUndefined();
      expect(rules()['KUBE-FORWARD'], harm).toEqual(['-j RETURN']);
    }
  });

  it('puts the first check off on a slow kernel (B11)', async () => {
    const { table, apply, kernel, clock } = setUp({ postWriteCheckIntervalMs: 50, refreshIntervalMs: 0 });
    kernel.beforeSave = () => clock.skip(500);
    kernel.beforeRestore = () => clock.skip(500);
    program(table);
    expect((await apply()).rescheduleAfterMs).toBe(2_000);
  });

  it('re-reads when the refresh interval is over, and not for being asked to apply', async () => {
    const { table, apply, kernel, clock } = setUp({ postWriteCheckIntervalMs: 3_600_000, refreshIntervalMs: 1_000 });
    program(table);
    expect((await apply()).rescheduleAfterMs).toBe(1_000);
    clock.skip(999);
    expect((await apply()).rescheduleAfterMs).toBe(1);
    expect(kernel.saves).toHaveLength(1);
    clock.skip(1);
    await apply();
    expect(kernel.saves).toHaveLength(2);
  });
});

describe('IptablesTable failures', () => {
  it('retries a failed read after 100, 200 and 400 ms (B27)', async () => {
    const { table, apply, kernel, rules, clock } = setUp();
    program(table);
    kernel.failSaves(3);
    const startMs = clock.nowMs();
    await apply();
    expect(clock.nowMs() - startMs).toBe(700);
    expect(rules()).toEqual(PROGRAMMED);
  });

  it('gives up on a table that cannot be read, and writes nothing (B29)', async () => {
    const { table, apply, kernel } = setUp();
    program(table);
    kernel.failSaves(4, "# Table `filter' is incompatible, use 'nft' tool.");
    await expect(apply()).rejects.toThrow(/incompatible/);
    expect(kernel.restores).toEqual([]);
  });

  it('retries a failed write with a fresh view (B30)', async () => {
    const { table, apply, kernel, rules } = setUp();
    program(table);
    kernel.failRestores(1);
    const result = await apply();
    expect(rules()).toEqual(PROGRAMMED);
    expect(kernel.saves).toHaveLength(2);
    expect(result.operations).toBe(5);
  });

  it('gives up after ten pauses from 1 to 512 ms, naming table, tool and error (B31)', async () => {
    const { table, apply, kernel, clock, operations } = setUp();
    program(table);
    kernel.failRestores(100);
    const startMs = clock.nowMs();
    const error: unknown = await apply().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ToolError);
    expect(String(error)).toMatch(/Table filter of IPv4 could not be written in 11 attempts.*out of memory/);
    expect(clock.nowMs() - startMs).toBe(1023);
    expect(kernel.restores).toHaveLength(11);
    expect(operations).toEqual([]);
  });

  it('waits for a lock that another program holds', async () => {
    const { table, apply, kernel, rules } = setUp();
    program(table);
    kernel.failRestores(
      10,
      'Another app is currently holding the xtables lock; still 1s 0us time ahead to have a chance',
      4,
    );
    const result = await apply();
    expect(rules()).toEqual(PROGRAMMED);
    expect(result.refused).toEqual([]);
  });

  it('keeps what was not written for the next apply after the end', async () => {
    const { table, apply, kernel, rules } = setUp();
    program(table);
    kernel.failRestores(11);
    await expect(apply()).rejects.toBeInstanceOf(ToolError);
    await apply();
    expect(rules()).toEqual(PROGRAMMED);
  });
});

describe.each(BACKENDS)('IptablesTable unit of failure (%s)', (backend) => {
  it.each([
    [
      'the tool refuses',
      (): Rule => ({ match: [{ kind: 'source-set', set: 'cali40s:gone' }], action: { kind: 'accept' } }),
    ],
    ['the kernel refuses', (): Rule => refusedRule('6.6.6.6/32')],
  ])('closes only the chain with a rule that %s', async (_name, bad) => {
    const { table, apply, kernel, rules } = setUp({ backend });
    kernel.kernelRefuses = (_table, rule) => rule.includes('6.6.6.6');
    program(table);
    table.setChain(chain('cali-pi-a', from('10.0.0.1/32', { kind: 'accept' }), bad()));
    const result = await apply();
    expect(rules()).toEqual({ ...PROGRAMMED, 'cali-pi-a': ['# -j DROP'] });
    expect(result.refused).toMatchObject([{ family: 4, kind: 'chain', object: 'cali-pi-a' }]);
    expect((await apply()).refused).toHaveLength(1);
    expect(Object.keys(rules())).not.toContain('cali-probe');
  });

  it('closes each of several refused chains', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    kernel.kernelRefuses = (_table, rule) => rule.includes('6.6.6.6');
    const names = Array.from({ length: 20 }, (_, index) => `cali-pi-${index}`);
    table.setInsertedRules('FORWARD', [jump('cali-FORWARD')]);
    table.setChain(chain('cali-FORWARD', ...names.map(jump)));
    for (const [index, name] of names.entries()) {
      table.setChain(chain(name, index % 7 === 3 ? refusedRule('6.6.6.6/32') : act('return')));
    }
    const result = await apply();
    expect(result.refused.map(({ object }) => object).sort()).toEqual(['cali-pi-10', 'cali-pi-17', 'cali-pi-3']);
    expect(rules()['cali-pi-3']).toEqual(['# -j DROP']);
    expect(rules()['cali-pi-4']).toEqual(['# -j RETURN']);
  });

  it('tries a refused chain again when it changes, and at the refresh', async () => {
    const { table, apply, kernel, rules, clock } = setUp({ backend });
    kernel.kernelRefuses = (_table, rule) => rule.includes('6.6.6.6');
    program(table);
    table.setChain(chain('cali-pi-a', refusedRule('6.6.6.6/32')));
    await apply();
    table.setChain(chain('cali-pi-a', refusedRule('6.6.6.6/32'), act('drop')));
    expect((await apply()).refused).toHaveLength(1);
    kernel.kernelRefuses = () => false;
    clock.skip(180_000);
    expect((await apply()).refused).toEqual([]);
    expect(rules()['cali-pi-a']).toEqual(['# -s 6.6.6.6/32 -j ACCEPT', '# -j DROP']);
  });

  it('does not open what works while a refused chain is searched for', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    program(table);
    await apply();
    kernel.kernelRefuses = (_table, rule) => rule.includes('6.6.6.6');
    table.setChain(chain('cali-INPUT', jump('cali-pi-a')));
    table.setChain(chain('cali-FORWARD', act('return')));
    table.setChain(chain('cali-pi-a', refusedRule('6.6.6.6/32')));
    const seen: string[][] = [];
    kernel.beforeRestore = () => {
      seen.push(rules()['cali-FORWARD'] ?? []);
    };
    await apply();
    for (const lines of seen.slice(0, -1)) expect(lines).toEqual(PROGRAMMED['cali-FORWARD']);
    expect(rules()['cali-FORWARD']).toEqual(['# -j RETURN']);
    expect(rules()['cali-pi-a']).toEqual(['# -j DROP']);
  });

  it('empties a stale chain that cannot be deleted, and deletes it once it can (B22)', async () => {
    const { table, apply, kernel, rules, clock } = setUp({ backend });
    kernel.run(4, '*filter\n:cali-old - -\n-A cali-old -j ACCEPT\n:OTHER - -\n-A OTHER -g cali-old\nCOMMIT\n');
    program(table);
    await apply();
    expect(rules()).toEqual({ ...PROGRAMMED, 'cali-old': [], OTHER: ['-g cali-old'] });
    kernel.run(4, '*filter\n:OTHER - -\nCOMMIT\n');
    clock.skip(180_000);
    await apply();
    expect(rules()['cali-old']).toBeUndefined();
  });

  it.each(['cali-INPUT', 'cali-FORWARD'])(
    'is fatal when the static chain %s is refused: closing it would close the node, and the old rules stay',
    async (name) => {
      const { table, apply, kernel, rules } = setUp({ backend });
      program(table);
      await apply();
      kernel.kernelRefuses = (_table, rule) => rule.includes('6.6.6.6');
      table.setChain(chain(name, refusedRule('6.6.6.6/32')));
      await expect(apply()).rejects.toBeInstanceOf(ToolError);
      expect(rules()).toMatchObject({ ...PROGRAMMED });
    },
  );

  it('leaves chains out that only add something, instead of closing what they add it to', async () => {
    const { table, apply, kernel, rules } = setUp({ backend, table: 'mangle' });
    kernel.kernelRefuses = (_table, rule) => rule.includes('6.6.6.6');
    table.setInsertedRules('POSTROUTING', [jump('cali-egress-dscp')]);
    table.setChain(chain('cali-egress-dscp', refusedRule('6.6.6.6/32')));
    expect((await apply()).refused.map(({ object }) => object)).toEqual(['cali-egress-dscp']);
    expect(rules()['cali-egress-dscp']).toEqual([]);
  });

  it('is fatal when a hook rule is refused: nothing could stand in for it', async () => {
    const { table, apply, kernel } = setUp({ backend });
    kernel.kernelRefuses = (_table, rule) => rule.includes('-j cali-INPUT');
    program(table);
    await expect(apply()).rejects.toBeInstanceOf(ToolError);
  });
});
