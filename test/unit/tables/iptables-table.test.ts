// The iptables reconciler over the fake kernel: what it writes, what it leaves alone, and when it reads.
import { describe, expect, it } from 'vitest';
import { FakeIptablesKernel } from '../../fakes/iptables-kernel.js';
import { act, chain, from, jump, program, PROGRAMMED, setUp } from './iptables-table-setup.js';

const FOREIGN =
  '*filter\n:KUBE-FORWARD - -\n-A KUBE-FORWARD -j DROP\n-A FORWARD -j KUBE-FORWARD\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n';

describe.each(['legacy', 'nft'] as const)('IptablesTable (%s)', (backend) => {
  it('programs an empty kernel with one read and one write, referenced chains only', async () => {
    const { table, apply, kernel, rules, operations } = setUp({ backend });
    program(table);
    const result = await apply();
    expect(rules()).toEqual(PROGRAMMED);
    expect([kernel.saves.length, kernel.restores.length]).toEqual([1, 1]);
    expect(result.operations).toBe(operations.length);
    expect(operations.map(({ verb, object }) => `${verb} ${object}`).sort()).toEqual([
      'write-chain filter/4 cali-FORWARD',
      'write-chain filter/4 cali-INPUT',
      'write-chain filter/4 cali-pi-a',
      'write-hook filter/4 FORWARD',
      'write-hook filter/4 INPUT',
    ]);
    expect(result.refused).toEqual([]);
  });

  it('writes nothing on a restart over its own state', async () => {
    const first = setUp({ backend });
    program(first.table);
    await first.apply();
    const second = setUp({ kernel: first.kernel });
    program(second.table);
    const result = await second.apply();
    expect(first.kernel.restores).toHaveLength(1);
    expect(result.operations).toBe(0);
    expect(second.operations).toEqual([]);
  });

  it.each([
    [20, []],
    [200, ['filter/4']],
  ])('says that a long script is to come before it is made, %s chains', async (chains, expected) => {
    const { table, apply, kernel } = setUp({ backend });
    table.setInsertedRules('INPUT', [jump('cali-INPUT')]);
    const names = Array.from({ length: chains }, (_, index) => `cali-${index}`);
    table.setChain(chain('cali-INPUT', ...names.map(jump)));
    await apply();
    kernel.longScripts.length = 0;
    for (const name of names) table.setChain(chain(name, act('accept')));
    await apply();
    expect(kernel.longScripts).toEqual(expected);
  });

  it('writes only the changed chain, without reading again', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    program(table);
    await apply();
    table.setChain(chain('cali-pi-a', from('10.0.0.9/32', { kind: 'accept' })));
    const result = await apply();
    expect(rules()['cali-pi-a']).toEqual(['# -s 10.0.0.9/32 -j ACCEPT']);
    expect([kernel.saves.length, kernel.restores.length]).toEqual([1, 2]);
    expect(result.operations).toBe(1);
    expect(kernel.restores[1]?.split('\n')).toHaveLength(5);
  });

  it('does nothing at all when nothing changed, or when a chain is set to what it is', async () => {
    const { table, apply, kernel } = setUp({ backend });
    program(table);
    await apply();
    program(table);
    expect((await apply()).operations).toBe(0);
    expect([kernel.saves.length, kernel.restores.length]).toEqual([1, 1]);
  });

  it('deletes chains after the rules that referred to them', async () => {
    const { table, apply, rules, kernel } = setUp({ backend });
    program(table);
    await apply();
    table.setChain(chain('cali-FORWARD', act('drop')));
    await apply();
    expect(rules()['cali-pi-a']).toBeUndefined();
    const lines = kernel.restores[1]?.trimEnd().split('\n') ?? [];
    expect(lines.at(-2)).toBe('--delete-chain cali-pi-a');
    expect(lines.filter((line) => line === 'COMMIT')).toHaveLength(backend === 'nft' ? 2 : 1);
  });

  it('leaves foreign rules alone, above the appended and below the inserted ones', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    kernel.run(4, FOREIGN);
    program(table);
    await apply();
    expect(rules().FORWARD).toEqual(['# -j cali-FORWARD', '-j KUBE-FORWARD', '# -j ACCEPT']);
    expect(rules().INPUT).toEqual(['# -j cali-INPUT', '-i lo -j ACCEPT']);
    expect(rules()['KUBE-FORWARD']).toEqual(['-j DROP']);
  });

  it('appends in append mode, appended rules last', async () => {
    const { table, apply, kernel, rules } = setUp({ backend, insertMode: 'append' });
    kernel.run(4, FOREIGN);
    program(table);
    await apply();
    expect(rules().FORWARD).toEqual(['-j KUBE-FORWARD', '# -j cali-FORWARD', '# -j ACCEPT']);
    kernel.run(4, '*filter\n-A FORWARD -s 1.1.1.1/32 -j DROP\nCOMMIT\n');
    table.queueResync();
    await apply();
    expect(rules().FORWARD).toEqual(['-j KUBE-FORWARD', '-s 1.1.1.1/32 -j DROP', '# -j cali-FORWARD', '# -j ACCEPT']);
  });

  it('keeps the order of several inserted rules', async () => {
    const { table, apply, rules } = setUp({ backend });
    table.setInsertedRules('OUTPUT', [act('accept'), act('return'), act('drop')]);
    await apply();
    expect(rules().OUTPUT).toEqual(['# -j ACCEPT', '# -j RETURN', '# -j DROP']);
  });

  it('cleans stale chains, old prefixes, old inserts and wrong hashes with one read and one write (B10, B12)', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    kernel.run(
      4,
      '*filter\n:cali-old - -\n:felix-FORWARD - -\n:cali-FORWARD - -\n:MINE - -\n-A MINE -m comment --comment "cali:0123456789abcdef" -j ACCEPT\n-A MINE -j DROP\n' +
        '-A FORWARD -j felix-FORWARD\n-A FORWARD -j MINE\n-A felix-FORWARD -j DROP\n-A cali-old -j DROP\n-A cali-FORWARD -j ACCEPT\n' +
        '-A OUTPUT -m comment --comment "cali:aaaaaaaaaaaaaaaa" -j cali-old\nCOMMIT\n',
    );
    program(table);
    await apply();
    expect(rules()).toEqual({
      ...PROGRAMMED,
      FORWARD: ['# -j cali-FORWARD', '-j MINE', '# -j ACCEPT'],
      MINE: ['-j DROP'],
    });
    expect([kernel.saves.length, kernel.restores.length]).toEqual([1, 1]);
  });

  it('moves a hook rule without touching the kernel chain before it was read again', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    program(table);
    await apply();
    kernel.run(4, '*filter\n-I FORWARD -s 1.1.1.1/32 -j DROP\nCOMMIT\n');
    table.setInsertedRules('FORWARD', [jump('cali-INPUT')]);
    await apply();
    expect(kernel.saves).toHaveLength(2);
    expect(rules().FORWARD).toEqual(['# -j cali-INPUT', '-s 1.1.1.1/32 -j DROP', '# -j ACCEPT']);
  });

  it('removes what is no longer wanted from a kernel chain', async () => {
    const { table, apply, rules } = setUp({ backend });
    program(table);
    await apply();
    table.setInsertedRules('INPUT', []);
    table.setAppendedRules('FORWARD', []);
    await apply();
    expect(rules()).toMatchObject({ INPUT: [], FORWARD: ['# -j cali-FORWARD'] });
    expect(rules()['cali-INPUT']).toBeUndefined();
  });

  it('writes a chain whole when the view is not fresh, whatever others made of it', async () => {
    const { table, apply, kernel, rules } = setUp({ backend });
    program(table);
    await apply();
    kernel.run(
      4,
      '*filter\n:cali-pi-a - -\n-A cali-pi-a -j ACCEPT\n-A cali-pi-a -j RETURN\n-A cali-pi-a -j RETURN\nCOMMIT\n',
    );
    table.setChain(chain('cali-pi-a', from('10.0.0.1/32', { kind: 'accept' }), from('10.0.0.3/32', { kind: 'drop' })));
    await apply();
    expect(rules()['cali-pi-a']).toEqual(['# -s 10.0.0.1/32 -j ACCEPT', '# -s 10.0.0.3/32 -j DROP']);
    expect(kernel.saves).toHaveLength(1);
  });

  it('programs a chain that is referred to but not defined closed, and reports it', async () => {
    const { table, apply, rules } = setUp({ backend });
    table.setInsertedRules('INPUT', [jump('cali-missing')]);
    const result = await apply();
    expect(rules()['cali-missing']).toEqual(['# -j DROP']);
    expect(result.refused).toEqual([
      { family: 4, kind: 'chain', object: 'cali-missing', reason: 'referred to, but not defined' },
    ]);
    table.setChain(chain('cali-missing', act('accept')));
    expect((await apply()).refused).toEqual([]);
    expect(rules()['cali-missing']).toEqual(['# -j ACCEPT']);
  });

  it('closes a chain that cannot be printed and goes on', async () => {
    const { table, apply, rules } = setUp({ backend });
    program(table);
    table.setChain(chain('cali-pi-a', { match: [{ kind: 'in-interface-map', map: 'm' }] }));
    const result = await apply();
    expect(rules()['cali-pi-a']).toEqual(['# -j DROP']);
    expect(rules()['cali-INPUT']).toEqual(['# -j RETURN']);
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-pi-a']);
    await apply();
    expect(rules()['cali-pi-a']).toEqual(['# -j DROP']);
  });
});

