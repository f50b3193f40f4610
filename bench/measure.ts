// One run: builds the node, plays it into the driver and measures every figure of the table.
import type { Mode } from '../test/fixtures/recording.js';
import { createNamespace, type Namespace } from '../test/kernel/support/namespace.js';
import { MeasuredDriver } from './driver.js';
import { nowNs, ProbePair } from './probe-pair.js';
import { measureRawFloor, type RawFloor, readKernel } from './raw-floor.js';
import { podName, SyntheticNode } from './synthetic-node.js';
import { cpuSeconds, memoryUse } from './usage.js';

/** What a run is to do. */
export interface RunOptions {
  readonly pods: number;
  /** Policies, and sets. */
  readonly policies: number;
  readonly mode: Mode;
  readonly kernelDriver: string;
  /** Milliseconds between updates. */
  readonly gapMs: number;
  readonly updates: number;
  readonly idleMs: number;
  readonly profileFolder?: string | undefined;
  readonly logLevel: string;
}

/** Figures of a run; milliseconds, seconds and MiB as the names say. */
export interface RunResult {
  readonly pods: number;
  readonly policies: number;
  readonly mode: Mode;
  readonly kernelDriver: string;
  readonly startS: number;
  readonly startCpuS: number;
  readonly restartS: number;
  readonly restartCpuS: number;
  readonly policyEditMs: Spread;
  readonly setMemberMs: Spread;
  readonly podAddMs: Spread;
  readonly cpuPerUpdateMs: number;
  readonly stormS: number;
  readonly stormCpuS: number;
  readonly idlePercent: number;
  /** Of both processes: the one that loaded the rules, and the one that took them over and had the updates. */
  readonly peakMiB: number;
  readonly residentMiB: number;
  readonly treeMiB: number;
  readonly raw: RawFloor;
}

/** Least, median and greatest of several measurements. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

const START_TIMEOUT_MS = 180_000;
/** The kernel goes on working on new links (addresses, neighbours, work queues) when they are up; a real node's are old. */
const SETTLE_MS = 3_000;

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    min: sorted[0] ?? 0,
    median: ((sorted[(sorted.length - 1) >> 1] ?? 0) + (sorted[sorted.length >> 1] ?? 0)) / 2,
    max: sorted.at(-1) ?? 0,
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Waits until all links are operationally up: the kernel makes them so in the background, a hundred a second
 * (net/core/link_watch.c), and until then an endpoint is down whatever a driver does.
 */
async function untilRunning(namespace: Namespace): Promise<void> {
  for (let attempt = 0; attempt < 3_000; attempt++) {
    const links = (await namespace.run(['ip', '-o', 'link', 'show', 'type', 'veth'])).split('\n');
    if (links.every((link) => link === '' || link.includes(' state UP '))) return;
    await pause(100);
  }
  throw new Error('Not all links are up after five minutes');
}

async function start(
  namespace: Namespace,
  node: SyntheticNode,
  options: RunOptions,
): Promise<{ driver: MeasuredDriver; seconds: number; cpu: number }> {
  const snapshot = node.snapshot(options.mode);
  const driver = new MeasuredDriver(namespace, options);
  const names = Array.from({ length: node.pods }, (_, pod) => podName(pod));
  const up = driver.untilUp([...names, 'default/sender', 'default/receiver'], true, START_TIMEOUT_MS);
  driver.send(snapshot);
  const upNs = await up;
  return { driver, seconds: (upNs - driver.startedNs) / 1e9, cpu: cpuSeconds(driver.pid) };
}

async function measureUpdates(
  driver: MeasuredDriver,
  node: SyntheticNode,
  options: RunOptions,
  probes: ProbePair,
): Promise<Pick<RunResult, 'policyEditMs' | 'setMemberMs' | 'podAddMs' | 'cpuPerUpdateMs'>> {
  const policyEdits: number[] = [];
  const members: number[] = [];
  const pods: number[] = [];
  const cpuBefore = cpuSeconds(driver.pid);
  let updates = 0;
  const flip = async (make: (on: boolean) => Buffer, times: number[]): Promise<void> => {
    for (let index = 0; index < options.updates; index++) {
      const on = index % 2 === 0;
      const sentNs = driver.send([make(on)]);
      times.push(await (on ? probes.untilAllowed(sentNs) : probes.untilDropped(sentNs)));
      updates += 1;
      await pause(options.gapMs);
    }
  };
  await flip((on) => node.probePolicy(on), policyEdits);
  await flip((on) => node.probeMember(on), members);
  for (let index = 0; index < options.updates / 2; index++) {
    driver.send([node.podRemove(index)]);
    await pause(options.gapMs);
    const up = driver.untilUp([podName(index)], false, START_TIMEOUT_MS);
    const sentNs = driver.send([node.podUpdate(index, 0)]);
    pods.push(((await up) - sentNs) / 1e6);
    updates += 2;
    await pause(options.gapMs);
  }
  return {
    policyEditMs: spread(policyEdits),
    setMemberMs: spread(members),
    podAddMs: spread(pods),
    cpuPerUpdateMs: ((cpuSeconds(driver.pid) - cpuBefore) * 1000) / updates,
  };
}

