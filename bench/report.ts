// Prints the measured part of docs/performance.md from the result lines of bench/run.ts:
// `npx tsx bench/report.ts RESULTS.jsonl > part.md`.
import { readFileSync } from 'node:fs';
import type { Mode } from '../test/fixtures/recording.js';
import type { RunResult } from './measure.js';

/** Felix's own dataplane and our targets on the same node, from the baseline page, in the order of ROWS; undefined = none given. */
interface Reference {
  readonly felix: readonly (number | undefined)[];
  readonly target?: readonly (number | undefined)[];
}

const ROWS: readonly (readonly [string, (result: RunResult) => number, number])[] = [
  ['start, s', (result) => result.startS, 2],
  ['restart, s', (result) => result.restartS, 2],
  ['policy edit, ms (median)', (result) => result.policyEditMs.median, 1],
  ['set member, ms (median)', (result) => result.setMemberMs.median, 1],
  ['pod add, ms (median)', (result) => result.podAddMs.median, 1],
  ['CPU per update, ms', (result) => result.cpuPerUpdateMs, 1],
  ['CPU at in-sync, s', (result) => result.startCpuS, 2],
  ['peak memory, MiB', (result) => result.peakMiB, 0],
  ['storm, s', (result) => result.stormS, 2],
  ['storm, CPU s', (result) => result.stormCpuS, 2],
  ['idle, % of a core', (result) => result.idlePercent, 1],
];

const REFERENCES: Readonly<Record<number, Partial<Readonly<Record<Mode, Reference>>>>> = {
  100: {
    nftables: { felix: [0.74, 1.4, 9.8, 16, 49, 45, undefined, 97, undefined, undefined, 0.5] },
    'iptables-nft': { felix: [0.71, 0.83, 84, 3.2, 160, 154, undefined, 88, undefined, undefined, 5.1] },
    'iptables-legacy': { felix: [0.59, 0.68, 62, 2.7, 94, 91, undefined, 90, undefined, undefined, 2.3] },
  },
  500: {
    nftables: {
      felix: [4.5, 6.1, 24, 69, 200, 150, 6.2, 159, 3.4, 5.9, 0.2],
      target: [1.4, 0.8, 1.5, 1, 5, 5, 2, 140, 0.6, 0.9, 0.1],
    },
    'iptables-nft': {
      felix: [4.3, 5.3, 245, 2.3, 378, 425, 5.4, 143, 5.1, 8.5, 7.5],
      target: [1.1, 0.9, 3, 0.7, 8, 8, 1.6, 130, 0.6, 0.9, 0.1],
    },
    'iptables-legacy': {
      felix: [4.1, 3.6, 311, 2.5, 346, 346, 4.9, 143, 4.1, 7, 5.2],
      target: [0.9, 0.7, 70, 0.7, 80, 80, 1.4, 130, 0.6, 0.9, 0.1],
    },
  },
  2000: {
    nftables: {
      felix: [59, undefined, 53, 212, 854, 543, 78, 411, undefined, undefined, 0.4],
      target: [6, undefined, 2, 1, 8, 6, 8, 300, undefined, undefined, 0.1],
    },
    'iptables-nft': {
      felix: [78, undefined, 1346, 4.1, 3709, 2630, 93, 377, undefined, undefined, 39],
      target: [5, undefined, 4, 1, 12, 12, 7, 280, undefined, undefined, 0.1],
    },
  },
};

function table(result: RunResult): string {
  const { mode, pods } = result;
  const lines = [`### ${pods} pods, ${mode} (kernel driver ${result.kernelDriver})`, ''];
  const { felix, target } = REFERENCES[pods]?.[mode] ?? { felix: [] };
  lines.push(target === undefined ? '| figure | ours | Felix |' : '| figure | ours | Felix | target | met |');
  lines.push(target === undefined ? '| --- | --- | --- |' : '| --- | --- | --- | --- | --- |');
  for (const [index, [name, read, digits]] of ROWS.entries()) {
    const ours = read(result);
    const cells = [name, ours.toFixed(digits), String(felix[index] ?? '')];
    const goal = target?.[index];
    if (target !== undefined) cells.push(String(goal ?? ''), goal === undefined ? '' : ours <= goal ? 'yes' : 'no');
    lines.push(`| ${cells.join(' | ')} |`);
  }
  const { raw } = result;
  lines.push(
    '',
    `Plain tools in the same run: load ${(raw.loadMs / 1000).toFixed(2)} s (our start is ${((result.startS * 1000) / raw.loadMs).toFixed(1)} times that), ` +
      `one policy chain ${raw.policyEditMs.toFixed(1)} ms (ours ${(result.policyEditMs.median / raw.policyEditMs).toFixed(2)} times); ` +
      `${raw.kernelEditMs === null ? '' : `the kernel alone, one rule: ${raw.kernelEditMs.toFixed(2)} ms (ours ${(result.policyEditMs.median / raw.kernelEditMs).toFixed(1)} times); `}` +
      `one set member ${raw.setMemberMs.toFixed(1)} ms (ours ${(result.setMemberMs.median / raw.setMemberMs).toFixed(2)} times). ` +
      `Memory of driver and children together (proportional): ${result.treeMiB.toFixed(0)} MiB.`,
    '',
  );
  return lines.join('\n');
}

/** Bars on a logarithmic scale: Felix above, ours below. */
function plot(results: readonly RunResult[]): string {
  const parts: string[] = [];
  let y = 24;
  const bar = (value: number, colour: string, label: string): void => {
    const width = Math.max(2, (Math.log10(Math.max(value, 0.1)) + 1) * 110);
    parts.push(`<rect x="190" y="${y}" width="${width.toFixed(0)}" height="11" fill="${colour}"/>`);
    parts.push(`<text x="${(196 + width).toFixed(0)}" y="${y + 10}">${label}</text>`);
    y += 13;
  };
  for (const result of results) {
    const felix = REFERENCES[500]?.[result.mode]?.felix ?? [];
    for (const index of [2, 3, 4, 5]) {
      const [name = '', read] = ROWS[index] ?? [];
      if (read === undefined) continue;
      parts.push(`<text x="4" y="${y + 15}">${result.mode}: ${name.replace(/,.*/, '')}</text>`);
      bar(felix[index] ?? 0, '#b0b0b0', `${felix[index]} ms Felix`);
      bar(read(result), '#2f6f4f', `${read(result).toFixed(1)} ms`);
      y += 6;
    }
  }
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="760" height="${y + 6}" font-family="sans-serif" font-size="11">`;
  return `${head}<text x="4" y="14">500 pods, milliseconds, logarithmic</text>${parts.join('')}</svg>\n`;
}

const [file = '', part = 'tables'] = process.argv.slice(2);
const results = readFileSync(file, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as RunResult);
if (part === 'plot') process.stdout.write(plot(results.filter(({ pods }) => pods === 500)));
else process.stdout.write(`${results.map(table).join('\n')}`);
