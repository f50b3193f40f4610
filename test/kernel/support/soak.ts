// A soak: random updates as fast as the driver takes them, then the kernel is compared with what a fresh driver makes of
// the final state in another namespace, and the driver's own resources with what they were after warm-up.
import { readdirSync, readFileSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { InSyncSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { encodeToDataplane } from '../../../src/protocol/messages.js';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { processTree } from '../../../bench/usage.js';
import { loadRecording, type Mode, splitFrames } from '../../fixtures/recording.js';
import { workload, workloadRemove } from '../../fakes/messages.js';
import { DriverProcess, modeParameters, waitFor, withParameters } from './driver-process.js';
import { dumpKernel, type KernelDump } from './dump.js';
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
  readonly environment?: Record<string, string>;
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

function sampleOf(pid: number, updates: number): SoakSample {
  let residentKiB = 0;
  let descriptors = 0;
  let processes = 0;
  for (const member of processTree(pid)) {
    try {
      residentKiB += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${member}/status`, 'utf8'))?.[1] ?? 0);
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
async function sampleAtRest(pid: number, updates: number): Promise<SoakSample> {
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

/** A driver on a node of its own. */
class SoakDriver {
  readonly namespace: Namespace;
  readonly driver: DriverProcess;
  #isMarked = false;

  private constructor(namespace: Namespace, driver: DriverProcess) {
    this.namespace = namespace;
    this.driver = driver;
  }

  static async start(options: SoakOptions, snapshot: readonly DataplaneMessage[]): Promise<SoakDriver> {
    const namespace = await createNamespace('soak');
    const environment = { DATAPLANE_LOG_LEVEL: 'error', ...options.environment };
    const soak = new SoakDriver(namespace, new DriverProcess(namespace, environment));
    try {
      await namespace.shell(hostScript(options.size.pods));
      const opening = withParameters(
        splitFrames(loadRecording('policy-groups').stream).slice(0, 4),
        modeParameters(options.mode),
      );
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

/** Runs a soak and leaves nothing behind. */
export async function soak(options: SoakOptions, random: SeededRandom): Promise<SoakReport> {
  const node = new RandomNode(options.size, random);
  const samples: SoakSample[] = [];
  const running: SoakDriver[] = [];
  try {
    const first = await SoakDriver.start(options, node.snapshot());
    running.push(first);
    let updates = 0;
    let bursts = 0;
    const every = options.updates / options.samples;
    const sample = async (): Promise<void> => {
      samples.push(await sampleAtRest(first.driver.pid, updates));
      options.say(JSON.stringify(samples.at(-1)));
    };
    while (updates < options.updates) {
      const messages: DataplaneMessage[] = [];
      const burst = Math.min(1 + random.integer(options.burst), options.updates - updates);
      for (let count = 0; count < burst; count++) messages.push(...node.update());
      updates += burst;
      bursts += 1;
      await first.settle(messages);
      if (samples.length < Math.floor(updates / every)) await sample();
    }
    await first.withMarker();
    const fresh = await SoakDriver.start(options, node.snapshot());
    running.push(fresh);
    const interfaces = new Set(node.interfaces);
    const expected = await stateOf(fresh.namespace, options.mode, interfaces);
    let after: KernelDump = {};
    // What is deleted only behind an apply, as sets are, may still be on its way.
    await waitFor(
      async () => {
        after = await stateOf(first.namespace, options.mode, interfaces);
        return JSON.stringify(sortedFiles(after)) === JSON.stringify(sortedFiles(expected));
      },
      () => 'kernel differs',
      10_000,
    ).catch(() => undefined);
    return {
      seed: random.seed,
      updates,
      bursts,
      counts: node.counts,
      samples,
      after,
      fresh: expected,
      errors: first.driver.logs.filter((line) => Number(line['level']) >= 50).map((line) => JSON.stringify(line)),
    };
  } finally {
    for (const one of running) await one.end();
  }
}

function sortedFiles(dump: KernelDump): [string, string][] {
  return Object.entries(dump).sort(([a], [b]) => (a < b ? -1 : 1));
}
