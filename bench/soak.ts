// A long soak: `npx tsx bench/soak.ts [--mode nftables] [--updates 100000] [--pods 50] [--burst 200] [--samples 20]
// [--driver auto] [--output FILE]`; FDP_SEED plays the same run again. Random updates go as fast as the driver takes
// them; in the end the kernel must equal a fresh start on the final state, and memory, processes and descriptors must be
// what they were after warm-up (a quarter of the updates). Needs root and `npm run build`.
import { appendFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { MODES } from '../test/fixtures/recording.js';
import { seededRandom } from '../test/kernel/support/random.js';
import { soak, type SoakSample } from '../test/kernel/support/soak.js';

/** Memory that may be added between the second quarter and the last: V8 collects when it likes. */
const MEMORY_TOLERANCE = 1.15;

const { values } = parseArgs({
  options: {
    mode: { type: 'string', default: 'nftables' },
    updates: { type: 'string', default: '100000' },
    pods: { type: 'string', default: '50' },
    burst: { type: 'string', default: '200' },
    samples: { type: 'string', default: '20' },
    driver: { type: 'string', default: 'auto' },
    output: { type: 'string' },
  },
});
const mode = MODES.find((candidate) => candidate === values.mode);
if (mode === undefined) throw new Error(`--mode is ${values.mode}, allowed are ${MODES.join(', ')}`);
const pods = Number(values.pods);

function median(samples: readonly SoakSample[]): number {
  const sorted = samples.map(({ residentMiB }) => residentMiB).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

const startMs = Date.now();
const report = await soak(
  {
    mode,
    updates: Number(values.updates),
    burst: Number(values.burst),
    size: { pods, policies: pods, sets: pods, profiles: 8 },
    samples: Number(values.samples),
    environment: { DATAPLANE_KERNEL_DRIVER: values.driver },
    say: (line) => console.error(line),
  },
  seededRandom(`soak in ${mode}`),
);
const { samples } = report;
const quarter = Math.ceil(samples.length / 4);
const early = samples.slice(quarter, 2 * quarter);
const late = samples.slice(-quarter);
const faults: string[] = [];
for (const file of Object.keys({ ...report.after, ...report.fresh })) {
  if (report.after[file] !== report.fresh[file]) faults.push(`the kernel differs from a fresh start: ${file}`);
}
if (median(late) > median(early) * MEMORY_TOLERANCE) faults.push('resident memory grew');
if ((late.at(-1)?.processes ?? 0) > (early[0]?.processes ?? 0)) faults.push('processes leaked');
if ((late.at(-1)?.descriptors ?? 0) > (early[0]?.descriptors ?? 0)) faults.push('descriptors leaked');
if (report.errors.length > 0) faults.push(`errors were logged: ${report.errors[0] ?? ''}`);

const result = {
  mode,
  driver: values.driver,
  pods,
  seed: report.seed,
  updates: report.updates,
  bursts: report.bursts,
  seconds: Math.round((Date.now() - startMs) / 1000),
  counts: report.counts,
  samples,
  medianMiB: { secondQuarter: median(early), lastQuarter: median(late) },
  faults,
};
console.log(JSON.stringify(result, null, 2));
if (values.output !== undefined) appendFileSync(values.output, `${JSON.stringify(result)}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
