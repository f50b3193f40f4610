// Plays recordings one after the other into one namespace and compares with what the last one makes alone.
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { loadRecording, type Mode, recordingNames } from '../../fixtures/recording.js';
import { DIFFERENCES } from './differences.js';
import { DriverProcess, waitFor } from './driver-process.js';
import { dumpKernel, type KernelDump } from './dump.js';
import { expectState } from './kernel-state.js';
import { createNamespace, type Namespace } from './namespace.js';
import { Program, temporaryFolder } from './program.js';
import type { SeededRandom } from './random.js';
import { expectedDump, expectKernel, quiet, recordingFrames } from './replay.js';
import { TestControl } from './sessions.js';

/** `second` is played where `first` was played before. */
interface Pair {
  readonly first: string;
  readonly second: string;
}

/**
 * Ordered pairs of different names, each with the `reach` that follow it in the circle, so that each pair begins where
 * the one before it ended: a Eulerian circuit.
 */
function pairsOnCircle(names: readonly string[], reach: number): Pair[] {
  const followers = (index: number): string[] =>
    Array.from({ length: reach }, (_, step) => names[(index + step + 1) % names.length] ?? '');
  const open = new Map(names.map((name, index) => [name, followers(index)]));
  const circuit: string[] = [];
  const path = names.slice(0, 1);
  for (let at = path.at(-1); at !== undefined; at = path.at(-1)) {
    const next = open.get(at)?.pop();
    if (next === undefined) circuit.unshift(path.pop() ?? at);
    else path.push(next);
  }
  return circuit.slice(1).map((second, index) => ({ first: circuit[index] ?? '', second }));
}

/**
 * Takes the links of the host away, as a new boot of its pods and NICs would. What the driver made itself stays: rules,
 * sets, blackholes, routing rules and tunnel devices. As a group the kernel waits once for all of them, not for each.
 */
const REMOVE_LINKS = `
for path in /sys/class/net/*; do
  name=\${path##*/}
  case $name in lo|vxlan*.calico|tunl0|wireguard.cali|wg-v6.cali|bonding_masters) ;; *) echo "link set $name group 77" ;; esac
done | ip -batch -
if [ -n "$(ip -o link show group 77)" ]; then ip link del group 77; fi`;

/**
 * A permanent neighbour outlives its pod for as long as the link is there (Felix keeps it too), so which of them ever
 * came to be depends on the batches. Only those of routed addresses are the state. Statuses are not part of it either.
 */
export function withoutHistory(dump: KernelDump): KernelDump {
  const { neigh = '', ...kernel } = dump;
  delete kernel['status'];
  const routed = new Set(
    [...`${dump['route4'] ?? ''}${dump['route6'] ?? ''}`.matchAll(/^(\S+) dev (\S+)/gm)].map(
      ([, address = '', device = '']) => `${address} ${device}`,
    ),
  );
  const kept = neigh.split('\n').filter((line) => {
    const [, address = '', device = ''] = /^(\S+) dev (\S+) .*PERMANENT$/.exec(line) ?? [];
    return address === '' || routed.has(`${address} ${device}`);
  });
  const text = kept.join('\n');
  return text === '' ? kernel : { ...kernel, neigh: text };
}

/** Plays a recording in a namespace and waits until the kernel is as expected. */
type Play = (namespace: Namespace, name: string, mode: Mode, expected: KernelDump) => Promise<void>;

/** A namespace in which recordings are played in turn, each by a dataplane of its own. */
class Stage {
  readonly #mode: Mode;
  readonly #play: Play;
  /** What recordings that Felix cannot play make by themselves. */
  readonly #alone = new Map<string, KernelDump>();
  #namespace: Namespace | null = null;
  /** Name of what was played last. */
  #last: string | null = null;

  constructor(mode: Mode, play: Play) {
    this.#mode = mode;
    this.#play = play;
  }

  /** Plays both, the first only if it was not played last, and checks the state after the second. */
  async check({ first, second }: Pair): Promise<void> {
    if (this.#last !== first) await this.#next(first);
    await this.#next(second);
  }

  async close(): Promise<void> {
    await this.#namespace?.remove();
    this.#namespace = null;
  }

  async #next(name: string): Promise<void> {
    this.#namespace ??= await createNamespace('pairs');
    // After a failure nothing is known of what was played last.
    this.#last = null;
    await this.#play(this.#namespace, name, this.#mode, await this.#expected(name));
    this.#last = name;
  }

