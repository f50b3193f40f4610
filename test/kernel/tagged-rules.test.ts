// What the readers of both variants' tables get from the kernel is what iptables-save prints.
import { expect, test } from 'vitest';
import { FAMILIES, type TableName } from '../../src/model/family.js';
import { createNamespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('tagged-rules');
const TABLES: readonly TableName[] = ['filter', 'nat', 'mangle', 'raw'];
/** More than is copied in place, and than is looked at in one turn of the event loop. */
const MANY_RULES = 9_000;

const VERDICTS: ReadonlySet<string> = new Set(['ACCEPT', 'DROP', 'RETURN']);

const OTHERS = `*filter
:KUBE-FORWARD - [0:0]
:cali-FORWARD - [0:0]
:cali-empty - [0:0]
:cali-many - [0:0]
-P OUTPUT DROP
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -m conntrack --ctstate NEW -m comment --comment first -m comment --comment second -j KUBE-FORWARD
-A FORWARD -m comment --comment first -m comment --comment cali:second -j KUBE-FORWARD
-A KUBE-FORWARD -m comment --comment "with blanks, not ours" -j RETURN
-A KUBE-FORWARD
-A KUBE-FORWARD -m comment --comment "calico: no" -j MARK --set-xmark 0x1/0x1
-A KUBE-FORWARD -j cali-empty
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -m limit --limit 5/sec -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m comment --comment "cali:1rIWhyfJzC8Vrprb" -g KUBE-FORWARD
-A OUTPUT -m statistic --mode nth --every 3 --packet 0 -j RETURN
${Array.from({ length: MANY_RULES }, (_, index) => `-A cali-many -m comment --comment cali:${String(index).padStart(16, 'x')} -m mark --mark ${index}`).join('\n')}
COMMIT
*nat
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j MASQUERADE --random-fully
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
`;

interface Known {
  readonly tags: Record<string, string[]>;
  readonly others: Record<string, string[]>;
}

/** What the text of iptables-save tells: a tag is what follows `cali:` in the first comment that begins so. */
function printed(text: string): Known {
  const tags: Record<string, string[]> = {};
  const others: Record<string, string[]> = {};
  for (const line of text.split('\n')) {
    const [, declared] = /^:(\S+)/.exec(line) ?? [];
    // The nft variant prints hooks that are not there.
    if (declared !== undefined && declared.toUpperCase() !== declared) tags[declared] = [];
    const [, name = '', rest = ''] = /^-A (\S+)(.*)/.exec(line) ?? [];
    if (name === '') continue;
    const tag = /--comment "?cali:([^"\s]*)/.exec(rest)?.[1] ?? '';
    (tags[name] ??= []).push(tag);
    const target = /-[jg] (\S+)/.exec(rest)?.[1];
    if (tag === '' && target !== undefined && !VERDICTS.has(target)) others[name] = [...(others[name] ?? []), target];
  }
  return { tags, others };
}

test.each(['legacy', 'nft'])('Rules of iptables-%s are known by what iptables-save prints of them', async (variant) => {
  const namespace = await createNamespace('tagged');
  try {
    const expected: Record<string, unknown> = {};
    for (const family of FAMILIES) {
      const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}`;
      await namespace.run([`${tool}-restore`, '--noflush'], { input: OTHERS });
      for (const table of TABLES) {
        expected[`${variant} ${table}/${family}`] = printed(await namespace.run([`${tool}-save`, '-t', table]));
      }
    }
    const found = JSON.parse(await namespace.run(PROGRAM)) as Record<string, Known | null>;
    expect(found).toMatchObject(expected);
    expect(found[`${variant} filter/6`]?.tags['cali-many']).toHaveLength(MANY_RULES);
    expect(found[`${variant} filter/6`]?.others).toEqual({
      FORWARD: ['KUBE-FORWARD'],
      'KUBE-FORWARD': ['MARK', 'cali-empty'],
    });
    expect(found['none/4']).toBeNull();
  } finally {
    await namespace.remove();
  }
});
