// Random resources and parameters in two nodes at once: Felix with its own dataplane in one, with this driver in the
// other. After each step both kernels have to be the same.
import type { Mode } from '../fixtures/recording.js';
import type { KernelDump } from '../kernel/support/dump.js';
import { FelixNode, type Plane } from './felix-node.js';
import { withoutDifferences } from './known-differences.js';
import { Dice, HOST_SCRIPT, RandomCluster, randomParameters } from './random-resources.js';
import { INITIAL } from './resources.js';
import { missingTraces, SENTINEL_INTERFACE, sentinels } from './sentinel.js';
import { differenceText, differingFiles } from './text.js';

/** What is run. */
export interface RandomOptions {
  readonly felix: string;
  readonly mode: Mode;
  readonly plane: Plane;
  readonly seed: string | undefined;
  readonly runs: number;
  readonly report: (what: string, faults: readonly string[]) => void;
}

const STEPS = 6;
const PATIENCE_MS = 40_000;
const SENTINEL_LINK = `ip link add ${SENTINEL_INTERFACE} type veth peer name psent`;

/** Carries out runs with one seed after the other. */
export async function randomRuns({ seed, runs, report, ...options }: RandomOptions): Promise<void> {
  const first = Number(seed ?? Date.now() % 1_000_000);
  for (let run = 0; run < runs; run += 1)
    report(`${options.mode} ${options.plane} random --seed ${first + run}`, await randomRun(first + run, options));
}

async function randomRun(
  seed: number,
  { felix, mode, plane }: Omit<RandomOptions, 'seed' | 'runs' | 'report'>,
): Promise<string[]> {
  const dice = new Dice(seed);
  const parameters = randomParameters(dice);
  const cluster = new RandomCluster(dice);
  const nodes: FelixNode[] = [];
  try {
    for (const _ of ['Felix', 'ours']) nodes.push(await FelixNode.create(`${HOST_SCRIPT}\n${SENTINEL_LINK}`));
    const first = cluster.first();
    for (const [index, node] of nodes.entries()) {
      await node.apply([...INITIAL, ...first.apply]);
      await node.start({ felix, mode, plane: index === 0 ? 'internal' : plane, parameters });
    }
    for (let step = 1; step <= STEPS; step += 1) {
      const change = cluster.next();
      for (const node of nodes) {
        await node.apply(change.apply);
        await node.delete(change.remove);
        await node.apply(sentinels(step));
      }
      const difference = await settled(nodes, mode, step);
      if (difference === '') continue;
      const told = nodes.map((node) => problems(node.felix?.output ?? '')).join('\n--\n');
      return [`step ${step} ${JSON.stringify(parameters)}\n${difference}\n${told}`];
    }
    return [];
  } finally {
    for (const node of nodes) await node.remove();
  }
}

function problems(output: string): string {
  return output
    .split('\n')
    .filter((line) => !/"level":[123]0/.test(line) && !/^\t|^goroutine|^github|^created by|^$/.test(line))
    .slice(-25)
    .map((line) => line.slice(0, 400))
    .join('\n');
}

/** Waits until both kernels show the step, are the same and at rest; else how they differ, `-` for Felix's. */
async function settled(nodes: readonly FelixNode[], mode: Mode, step: number): Promise<string> {
  const end = Date.now() + PATIENCE_MS;
  let before = '';
  for (;;) {
    const dumps = await Promise.all(nodes.map((node) => node.dump(mode)));
    const missing = dumps.map((dump) => missingTraces(dump, mode, step));
    const [felix = {}, ours = {}] = dumps.map((dump) => withoutDifferences(dump, mode)) as [KernelDump, KernelDump];
    const now = JSON.stringify(dumps);
    const hasArrived = missing.every((each) => each.length === 0);
    if (hasArrived && now === before && differingFiles(felix, ours).length === 0) return '';
    if (nodes.some((node) => node.hasEnded)) return 'a Felix ended';
    if (Date.now() > end)
      return `not seen: Felix ${missing[0]?.join(' ')}, ours ${missing[1]?.join(' ')}\n${differenceText(felix, ours)}`;
    before = now;
  }
}
