// Every chain and rule hash of every recording, in all modes and both families, against Felix's own dataplane.
// Chains that differ on purpose are named one by one, with the row of docs/differences.md they come from.
import { describe, expect, it } from 'vitest';
import type { Family, TableName } from '../../src/model/family.js';
import { loadRecording, MODES, type Mode, recordingNames, splitFrames } from '../fixtures/recording.js';
import { readIptablesDump, readNftDump } from './kernel-dump.js';
import { RuleState } from './rule-state.js';

type Hashes = Record<string, readonly string[]>;

const FAMILIES: readonly Family[] = [4, 6];

/** The chains of the recordings whose rules differ from Felix's on purpose. */
function differsOnPurpose(mode: Mode, chain: string): boolean {
  // Row 2: DNAT test of filter OUTPUT.
  return mode === 'nftables' && chain === 'filter-cali-OUTPUT';
}

function expectedHashes(dump: Record<string, string>, mode: Mode, family: Family, table: TableName): Hashes {
  if (mode === 'nftables') {
    const chains = readNftDump(dump['nft.txt'] ?? '').get(family === 4 ? 'ip calico' : 'ip6 calico') ?? new Map();
    return Object.fromEntries([...chains].filter(([name]) => name.startsWith(`${table}-`)));
  }
  const text = dump[`${family === 4 ? 'iptables' : 'ip6tables'}-${mode.slice('iptables-'.length)}.txt`] ?? '';
  return Object.fromEntries(readIptablesDump(text).get(table) ?? new Map());
}

function compareStep(state: RuleState, mode: Mode, dump: Record<string, string>): void {
  for (const family of FAMILIES) {
    const all = state.hashes(mode, family);
    for (const [table, hashes] of all) {
      const expected = expectedHashes(dump, mode, family, table);
      const actual: Hashes = Object.fromEntries(hashes);
      // Kernel chains that hold nothing of ours.
      for (const name of Object.keys(expected)) if (expected[name]?.length === 0) actual[name] ??= [];
      for (const name of Object.keys(actual)) {
        if (!differsOnPurpose(mode, name)) continue;
        expect(actual[name], `${name} is listed as different`).not.toEqual(expected[name]);
        delete actual[name];
        delete expected[name];
      }
      expect(actual, `${table}/${family}`).toEqual(expected);
    }
  }
  const arp = readNftDump(dump['nft.txt'] ?? '').get('arp calico-arp') ?? new Map<string, string[]>();
  expect(Object.fromEntries(state.arpHashes(mode)), 'arp').toEqual(Object.fromEntries(arp));
}

describe.each([...recordingNames()])('rule hashes of recording %s', (name) => {
  const recording = loadRecording(name);
  const frames = splitFrames(recording.stream);

  it.each([...MODES])('equal the recorded kernel in mode %s', (mode) => {
    const expected = recording.expected[mode];
    if (expected === undefined) {
      // Felix itself fails here; all that can be said without a kernel is that rendering goes through.
      const state = new RuleState(recording.hostScript);
      for (const frame of frames) state.apply(frame);
      for (const family of FAMILIES) expect(state.hashes(mode, family).size).toBe(4);
      return;
    }
    const state = new RuleState(recording.hostScript);
    let done = 0;
    recording.steps.steps.forEach((step, index) => {
      for (; done < step.frames; done++) state.apply(frames[done] ?? new Uint8Array());
      const dump = expected[`${String(index).padStart(2, '0')}-${step.name}`];
      if (dump === undefined) throw new Error(`recording ${name} has no dump of step ${step.name} in ${mode}`);
      compareStep(state, mode, dump);
    });
  });
});
