// What we write by setsockopt in iptables-legacy mode is, byte by byte, what iptables-legacy-restore writes, and leaves
// the same counters: every form that rules have, and every script of every recording.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { recordingNames } from '../fixtures/recording.js';
import { createNamespace } from './support/namespace.js';
import { formsByTable, formsOf, hooksOf } from './support/rule-forms.js';
import { type FamilyScript, restoreScripts, setsOf } from './support/restore-scripts.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('legacy-compile');

interface Finding {
  readonly isOwn: boolean;
  readonly byTool?: string;
  readonly own?: string;
}

async function play(scripts: readonly FamilyScript[]): Promise<Finding[]> {
  const namespace = await createNamespace('legcomp');
  const folder = mkdtempSync(join(tmpdir(), 'fdp-legcomp-'));
  try {
    await namespace.run(['ipset', 'restore'], { input: setsOf(scripts) });
    const program = ['env', `XTABLES_LOCKFILE=${join(folder, 'lock')}`, ...PROGRAM];
    return JSON.parse(await namespace.run(program, { input: JSON.stringify(scripts) })) as Finding[];
  } finally {
    await namespace.remove();
    rmSync(folder, { recursive: true });
  }
}

async function expectEqual(scripts: readonly FamilyScript[]): Promise<Finding[]> {
  const findings = await play(scripts);
  const different = findings.flatMap((finding, index) =>
    finding.own === undefined ? [] : [{ script: scripts[index], ...finding }],
  );
  expect(different).toEqual([]);
  expect(findings).toHaveLength(scripts.length);
  return findings;
}

describe('scripts of the recordings', () => {
  test.each(recordingNames())('%s: all are written by ourselves, as the tool would', async (name) => {
    const scripts = await restoreScripts(name, 'legacy');
    expect(scripts.length).toBeGreaterThan(0);
    const findings = await expectEqual(scripts);
    expect(scripts.filter((_, index) => findings[index]?.isOwn !== true)).toEqual([]);
  });
});

describe.each([4, 6] as const)('every form of IPv%d', (family) => {
  test.each(formsByTable(family))('in %s', async (table, rules) => {
    const scripts = formsOf(family, table, rules);
    const findings = await expectEqual(scripts);
    expect(scripts.filter((_, index) => findings[index]?.isOwn !== true)).toEqual([]);
  });

  test('hooks, and chains that go', async () => {
    const scripts = hooksOf(family);
    const findings = await expectEqual(scripts);
    expect(scripts.filter(([, script], index) => findings[index]?.isOwn !== true && !isTwo(script))).toEqual([]);
  });
});

/** Scripts of two transactions are the tool's. */
function isTwo(script: string): boolean {
  return script.indexOf('COMMIT') !== script.lastIndexOf('COMMIT');
}
