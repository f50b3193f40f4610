// Registers one test for each recording that Felix itself survives in a mode.
import { afterAll, describe, test } from 'vitest';
import { loadRecording, type Mode, recordingNames } from '../../fixtures/recording.js';
import { DIFFERENCES } from './differences.js';
import { replay, type ReplayOptions } from './replay.js';

function register(title: string, mode: Mode, what: string, options: ReplayOptions): void {
  describe(title, () => {
    let steps = 0;
    let files = 0;
    afterAll(() => {
      console.log(`${title}: compared ${steps} steps, ${files} files`);
    });
    for (const name of recordingNames()) {
      if (loadRecording(name).expected[mode] === undefined) continue;
      test(`${name} gives Felix's kernel state after every step${what}`, async () => {
        const report = await replay(name, mode, { ...options, differences: DIFFERENCES[mode] });
        steps += report.steps;
        files += report.files;
      });
    }
  });
}

/** Every recording with expected dumps of `mode` is equal after each step, and a restart writes nothing. */
export function replayMode(mode: Mode): void {
  register(`replay in ${mode}`, mode, ', and a restart writes nothing', {});
}

/** The same without the restart, with one way to the kernel forced. */
export function replayDriver(driver: 'spawn' | 'coprocess', mode: Mode): void {
  const environment = { DATAPLANE_KERNEL_DRIVER: driver };
  register(`replay in ${mode} by ${driver}`, mode, '', { environment, withoutRestart: true });
}
