// What we write by netlink in iptables-nft mode is, byte by byte, what iptables-nft-restore writes: every form that
// rules have, and every script of every recording.
import { describe, expect, test } from 'vitest';
import { recordingNames } from '../fixtures/recording.js';
import { createNamespace } from './support/namespace.js';
import { formsByTable, formsOf, hooksOf } from './support/rule-forms.js';
import { type FamilyScript, restoreScripts, setsOf } from './support/restore-scripts.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('iptables-compile');

interface Finding {
  readonly isCompiled: boolean;
  readonly byTool?: string;
  readonly own?: string;
}

async function play(scripts: readonly FamilyScript[]): Promise<Finding[]> {
  const namespace = await createNamespace('iptcomp');
  try {
    await namespace.run(['ipset', 'restore'], { input: setsOf(scripts) });
    return JSON.parse(await namespace.run(PROGRAM, { input: JSON.stringify(scripts) })) as Finding[];
  } finally {
    await namespace.remove();
  }
}

function expectEqual(scripts: readonly FamilyScript[], findings: readonly Finding[]): void {
  const different = findings.flatMap((finding, index) =>
    finding.own === undefined ? [] : [{ script: scripts[index], ...finding }],
  );
  expect(different).toEqual([]);
  expect(findings).toHaveLength(scripts.length);
}

describe('scripts of the recordings', () => {
  test.each(recordingNames())('%s: all are written by netlink, as the tool would', async (name) => {
    const scripts = await restoreScripts(name);
    expect(scripts.length).toBeGreaterThan(0);
    const findings = await play(scripts);
    expectEqual(scripts, findings);
    expect(scripts.filter((_, index) => findings[index]?.isCompiled !== true)).toEqual([]);
  });
});

describe.each([4, 6] as const)('every form of IPv%d', (family) => {
  test.each(formsByTable(family))('in %s', async (table, rules) => {
    const scripts = formsOf(family, table, rules);
    const findings = await play(scripts);
    expectEqual(scripts, findings);
    expect(scripts.filter((_, index) => findings[index]?.isCompiled !== true)).toEqual([]);
  });

  test('hooks, and chains that go', async () => {
    const scripts = hooksOf(family);
    const findings = await play(scripts);
    expectEqual(scripts, findings);
    expect(scripts.filter((_, index) => findings[index]?.isCompiled !== true)).toEqual([]);
  });
});
