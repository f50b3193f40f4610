// A long soak: `npx tsx bench/soak.ts [--mode nftables] [--updates 100000] [--pods 50] [--burst 200] [--samples 20]
// [--driver auto] [--output FILE]`; FDP_SEED plays the same run again. Random updates go as fast as the driver takes
// them; in the end the kernel must equal a fresh start on the final state, processes and descriptors must be what they were
// after warm-up (a quarter of the updates), what is alive in the JavaScript heaps what it was at the first sample, and no
// heap may hold names of what is long gone. Resident memory is shown; V8 lets it grow as long as it finds that cheaper than
// collecting, so it decides nothing. Needs root and `npm run build`.
import { appendFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { MODES } from '../test/fixtures/recording.js';
import { seededRandom } from '../test/kernel/support/random.js';
import { soak, type SoakSample } from '../test/kernel/support/soak.js';

/** Live objects that may be added after the first sample: code that became warm, and a node of a random size. */
const LIVE_TOLERANCE = 1.1;

/** Of what differs in one part of the kernel's state. */
const SHOWN_LINES = 20;

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

/** Lines of the first that the second has not. */
function only(lines: readonly string[] = [], others: readonly string[] = []): string[] {
  const known = new Set(others);
  return lines.filter((line) => !known.has(line));
}

const startMs = Date.now();
const report = await soak(
  {
    mode,
    updates: Number(values.updates),
    burst: Number(values.burst),
    size: { pods, policies: pods, sets: pods, profiles: 8 },
    samples: Number(values.samples),
    comparesHeaps: true,
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
  const [after, fresh] = [report.after, report.fresh].map((dump) => (dump[file] ?? '').split('\n'));
  const lines = [...only(after, fresh).map((line) => `+${line}`), ...only(fresh, after).map((line) => `-${line}`)];
  if (report.after[file] !== report.fresh[file])
    faults.push(`the kernel differs from a fresh start: ${[file, ...lines.slice(0, SHOWN_LINES)].join('\n')}`);
}
const { warm, end } = report.liveKiB;
if (warm === null || end > warm * LIVE_TOLERANCE) faults.push(`live objects grew from ${warm} to ${end} KiB`);
for (const text of report.remembered) faults.push(`something long gone is remembered: ${text.slice(0, 200)}`);
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
  liveKiB: report.liveKiB,
  medianMiB: { secondQuarter: median(early), lastQuarter: median(late) },
  faults,
};
console.log(JSON.stringify(result, null, 2));
if (values.output !== undefined) appendFileSync(values.output, `${JSON.stringify(result)}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
