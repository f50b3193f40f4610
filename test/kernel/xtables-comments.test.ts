// What the reader of legacy tables gets from the kernel is what iptables-save prints.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FAMILIES, type TableName } from '../../src/model/family.js';
import { createNamespace } from './support/namespace.js';

const TSX = join(import.meta.dirname, '../../node_modules/.bin/tsx');
const PROGRAM = join(import.meta.dirname, 'programs/xtables-comments.ts');
const TABLES: readonly TableName[] = ['filter', 'nat', 'mangle', 'raw'];
/** More than is copied in place, and than is looked at in one turn of the event loop. */
const MANY_RULES = 9_000;

const OTHERS = `*filter
:KUBE-FORWARD - [0:0]
:cali-FORWARD - [0:0]
:cali-empty - [0:0]
:cali-many - [0:0]
-P OUTPUT DROP
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -m conntrack --ctstate NEW -m comment --comment first -m comment --comment cali:second -j KUBE-FORWARD
-A KUBE-FORWARD -m comment --comment "with blanks, not ours" -j RETURN
-A KUBE-FORWARD
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -m limit --limit 5/sec -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m comment --comment "cali:1rIWhyfJzC8Vrprb" -g KUBE-FORWARD
-A OUTPUT -m statistic --mode nth --every 3 --packet 0 -j RETURN
${Array.from({ length: MANY_RULES }, (_, index) => `-A cali-many -m comment --comment cali:${String(index).padStart(16, 'x')} -m mark --mark ${index}`).join('\n')}
COMMIT
*nat
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j MASQUERADE --random-fully
COMMIT
`;

/** Chain → first comment of each rule, from the text of iptables-save. */
function printed(text: string): Record<string, string[]> {
  const chains: Record<string, string[]> = {};
  for (const line of text.split('\n')) {
    const [, declared] = /^:(\S+)/.exec(line) ?? [];
    if (declared !== undefined) chains[declared] = [];
    const [, name = '', rest = ''] = /^-A (\S+)(.*)/.exec(line) ?? [];
    if (name === '') continue;
    const [, quoted, bare] = /--comment (?:"([^"]*)"|(\S+))/.exec(rest) ?? [];
    chains[name]?.push(quoted ?? bare ?? '');
  }
  return chains;
}

test('XtablesReader finds the comments that iptables-save prints, in every table of both families', async () => {
  const namespace = await createNamespace('xtables');
  try {
    const expected: Record<string, unknown> = { 'none/4': null };
    for (const family of FAMILIES) {
      const tool = family === 4 ? 'iptables-legacy' : 'ip6tables-legacy';
      await namespace.run([`${tool}-restore`, '--noflush'], { input: OTHERS });
      for (const table of TABLES) {
        expected[`${table}/${family}`] = printed(await namespace.run([`${tool}-save`, '-t', table]));
      }
    }
    const found = JSON.parse(await namespace.run([TSX, PROGRAM])) as Record<string, Record<string, string[]>>;
    expect(found).toEqual(expected);
    expect(found['filter/6']?.['cali-many']).toHaveLength(MANY_RULES);
  } finally {
    await namespace.remove();
  }
});