describe('IptablesTable in-place updates', () => {
  it('rewrites only the rules that differ after a read (legacy), the whole chain (nft) (B13)', async () => {
    for (const backend of ['legacy', 'nft'] as const) {
      const first = setUp({ backend });
      program(first.table);
      await first.apply();
      const { table, apply, kernel, rules } = setUp({ kernel: first.kernel });
      program(table);
      table.setChain(
        chain('cali-pi-a', from('10.0.0.1/32', { kind: 'accept' }), from('10.0.0.7/32', { kind: 'accept' })),
      );
      await apply();
      const lines = kernel.restores[1]?.split('\n').filter((line) => line.includes(' cali-pi-a '));
      expect(lines?.map((line) => line.slice(0, 14))).toEqual(
        backend === 'legacy' ? ['-R cali-pi-a 2'] : ['-A cali-pi-a -', '-A cali-pi-a -'],
      );
      expect(rules()['cali-pi-a']).toEqual(['# -s 10.0.0.1/32 -j ACCEPT', '# -s 10.0.0.7/32 -j ACCEPT']);
    }
  });

  it.each([0, 1, 2, 5])('shortens or lengthens a chain to %i rules after a read (legacy)', async (count) => {
    const kernel = new FakeIptablesKernel('legacy');
    const first = setUp({ kernel });
    program(first.table);
    await first.apply();
    const { table, apply, rules } = setUp({ kernel });
    program(table);
    const nets = Array.from({ length: count }, (_, index) => `10.0.0.${index + 1}/32`);
    table.setChain(chain('cali-pi-a', ...nets.map((net) => from(net, { kind: 'accept' }))));
    await apply();
    expect(rules()['cali-pi-a']).toEqual(nets.map((net) => `# -s ${net} -j ACCEPT`));
  });

  it('cleans the masquerade rules that old releases put straight into nat POSTROUTING', async () => {
    const { table, apply, kernel, rules } = setUp({ table: 'nat' });
    kernel.run(
      4,
      '*nat\n-A POSTROUTING -o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n',
    );
    table.setAppendedRules('POSTROUTING', [jump('cali-POSTROUTING')]);
    table.setChain(chain('cali-POSTROUTING', act('return')));
    await apply();
    expect(rules().POSTROUTING).toEqual(['-o eth0 -j MASQUERADE', '# -j cali-POSTROUTING']);
  });
});
