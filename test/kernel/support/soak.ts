// A soak: random updates as fast as the driver takes them, then the kernel is compared with what a fresh driver makes of
// the final state in another namespace, and the driver's own resources with what they were after warm-up.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { InSyncSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { encodeToDataplane } from '../../../src/protocol/messages.js';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { processTree } from '../../../bench/usage.js';
import { loadRecording, type Mode, splitFrames } from '../../fixtures/recording.js';
import { workload, workloadRemove } from '../../fakes/messages.js';
import { DriverProcess, modeParameters, waitFor, withParameters } from './driver-process.js';
import { dumpKernel, type KernelDump } from './dump.js';
import { type Heap, Heaps } from './heap.js';
import { createNamespace, type Namespace } from './namespace.js';
import { withoutHistory } from './pairs.js';
import { RandomNode, type RandomNodeSize } from './random-node.js';
import type { SeededRandom } from './random.js';

/** What a soak does. */
export interface SoakOptions {
  readonly mode: Mode;
  readonly updates: number;
  /** Updates are sent in bursts of one up to so many; each burst is in force before the next is sent. */
  readonly burst: number;
  readonly size: RandomNodeSize;
  readonly samples: number;
  /** Also look into the heaps after the first sample, and into the broker's. Each look takes seconds. */
  readonly comparesHeaps?: boolean;
  readonly environment?: Record<string, string>;
  /** Felix parameters besides those of the mode. */
  readonly parameters?: Record<string, string>;
  say(line: string): void;
}

/** Resources of the driver and its children at one moment. */
export interface SoakSample {
  readonly updates: number;
  readonly residentMiB: number;
  readonly processes: number;
  readonly descriptors: number;
}

/** What a soak found. */
export interface SoakReport {
  readonly seed: number;
  readonly updates: number;
  readonly bursts: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly samples: readonly SoakSample[];
  /** Live JavaScript objects, after warm-up (the first sample) and in the end. */
  readonly liveKiB: { readonly warm: number | null; readonly end: number };
  /** Texts found in the heaps in the end that hold the name of what was gone at the last sample but one. */
  readonly remembered: readonly string[];
  /** What the kernel holds after the soak, and what a fresh start on the final state makes. */
  readonly after: KernelDump;
  readonly fresh: KernelDump;
  /** Log lines of level error and above. */
  readonly errors: readonly string[];
}

/** Readings of resources, 20 ms apart, that make a rest. */
const EQUAL_READINGS = 15;

/** A pod that comes and goes: its status tells that all that was sent before is in force. */
const MARKER = 'default/marker';

function frames(messages: readonly DataplaneMessage[]): Buffer[] {
  return messages.flatMap((message) =>
    message.case === undefined ? [] : [Buffer.from(encodeToDataplane(message, 0n))],
  );
}

function hostScript(pods: number): string {
  const links = Array.from({ length: pods }, (_, pod) => `link add cali${pod} type veth peer name p${pod}`);
  return [
    // Link-local addresses would be news of their own for seconds.
    'sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.all.accept_dad=0',
    `ip -batch - <<'END'\n${links.join('\n')}\nlink add calimarker type veth peer name pmarker\nlink set group default up\nEND`,
  ].join('\n');
}

/** iptables-restore that is kept open comes when it is first needed, which is seldom, and goes after so many bytes. */
const KEPT_OPEN = /^ip6?tables-/;
/** Its input and output in the broker. */
const DESCRIPTORS_OF_KEPT_OPEN = 2;

