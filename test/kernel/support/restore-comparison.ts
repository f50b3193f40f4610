// Restore scripts played by iptables-restore and by ourselves, compared in the kernel byte by byte.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { recordingNames } from '../../fixtures/recording.js';
import { createNamespace } from './namespace.js';
import { temporaryFolder } from './processes.js';
import { type FamilyScript, restoreScripts, setsOf } from './restore-scripts.js';
import { formsByTable, formsOf, hooksOf } from './rule-forms.js';

/** What a program found of one script: whether we wrote it without the tool, and the first thing that then differed. */
export interface RestoreFinding {
  readonly isOwn: boolean;
  readonly byTool?: string;
  readonly own?: string;
}

async function compare(program: readonly string[], scripts: readonly FamilyScript[]): Promise<RestoreFinding[]> {
  const namespace = await createNamespace('restcomp');
  const folder = temporaryFolder();
  try {
    await namespace.run(['ipset', 'restore'], { input: setsOf(scripts) });
    const command = ['env', `XTABLES_LOCKFILE=${join(folder.path, 'lock')}`, ...program];
    return JSON.parse(await namespace.run(command, { input: JSON.stringify(scripts) })) as RestoreFinding[];
  } finally {
    await namespace.remove();
    folder.remove();
  }
}

/**
 * Registers tests: every script of every recording and every form of rules are written without the tool, but for those
 * that `isLeft` names, and leave what the tool leaves. `program` gets scripts and prints {@link RestoreFinding}s.
 */
export function testRestores(
  backend: 'nft' | 'legacy',
  program: readonly string[],
  isLeft: (script: string) => boolean = () => false,
): void {
  const check = async (scripts: readonly FamilyScript[]): Promise<void> => {
    const findings = await compare(program, scripts);
    const different = findings.flatMap((finding, index) =>
      finding.own === undefined ? [] : [{ script: scripts[index], ...finding }],
    );
    expect(different).toEqual([]);
    expect(findings).toHaveLength(scripts.length);
    expect(scripts.filter(([, script], index) => findings[index]?.isOwn !== true && !isLeft(script))).toEqual([]);
  };

  describe('scripts of the recordings', () => {
    test.each(recordingNames())('%s: all are written by ourselves, as the tool would', async (name) => {
      const scripts = await restoreScripts(name, backend);
      expect(scripts.length).toBeGreaterThan(0);
      await check(scripts);
    });
  });

  describe.each([4, 6] as const)('every form of IPv%d', (family) => {
    test.each(formsByTable(family))('in %s', (table, rules) => check(formsOf(family, table, rules)));

    test('hooks, and chains that go', () => check(hooksOf(family)));
  });
}
