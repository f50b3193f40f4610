// Plays a recording into the driver step by step and compares the kernel with what Felix made of the same frames.
import { expect } from 'vitest';
import { loadRecording, type Mode, type Recording, splitFrames } from '../../fixtures/recording.js';
import { DriverProcess, modeParameters, PATIENCE_MS, waitFor, withParameters } from './driver-process.js';
import { dumpKernel, type KernelDump } from './dump.js';
import { createNamespace, type Namespace } from './namespace.js';
import { statusText } from './status.js';

/** A deliberate difference: in this file of this recording, the line `was` is the lines `now`. */
export interface NamedDifference {
  readonly recording: string;
  /** File name without `.txt`. */
  readonly file: string;
  readonly was: string;
  readonly now: readonly string[];
}

/** What a replay compared, for the line that the test prints. */
export interface ReplayReport {
  steps: number;
  files: number;
}

/** What Felix left after a step of a recording, with the deliberate differences applied. */
export function expectedDump(
  recording: Recording,
  mode: Mode,
  step: string,
  differences: readonly NamedDifference[],
): KernelDump {
  const files = recording.expected[mode]?.[step];
  if (files === undefined) throw new Error(`${recording.name} has no ${mode} dump of step ${step}`);
  const dump: KernelDump = {};
  for (const [file, text] of Object.entries(files)) {
    const name = file.replace(/\.txt$/, '');
    const own = differences.filter((difference) => difference.recording === recording.name && difference.file === name);
    const lines = text.split('\n').flatMap((line) => {
      const difference = own.find((candidate) => candidate.was === line);
      return difference === undefined ? [line] : difference.now;
    });
    if (text !== '') dump[name] = lines.join('\n');
  }
  return dump;
}

/** The environment of a driver in tests may name a kernel driver. */
export interface ReplayOptions {
  readonly differences?: readonly NamedDifference[];
  readonly environment?: Record<string, string>;
  /** Leave out the restart over the finished state. */
  readonly withoutRestart?: boolean;
}

/** Frames of a recording, set to a mode. */
export function recordingFrames(recording: Recording, mode: Mode): Buffer[] {
  return withParameters(splitFrames(recording.stream), modeParameters(mode));
}

/** How a comparison is made. */
export interface CompareOptions {
  readonly timeoutMs?: number;
  /** Applied to what the kernel holds before it is compared. */
  readonly normalise?: (dump: KernelDump) => KernelDump;
}

/** Waits until the kernel and the statuses are as expected; fails with a readable diff. */
export async function expectKernel(
  namespace: Namespace,
  driver: DriverProcess,
  mode: Mode,
  expected: KernelDump,
  firstMessage: number,
  { timeoutMs = PATIENCE_MS, normalise = (dump) => dump }: CompareOptions = {},
): Promise<void> {
  let actual: KernelDump = {};
  const current = async (): Promise<KernelDump> => {
    const dump = normalise(await dumpKernel(namespace, mode));
    if ('status' in expected || firstMessage >= 0) {
      const status = statusText(driver.received.slice(Math.max(0, firstMessage)), driver.inSync);
      if (status !== '') dump['status'] = status;
    }
    return dump;
  };
  const same = (): boolean =>
    Object.keys({ ...actual, ...expected }).every((file) => (actual[file] ?? '') === (expected[file] ?? ''));
  try {
    await waitFor(
      async () => {
        const applies = driver.applies;
        actual = await current();
        if (same()) return true;
        driver.assertRunning();
        // Most of what is missing comes with the next apply, and a dump takes the time of a dozen processes.
        await driver.nextApply(applies);
        return false;
      },
      () => 'kernel differs',
      timeoutMs,
    );
  } catch {
    const files = Object.keys({ ...actual, ...expected }).filter(
      (file) => (actual[file] ?? '') !== (expected[file] ?? ''),
    );
    const pick = (dump: KernelDump): KernelDump => Object.fromEntries(files.map((file) => [file, dump[file] ?? '']));
    const problems = driver.logs.filter((line) => Number(line['level']) >= 40).slice(-20);
    expect
      .soft(pick(actual), `${driver.rawOutput}\n${problems.map((line) => JSON.stringify(line)).join('\n')}`)
      .toEqual(pick(expected));
    throw new Error(`${files.join(', ')} differ`);
  }
}

/** Waits until the driver has done nothing for 300 ms. */
export async function quiet(driver: DriverProcess): Promise<void> {
  let seen = -1;
  let since = Date.now();
  await waitFor(
    () => {
      const now = driver.logs.filter((line) => line.msg === 'Operation').length;
      if (now !== seen) since = Date.now();
      seen = now;
      return Date.now() - since > 300;
    },
    () => 'the driver does not come to rest',
  );
}

/** Plays all steps, then restarts the driver on the whole stream: nothing may be written. */
export async function replay(name: string, mode: Mode, options: ReplayOptions = {}): Promise<ReplayReport> {
  const recording = loadRecording(name);
  const differences = options.differences ?? [];
  const report: ReplayReport = { steps: 0, files: 0 };
  const namespace = await createNamespace('replay');
  let driver: DriverProcess | null = null;
  try {
    await namespace.shell(recording.hostScript);
    const frames = recordingFrames(recording, mode);
    driver = new DriverProcess(namespace, options.environment);
    let sent = 0;
    let last: KernelDump = {};
    for (const [index, step] of recording.steps.steps.entries()) {
      const folder = `${String(index).padStart(2, '0')}-${step.name}`;
      const firstMessage = driver.received.length;
      await driver.sendAndApply(frames.slice(sent, step.frames));
      sent = step.frames;
      last = expectedDump(recording, mode, folder, differences);
      await expectKernel(namespace, driver, mode, last, firstMessage);
      report.steps += 1;
      report.files += Object.keys(last).length;
    }
    if (options.withoutRestart === true) return report;
    // Addresses that went away with a link are told 100 ms later: the restart must meet a finished state.
    await quiet(driver);
    await driver.stop();
    driver = new DriverProcess(namespace, options.environment);
    driver.send(frames);
    const restarted = driver;
    await waitFor(
      () => restarted.inSync,
      () =>
        `not in sync after the restart\n${restarted.rawOutput}${restarted.logs
          .slice(-10)
          .map((l) => JSON.stringify(l))
          .join('\n')}`,
    );
    delete last['status'];
    await expectKernel(namespace, driver, mode, last, -1);
    const writes = driver.logs.filter((line) => line.msg === 'Operation');
    expect(writes, `${name} ${mode}: a restart over an unchanged kernel writes nothing`).toEqual([]);
    expect(driver.operations).toBe(0);
    return report;
  } finally {
    await driver?.stop();
    await namespace.remove();
  }
}
