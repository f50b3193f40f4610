// Random resources and parameters in two nodes at once: Felix with its own dataplane in one, with this driver in the
// other. After each step both kernels have to be the same.
import type { Mode } from '../fixtures/recording.js';
import type { KernelDump } from '../kernel/support/dump.js';
import { FelixNode, type Plane } from './felix-node.js';
import { withoutDifferences, withoutShaping, withoutWords } from './known-differences.js';
import { Dice, HOST_SCRIPT, RandomCluster, randomParameters } from './random-resources.js';
import { hostEvent } from './random-host.js';
import { INITIAL, type Resource } from './resources.js';
import type { RunOptions } from './run-options.js';
import { missingTraces, SENTINEL_LINK, sentinels } from './sentinel.js';
import { differenceText, differingFiles } from './text.js';

/** What is run. */
export interface RandomOptions extends RunOptions {
  readonly plane: Plane;
}

const STEPS = 6;
const SIGNALS = ['SIGTERM', 'SIGKILL'] as const;
const PATIENCE_MS = 40_000;
const WORDS_MS = 6_000;

/** What happened in a run. */
interface History {
  hasRestarted: boolean;
  hasLostInterface: boolean;
}

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
  let parameters = randomParameters(dice);
  const history: History = { hasRestarted: false, hasLostInterface: false };
  const cluster = new RandomCluster(dice);
  const nodes: FelixNode[] = [];
  const start = (node: FelixNode, index: number, parameters: Record<string, string>): Promise<void> =>
    node.start({
      felix,
      mode,
      plane: index === 0 ? 'internal' : plane,
      parameters: { ...parameters, EndpointReportingEnabled: 'true', EndpointReportingDelaySecs: '0.05' },
    });
  try {
    for (const _ of ['Felix', 'ours']) nodes.push(await FelixNode.create(`${HOST_SCRIPT}\n${SENTINEL_LINK}`));
    const first = cluster.first();
    for (const [index, node] of nodes.entries()) {
      await node.apply([...INITIAL, ...first.apply]);
      await start(node, index, parameters);
    }
    for (let step = 1; step <= STEPS; step += 1) {
      const change = cluster.next();
      const event = dice.chance(60) ? [hostEvent(dice), hostEvent(dice)].join('\n') : '';
      const again = dice.chance(30) ? randomParameters(dice) : null;
      if (again !== null) [parameters, history.hasRestarted] = [again, true];
      if (event.includes('link del')) history.hasLostInterface = true;
      for (const [index, node] of nodes.entries()) {
        // An event just before the end of Felix might be seen by one and not by the other.
        if (again !== null) await node.stop(dice.pick(SIGNALS));
        await node.namespace.shell(event);
        if (again !== null) await start(node, index, parameters);
        await node.apply(change.apply);
        await node.delete(change.remove);
        await node.apply(sentinels(step));
      }
      const difference = await settled(nodes, mode, step, (dump) => comparable(dump, mode, history, cluster.resources));
      if (difference === '') continue;
      const told = nodes.map((node) => problems(node.felix?.output ?? '')).join('\n--\n');
      return [`step ${step} ${JSON.stringify(parameters)}\n${event}\n${difference}\n${told}`];
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
    .slice(-12)
    .map((line) => line.slice(0, 400))
    .join('\n');
}

/** Kernel and statuses of a node. */
async function dumpAll(node: FelixNode, mode: Mode): Promise<KernelDump> {
  return { ...(await node.dump(mode)), ...(await node.statuses()) };
}

/**
 * Static neighbours go with their interface, not with their endpoint. When both change at once it is chance, in Felix as
 * here, whether the new interface still got those that nobody wants any more.
 */
function withoutStaleNeighbours(dump: KernelDump, resources: readonly Resource[]): KernelDump {
  const wanted = JSON.stringify(
    [...resources, ...sentinels(0)].map(({ spec }) => [spec?.['ipNetworks'], spec?.['ipNATs']]),
  );
  const isWanted = (line: string): boolean => !line.includes(' dev cali') || wanted.includes(`"${line.split(' ')[0]}`);
  return { ...dump, neigh: (dump['neigh'] ?? '').split('\n').filter(isWanted).join('\n') };
}

/**
 * A dump without deliberate differences, and without the statuses in etcd of endpoints that are gone: Felix clears those
 * away that an earlier run of it left, but with an external driver it does not (docs/conformance.md).
 */
function comparable(dump: KernelDump, mode: Mode, history: History, resources: readonly Resource[]): KernelDump {
  const known = withoutDifferences(dump, mode);
  const rest = history.hasLostInterface ? withoutStaleNeighbours(withoutShaping(known), resources) : known;
  if (!history.hasRestarted) return rest;
  const names = [...resources, ...sentinels(0)].map(({ kind, metadata, spec }) =>
    kind === 'HostEndpoint' ? `/endpoint/${metadata.name} ` : `/${metadata.namespace}%2f${String(spec?.['pod'])}/`,
  );
  const lines = (dump['status-etcd'] ?? '').split('\n').filter((line) => names.some((name) => line.includes(name)));
  return { ...rest, 'status-etcd': lines.join('\n') };
}

/** Waits until both nodes show the step, are the same and at rest; else how they differ, `-` for Felix's. */
async function settled(
  nodes: readonly FelixNode[],
  mode: Mode,
  step: number,
  shown: (dump: KernelDump) => KernelDump,
): Promise<string> {
  const start = Date.now();
  let before = '';
  for (;;) {
    const dumps = await Promise.all(nodes.map((node) => dumpAll(node, mode)));
    const missing = dumps.map((dump) => missingTraces(dump, mode, step));
    const [felix = {}, ours = {}] = dumps.map(shown);
    const now = JSON.stringify(dumps);
    const isAtRest = missing.every((each) => each.length === 0) && now === before;
    if (isAtRest && differingFiles(felix, ours).length === 0) return '';
    if (
      isAtRest &&
      Date.now() > start + WORDS_MS &&
      differingFiles(withoutWords(felix), withoutWords(ours)).length === 0
    ) {
      console.log(`${mode} step ${step}: equal but for words of comments`);
      return '';
    }
    if (nodes.some((node) => node.hasEnded)) return 'a Felix ended';
    if (Date.now() > start + PATIENCE_MS)
      return `not seen: Felix ${missing[0]?.join(' ')}, ours ${missing[1]?.join(' ')}\n${differenceText(felix, ours)}`;
    before = now;
  }
}
