// Some hundred random updates as fast as they go: in the end the kernel is what a fresh start makes of the final state,
// and the driver has no more processes and descriptors than before, and remembers nothing of what is gone.
// (bench/soak.ts does the same for hours' worth.)
import { describe, expect, test } from 'vitest';
import { MODES } from '../fixtures/recording.js';
import { seededRandom } from './support/random.js';
import { soak } from './support/soak.js';

const UPDATES = 400;
const SIZE = { pods: 16, policies: 12, sets: 12, profiles: 4 };

describe.each(MODES)('soak in %s', (mode) => {
  test(`${UPDATES} random updates leave what a fresh start on the final state makes, and no more`, async () => {
    const report = await soak(
      { mode, updates: UPDATES, burst: 60, size: SIZE, samples: 4, say: () => undefined },
      seededRandom(`soak in ${mode}`),
    );
    expect(Object.keys(report.counts).length, 'kinds of updates').toBeGreaterThanOrEqual(7);
    expect(report.errors).toEqual([]);
    expect(report.after).toEqual(report.fresh);
    expect(report.remembered, 'texts in the heap with names of what is long gone').toEqual([]);
    const [warm] = report.samples;
    const last = report.samples.at(-1);
    expect(last?.processes, 'processes').toBe(warm?.processes);
    expect(last?.descriptors, 'descriptors').toBe(warm?.descriptors);
  });
});