function sampleOf(pid: number, updates: number): SoakSample {
  let residentKiB = 0;
  let descriptors = 0;
  let processes = 0;
  for (const member of processTree(pid)) {
    try {
      residentKiB += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${member}/status`, 'utf8'))?.[1] ?? 0);
      if (KEPT_OPEN.test(readFileSync(`/proc/${member}/comm`, 'utf8'))) {
        descriptors -= DESCRIPTORS_OF_KEPT_OPEN;
        continue;
      }
      descriptors += readdirSync(`/proc/${member}/fd`).length;
      processes += 1;
    } catch (error) {
      // A tool that ended meanwhile.
      if (!(error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')))
        throw error;
    }
  }
  return { updates, residentMiB: Math.round(residentKiB / 1024), processes, descriptors };
}

/** A sample at rest: tools that are started for a moment are over. */
export async function sampleAtRest(pid: number, updates: number): Promise<SoakSample> {
  let last = sampleOf(pid, updates);
  let equal = 0;
  await waitFor(
    () => {
      const now = sampleOf(pid, updates);
      equal = now.processes === last.processes && now.descriptors === last.descriptors ? equal + 1 : 0;
      last = now;
      return equal >= EQUAL_READINGS;
    },
    () => `processes come and go: ${JSON.stringify(last)}`,
  );
  return last;
}

/** What a driver is started with. */
export type SoakDriverOptions = Pick<SoakOptions, 'mode' | 'size' | 'environment' | 'parameters'>;

/** A driver on a node of its own. */
export class SoakDriver {
  readonly namespace: Namespace;
  readonly driver: DriverProcess;
  #isMarked = false;

  private constructor(namespace: Namespace, driver: DriverProcess) {
    this.namespace = namespace;
    this.driver = driver;
  }

  static async start(
    options: SoakDriverOptions,
    snapshot: readonly DataplaneMessage[],
    more: Record<string, string> = {},
  ): Promise<SoakDriver> {
    const namespace = await createNamespace('soak');
    const environment = { DATAPLANE_LOG_LEVEL: 'error', ...options.environment, ...more };
    const soak = new SoakDriver(namespace, new DriverProcess(namespace, environment));
    try {
      await namespace.shell(hostScript(options.size.pods));
      const opening = withParameters(splitFrames(loadRecording('policy-groups').stream).slice(0, 4), {
        ...modeParameters(options.mode),
        ...options.parameters,
      });
      const inSync = encodeToDataplane({ case: 'inSync', value: create(InSyncSchema) }, 0n);
      soak.driver.send([...opening, ...frames(snapshot), inSync]);
      await waitFor(
        () => soak.driver.inSync,
        () => `not in sync\n${soak.driver.rawOutput}`,
        60_000,
      );
      await soak.settle([]);
      return soak;
    } catch (error) {
      await soak.end();
      throw error;
    }
  }

  /** Sends messages and waits until they are in force. */
  async settle(messages: readonly DataplaneMessage[]): Promise<void> {
    this.#isMarked = !this.#isMarked;
    const marker = this.#isMarked
      ? workload(MARKER, 'calimarker', { ipv4Nets: ['10.64.0.1/32'], mac: 'ee:ee:ee:ee:01:01' })
      : workloadRemove(MARKER);
    const { driver } = this;
    // Only what is new is looked at, and it is not needed any more.
    driver.received.length = 0;
    driver.send(frames([...messages, marker]));
    const isDone = (): boolean =>
      driver.received.some(({ payload }) =>
        this.#isMarked
          ? payload.case === 'workloadEndpointStatusUpdate' &&
            payload.value.id?.workloadId === MARKER &&
            payload.value.status?.status === 'up'
          : payload.case === 'workloadEndpointStatusRemove' && payload.value.id?.workloadId === MARKER,
      );
    await waitFor(
      () => {
        if (!driver.isRunning) throw new Error(`the driver ended\n${driver.rawOutput}`);
        return isDone();
      },
      () => `the driver does not take over what it was sent\n${JSON.stringify(driver.logs.slice(-5))}`,
      60_000,
    );
  }

  /** The marker pod stays. */
  async withMarker(): Promise<void> {
    if (!this.#isMarked) await this.settle([]);
  }

  async end(): Promise<void> {
    await this.driver.stop();
    await this.namespace.remove();
  }
}

/** State of the kernel without what a pod's interface keeps of endpoints that it had. */
async function stateOf(namespace: Namespace, mode: Mode, interfaces: ReadonlySet<string>): Promise<KernelDump> {
  const dump = withoutHistory(await dumpKernel(namespace, mode));
  const rows = (dump['sysctl'] ?? '').split('\n').filter((line) => {
    const name = /conf\.(cali\S+?)\.[a-z_]+ =/.exec(line)?.[1];
    return name === undefined || interfaces.has(name);
  });
  return { ...dump, sysctl: rows.join('\n') };
}

/** Takes the samples of a run, and looks into the heaps at the first and after the last. */
class SoakWatch {
  readonly samples: SoakSample[] = [];
  readonly #heaps = new Heaps();
  readonly #node: RandomNode;
  readonly #options: SoakOptions;
  #warmKiB: number | null = null;
  #gone: readonly string[] = [];
  #goneBefore: readonly string[] = [];

  constructor(node: RandomNode, options: SoakOptions) {
    this.#node = node;
    this.#options = options;
  }

  get environment(): Record<string, string> {
    return this.#heaps.environment;
  }

  async sample(pid: number, updates: number): Promise<void> {
    const sample = await sampleAtRest(pid, updates);
    this.samples.push(sample);
    this.#goneBefore = this.#gone;
    this.#gone = this.#node.gone;
    this.#options.say(JSON.stringify(sample));
    // Afterwards, because a snapshot needs memory of its own.
    if (this.samples.length === 1 && this.#options.comparesHeaps === true)
      this.#warmKiB = (await this.#look(pid)).liveKiB;
  }

  /** Which names of things long gone are still there, and how much is alive. */
  async end(pid: number): Promise<Pick<SoakReport, 'liveKiB' | 'remembered'>> {
    const { liveKiB, strings } = await this.#look(pid);
    const remembered = strings.filter((text) => this.#goneBefore.some((name) => text.includes(name)));
    return { liveKiB: { warm: this.#warmKiB, end: liveKiB }, remembered };
  }

  remove(): void {
    this.#heaps.remove();
  }

  async #look(pid: number): Promise<Heap> {
    let liveKiB = 0;
    const strings: string[] = [];
    for (const member of this.#options.comparesHeaps === true ? nodeProcesses(pid) : [pid]) {
      const heap = await this.#heaps.take(member);
      liveKiB += heap.liveKiB;
      strings.push(...heap.strings);
    }
    return { liveKiB, strings };
  }
}

/** The driver and its broker; tools that are kept open are no Node. */
export function nodeProcesses(pid: number): number[] {
  return processTree(pid).filter((member) => readlinkSync(`/proc/${member}/exe`) === process.execPath);
}

async function play(
  options: SoakOptions,
  node: RandomNode,
  random: SeededRandom,
  watch: SoakWatch,
  first: SoakDriver,
): Promise<Pick<SoakReport, 'updates' | 'bursts'>> {
  const every = options.updates / options.samples;
  let updates = 0;
  let bursts = 0;
  while (updates < options.updates) {
    const messages: DataplaneMessage[] = [];
    const burst = Math.min(1 + random.integer(options.burst), options.updates - updates);
    for (let count = 0; count < burst; count++) messages.push(...node.update());
    updates += burst;
    bursts += 1;
    await first.settle(messages);
    if (watch.samples.length < Math.floor(updates / every)) await watch.sample(first.driver.pid, updates);
  }
  await first.withMarker();
  return { updates, bursts };
}

/** Runs a soak and leaves nothing behind. */
export async function soak(options: SoakOptions, random: SeededRandom): Promise<SoakReport> {
  const node = new RandomNode(options.size, random);
  const watch = new SoakWatch(node, options);
  const running: SoakDriver[] = [];
  try {
    const first = await SoakDriver.start(options, node.snapshot(), watch.environment);
    running.push(first);
    const { updates, bursts } = await play(options, node, random, watch, first);
    const fresh = await SoakDriver.start(options, node.snapshot());
    running.push(fresh);
    const interfaces = new Set(node.interfaces);
    const expected = await stateOf(fresh.namespace, options.mode, interfaces);
    let after: KernelDump = {};
    // What is deleted only behind an apply, one after the other, as sets are (ten a second), may still be on its way: a
    // long run leaves hundreds.
    await waitFor(
      async () => {
        after = await stateOf(first.namespace, options.mode, interfaces);
        return JSON.stringify(sortedFiles(after)) === JSON.stringify(sortedFiles(expected));
      },
      () => 'kernel differs',
      120_000,
    ).catch(() => undefined);
    const heaps = await watch.end(first.driver.pid);
    return {
      seed: random.seed,
      updates,
      bursts,
      counts: node.counts,
      samples: watch.samples,
      ...heaps,
      after,
      fresh: expected,
      errors: first.driver.logs.filter((line) => Number(line['level']) >= 50).map((line) => JSON.stringify(line)),
    };
  } finally {
    watch.remove();
    for (const one of running) await one.end();
  }
}

function sortedFiles(dump: KernelDump): [string, string][] {
  return Object.entries(dump).sort(([a], [b]) => (a < b ? -1 : 1));
}
