// The fake iptables of test/fakes against the real ones: the same scripts, the same chains, the same refusals and the
// same line numbers in their errors.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ToolError } from '../../src/base/errors.js';
import type { TableName } from '../../src/model/family.js';
import type { IptablesIo } from '../../src/tables/iptables/io.js';
import { parseSave } from '../../src/tables/iptables/read.js';
import { FakeIptablesKernel } from '../fakes/iptables-kernel.js';
import { CountingIo, savedRules } from './support/iptables.js';
import { createNamespace, type Namespace } from './support/namespace.js';

const H1 = '-m comment --comment "cali:abcdefghijklmnop"';

/** One after the other on the same tables. */
const STORY: readonly { readonly name: string; readonly table: TableName; readonly script: string }[] = [
  {
    name: 'new chain and jump',
    table: 'filter',
    script: `:cali-a - -\n-A cali-a ${H1} --jump DROP\n-I FORWARD ${H1} --jump cali-a`,
  },
  {
    name: 'append and insert',
    table: 'filter',
    script: '-A FORWARD --source 1.1.1.1/32 --jump ACCEPT\n-I FORWARD --in-interface lo --jump ACCEPT',
  },
  { name: 'another rule', table: 'filter', script: '-A cali-a --jump RETURN' },
  { name: 'replace by number', table: 'filter', script: '-R cali-a 2 --jump ACCEPT' },
  { name: 'delete by number', table: 'filter', script: '-D cali-a 2' },
  { name: 'delete by value as saved', table: 'filter', script: `-D FORWARD ${H1} -j cali-a` },
  { name: 'flush by forward reference', table: 'filter', script: ':cali-a - -\n-A cali-a --jump RETURN' },
  { name: 'goto', table: 'filter', script: ':cali-b - -\n-A cali-b --goto cali-a' },
  { name: 'delete of a chain in use', table: 'filter', script: ':cali-a - -\n--delete-chain cali-a' },
  { name: 'delete of a chain with rules', table: 'filter', script: '--delete-chain cali-b' },
  { name: 'delete of a chain', table: 'filter', script: ':cali-b - -\n--delete-chain cali-b' },
  { name: 'jump to a missing chain', table: 'filter', script: '-A cali-a --jump cali-zz' },
  {
    name: 'missing set',
    table: 'filter',
    script: ':cali-c - -\n-A cali-c -m set --match-set cali40zz src --jump DROP',
  },
  { name: 'unknown option', table: 'filter', script: ':cali-c - -\n-A cali-c --frob 1' },
  { name: 'delete by value of nothing', table: 'filter', script: ':cali-c - -\n-D FORWARD --jump cali-c' },
  { name: 'replace beyond the end', table: 'filter', script: ':cali-c - -\n-R cali-c 3 --jump ACCEPT' },
  { name: 'rule for a missing chain', table: 'filter', script: '-A cali-none --jump ACCEPT' },
  { name: 'name too long', table: 'filter', script: ':cali-23456789012345678901234567890 - -' },
  { name: 'DROP in nat', table: 'nat', script: ':cali-n - -\n-A cali-n --jump DROP' },
  { name: 'REJECT in raw', table: 'raw', script: ':cali-r - -\n-A cali-r --jump ACCEPT\n-A cali-r --jump REJECT' },
];

describe.each(['legacy', 'nft'] as const)('FakeIptablesKernel against iptables-%s', (backend) => {
  let namespace: Namespace;
  beforeAll(async () => {
    namespace = await createNamespace('iptcontract');
  });
  afterAll(async () => {
    await namespace.remove();
  });

  it('has the same chains, refusals and error lines through a whole story', async () => {
    const real = new CountingIo(namespace, backend);
    const fake = new FakeIptablesKernel(backend);
    const outcome = async (io: IptablesIo, script: string): Promise<{ ok: boolean; line?: number | undefined }> => {
      try {
        await io.restore(4, script);
        return { ok: true };
      } catch (error) {
        if (!(error instanceof ToolError)) throw error;
        return { ok: false, line: error.failure.inputLine };
      }
    };
    for (const { name, table, script } of STORY) {
      const text = `*${table}\n${script}\nCOMMIT\n`;
      const [realOutcome, fakeOutcome] = [await outcome(real, text), await outcome(fake, text)];
      expect({ name, ok: fakeOutcome.ok }).toEqual({ name, ok: realOutcome.ok });
      expect({ name, line: fakeOutcome.line }).toEqual({ name, line: realOutcome.line });
      const realChains = await savedRules(namespace, backend, 4, table);
      const expected = fake.chains(4, table);
      // iptables-nft has no base chains before their table is used.
      if (Object.keys(realChains).length > 0) expect({ name, chains: expected }).toEqual({ name, chains: realChains });
      const parsed = [...parseSave(await real.save(4, table), table)].map(([chain, { hashes }]) => [chain, hashes]);
      if (parsed.length > 0) {
        const parsedFake = [...parseSave(await fake.save(4, table), table)].map(([chain, { hashes }]) => [
          chain,
          hashes,
        ]);
        expect(Object.fromEntries(parsedFake)).toEqual(Object.fromEntries(parsed));
      }
    }
  });
});
