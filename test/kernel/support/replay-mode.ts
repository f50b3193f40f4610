// Registers one test for each recording that Felix itself survives in a mode.
import { afterAll, describe, test } from 'vitest';
import { loadRecording, type Mode, recordingNames } from '../../fixtures/recording.js';
import { DIFFERENCES } from './differences.js';
import { replay } from './replay.js';

/** Every recording with expected dumps of `mode` is equal after each step, and a restart writes nothing. */
export function replayMode(mode: Mode): void {
  describe(`replay in ${mode}`, () => {
    let steps = 0;
    let files = 0;
    afterAll(() => {
      console.log(`${mode}: compared ${steps} steps, ${files} files`);
    });
    for (const name of recordingNames()) {
      if (loadRecording(name).expected[mode] === undefined) continue;
      test(`${name} gives Felix's kernel state after every step, and a restart writes nothing`, async () => {
        const report = await replay(name, mode, { differences: DIFFERENCES[mode] });
        steps += report.steps;
        files += report.files;
      });
    }
  });
}