  async #expected(name: string): Promise<KernelDump> {
    const recording = loadRecording(name);
    const step = recording.steps.steps.length - 1;
    const folder = `${String(step).padStart(2, '0')}-${recording.steps.steps[step]?.name ?? ''}`;
    if (recording.expected[this.#mode] !== undefined)
      return withoutHistory(expectedDump(recording, this.#mode, folder, DIFFERENCES[this.#mode]));
    const known = this.#alone.get(name);
    if (known !== undefined) return known;
    const namespace = await createNamespace('alone');
    try {
      await playAsProcess(namespace, name, this.#mode, null);
      const dump = withoutHistory(await dumpKernel(namespace, this.#mode));
      this.#alone.set(name, dump);
      return dump;
    } finally {
      await namespace.remove();
    }
  }
}

/** Starts a driver on fresh links, sends the whole stream and waits for the expected state, or for rest. */
async function playAsProcess(
  namespace: Namespace,
  name: string,
  mode: Mode,
  expected: KernelDump | null,
): Promise<void> {
  const recording = loadRecording(name);
  await namespace.shell(`${REMOVE_LINKS}\n${recording.hostScript}`);
  const driver = new DriverProcess(namespace);
  try {
    driver.send(recordingFrames(recording, mode));
    await waitFor(
      () => driver.inSync,
      () =>
        `${name} is not in sync\n${driver.rawOutput}${driver.logs
          .slice(-5)
          .map((line) => JSON.stringify(line))
          .join('\n')}`,
    );
    if (expected === null) await quiet(driver);
    else await expectKernel(namespace, driver, mode, expected, -1, { normalise: withoutHistory });
  } finally {
    const { code } = await driver.stop();
    expect(code, driver.rawOutput).toBe(0);
  }
}

/**
 * One service for all recordings: each is a session, for which it builds a new dataplane over the kernel as it stands. It
 * spares the two starts of a process for each recording, and the kernel cannot tell it from a restart.
 */
class PairService {
  readonly #folder = temporaryFolder();
  #program: Program | null = null;
  #sessions = 0;

  readonly play: Play = async (namespace, name, mode, expected) => {
    const recording = loadRecording(name);
    await namespace.shell(`${REMOVE_LINKS}\n${recording.hostScript}`);
    const path = join(this.#folder.path, 'driver.sock');
    const program = (this.#program ??= new Program(['serve', '--listen', `unix:${path}`], {
      enter: namespace.enter,
      environment: { DATAPLANE_LOG_LEVEL: 'info' },
    }));
    await program.logged('felix-dataplane serves');
    const control = await TestControl.dial(path);
    try {
      control.send(recordingFrames(recording, mode));
      await control.waitInSync(() => `${name} is not in sync\n${program.transcript()}`);
      const place = { namespace, mode, normalise: withoutHistory, describe: () => program.transcript() };
      await expectState(place, expected);
    } finally {
      await control.session.close();
      this.#sessions += 1;
      await program.logged('The control plane is gone; everything stays in force', this.#sessions - 1);
    }
  };

  async close(): Promise<void> {
    const exit = await this.#program?.stop();
    this.#folder.remove();
    if (exit !== undefined) expect(exit).toEqual({ code: 0, signal: null });
  }
}

/**
 * Registers tests for half of all ordered pairs of recordings, drawn at random, those too on which Felix fails in the
 * mode. Between two recordings the dataplane is built anew in one process.
 */
export function testHalfOfPairs(mode: Mode, random: SeededRandom): void {
  const service = new PairService();
  const stage = new Stage(mode, service.play);
  afterAll(async () => {
    await service.close();
    await stage.close();
  });
  const names = random.shuffle(recordingNames());
  testPairs(stage, pairsOnCircle(names, names.length >> 1));
}

/** Registers tests for `count` pairs drawn at random, with a new process for each recording. */
export function testSomePairs(mode: Mode, count: number, random: SeededRandom): void {
  const stage = new Stage(mode, playAsProcess);
  afterAll(() => stage.close());
  const names = recordingNames();
  let first = random.pick(names);
  const pairs = Array.from({ length: count }, () => {
    const pair = { first, second: random.pick(names.filter((name) => name !== first)) };
    first = pair.second;
    return pair;
  });
  testPairs(stage, pairs);
}

function testPairs(stage: Stage, pairs: readonly Pair[]): void {
  for (const pair of pairs) test(`${pair.second} after ${pair.first} is as alone`, () => stage.check(pair));
}