async function measureStorm(
  driver: MeasuredDriver,
  node: SyntheticNode,
): Promise<Pick<RunResult, 'stormS' | 'stormCpuS'>> {
  const quarter = Array.from({ length: Math.floor(node.pods / 4) }, (_, pod) => pod);
  const frames = quarter.map((pod) => node.podRemove(pod));
  for (let policy = 0; policy < node.policies; policy++) frames.push(node.policy(policy, 11));
  frames.push(...quarter.map((pod) => node.podUpdate(pod, 1)));
  const cpuBefore = cpuSeconds(driver.pid);
  const up = driver.untilUp(quarter.map(podName), false, START_TIMEOUT_MS);
  const sentNs = driver.send(frames);
  const stormS = ((await up) - sentNs) / 1e9;
  await pause(3_000);
  return { stormS, stormCpuS: cpuSeconds(driver.pid) - cpuBefore };
}

async function measureIdle(driver: MeasuredDriver, idleMs: number): Promise<number> {
  const cpuBefore = cpuSeconds(driver.pid);
  const startNs = nowNs();
  await pause(idleMs);
  return ((cpuSeconds(driver.pid) - cpuBefore) / ((nowNs() - startNs) / 1e9)) * 100;
}

/** Runs everything and leaves nothing behind. `say` is told what is under way. */
export async function measure(options: RunOptions, say: (line: string) => void): Promise<RunResult> {
  const node = new SyntheticNode(options.pods, options.policies);
  const spaces: Namespace[] = [];
  const space = async (purpose: string): Promise<Namespace> => {
    const made = await createNamespace(purpose);
    spaces.push(made);
    return made;
  };
  let driver: MeasuredDriver | null = null;
  let probes: ProbePair | null = null;
  try {
    const namespaces = { sender: (await space('bsend')).name, receiver: (await space('brecv')).name };
    const host = await space('bench');
    const plain = await space('bplain');
    say('building the node');
    await host.shell(node.hostScript(namespaces));
    await untilRunning(host);
    await pause(SETTLE_MS);
    const first = await start(host, node, options);
    driver = first.driver;
    say(`start ${first.seconds.toFixed(2)} s, CPU ${first.cpu.toFixed(2)} s`);
    await pause(1_000);
    const firstPeakMiB = memoryUse(driver.pid).peak;
    await driver.stop();
    const second = await start(host, node, options);
    driver = second.driver;
    say(`restart ${second.seconds.toFixed(2)} s, CPU ${second.cpu.toFixed(2)} s`);
    await pause(2_000);
    probes = await ProbePair.start(namespaces);
    await pause(1_000);
    const updates = await measureUpdates(driver, node, options, probes);
    say(`updates ${JSON.stringify(updates)}`);
    probes.stop();
    const storm = await measureStorm(driver, node);
    say(`storm ${JSON.stringify(storm)}`);
    const idlePercent = await measureIdle(driver, options.idleMs);
    const memory = memoryUse(driver.pid);
    say(`idle ${idlePercent.toFixed(2)} %, memory ${JSON.stringify(memory)}`);
    await driver.stop();
    const raw = await measureRawFloor(plain, options.mode, await readKernel(host, options.mode));
    say(`raw ${JSON.stringify(raw)}`);
    return {
      pods: options.pods,
      policies: options.policies,
      mode: options.mode,
      kernelDriver: options.kernelDriver,
      startS: first.seconds,
      startCpuS: first.cpu,
      restartS: second.seconds,
      restartCpuS: second.cpu,
      ...updates,
      ...storm,
      idlePercent,
      peakMiB: Math.max(firstPeakMiB, memory.peak),
      residentMiB: memory.resident,
      treeMiB: memory.tree,
      raw,
    };
  } finally {
    probes?.stop();
    await driver?.stop();
    for (const made of spaces) await made.remove();
  }
}
