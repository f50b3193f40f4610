// Reading by the tags of rules, without a tool: when that is enough, and when the text is needed.
import { describe, expect, it } from 'vitest';
import { FakeIptablesKernel } from '../../fakes/iptables-kernel.js';
import { act, jump, program, PROGRAMMED, type Setup, setUp } from './iptables-table-setup.js';

/** A programmed kernel, and a driver that starts on it. */
async function restart(
  options: { backend?: 'legacy' | 'nft'; table?: 'filter' | 'nat'; others?: string } = {},
): Promise<Setup> {
  const kernel = new FakeIptablesKernel(options.backend ?? 'legacy');
  kernel.tellsTags = true;
  if (options.table !== 'nat') {
    const first = setUp({ kernel });
    program(first.table);
    await first.apply();
    expect([kernel.tagReads.length, kernel.saves.length], 'a first start needs no text').toEqual([1, 0]);
  }
  if (options.others !== undefined) kernel.run(4, `*${options.table ?? 'filter'}\n${options.others}\nCOMMIT\n`);
  kernel.restores.length = 0;
  kernel.tagReads.length = 0;
  return setUp({ kernel, ...(options.table === undefined ? {} : { table: options.table }) });
}

describe.each(['legacy', 'nft'] as const)('IptablesTable (%s) that can read tags', (backend) => {
  it('adopts an unchanged kernel without its text, and writes nothing', async () => {
    const others = ':KUBE-FORWARD - -\n-A KUBE-FORWARD -p tcp -j ACCEPT\n-A KUBE-FORWARD -j RETURN';
    const { table, apply, kernel, operations } = await restart({ backend, others });
    program(table);
    await apply();
    expect([kernel.tagReads, kernel.saves, kernel.restores, operations]).toEqual([['filter/4'], [], [], []]);
  });

  it('writes a chain that differs without the text', async () => {
    const { table, apply, kernel, rules, operations } = await restart({ backend, others: '-I cali-pi-a -j ACCEPT' });
    program(table);
    await apply();
    expect(kernel.saves).toEqual([]);
    expect(operations.map(({ object }) => object)).toEqual(['filter/4 cali-pi-a']);
    expect(rules()).toMatchObject(PROGRAMMED);
  });

  it('reads the text to change a hook rule of ours, which is deleted as it is printed', async () => {
    const { table, apply, kernel, rules } = await restart({ backend });
    program(table);
    table.setInsertedRules('INPUT', [jump('cali-INPUT'), act('accept')]);
    await apply();
    expect(kernel.saves).toEqual(['filter/4']);
    expect(rules()['INPUT']).toEqual(['# -j cali-INPUT', '# -j ACCEPT']);
  });

  it('reads the text for rules that an old release may have left, and removes those', async () => {
    for (const [table, others, left] of [
      ['filter', ':felix-FORWARD - -\n-A FORWARD -j felix-FORWARD', '-j felix-FORWARD'],
      [
        'nat',
        '-A POSTROUTING -o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE',
        'tunl0',
      ],
    ] as const) {
      const { table: wanted, apply, kernel, rules } = await restart({ backend, table, others });
      if (table === 'filter') program(wanted);
      await apply();
      expect(kernel.saves, table).toEqual([`${table}/4`]);
      expect(JSON.stringify(rules()), table).not.toContain(left);
    }
  });

  it('reads the text after a failed write', async () => {
    const { table, apply, kernel } = await restart({ backend });
    program(table);
    table.setChain({ name: 'cali-INPUT', rules: [act('drop')] });
    kernel.failRestores(1);
    await apply();
    expect([kernel.tagReads.length, kernel.saves.length]).toEqual([1, 1]);
  });
});
