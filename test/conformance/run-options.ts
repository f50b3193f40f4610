// What runs over random resources are told.
import type { Mode } from '../fixtures/recording.js';

/** Runs of one mode, one after the other. The first has `seed` (undefined = from the clock), the next the numbers after it. */
export interface RunOptions {
  readonly felix: string;
  readonly mode: Mode;
  readonly seed: string | undefined;
  readonly runs: number;
  readonly report: (what: string, faults: readonly string[]) => void;
}
