// A tool that hangs: each command that drives the kernel ends by itself after DataplaneWatchdogTimeout, since nobody else
// watches it, and says why.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { loadRecording } from '../fixtures/recording.js';
import { type LogLine, DriverProcess, waitFor, withParameters } from './support/driver-process.js';
import { FaultyTools } from './support/faults.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { type Exit, Program, temporaryFolder } from './support/program.js';
import { recordingFrames } from './support/replay.js';
import { TestControl } from './support/sessions.js';

/** The shortest that Felix's parameter allows. */
const PARAMETERS = { DataplaneWatchdogTimeout: '20' };
const recording = loadRecording('pod-lifecycle');
const frames = withParameters(
  recordingFrames(recording, 'nftables').slice(0, recording.steps.steps[0]?.frames),
  PARAMETERS,
);

interface Place {
  readonly namespace: Namespace;
  readonly folder: string;
  readonly environment: Record<string, string>;
}

interface Ended {
  readonly exit: Exit;
  readonly logs: readonly LogLine[];
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function ended(program: Program): Promise<Ended> {
  cleanups.push(() => program.stop());
  return { exit: await program.exited, logs: program.logs };
}

/** Command → how it is brought to an apply, and its end. */
const COMMANDS: Readonly<Record<string, (place: Place) => Promise<Ended>>> = {
  'the driver that Felix starts': async ({ namespace, environment }) => {
    const driver = new DriverProcess(namespace, environment);
    cleanups.push(() => driver.stop());
    driver.send(frames);
    return { exit: await driver.exited, logs: driver.logs };
  },
  serve: async ({ namespace, folder, environment }) => {
    const path = join(folder, 'driver.sock');
    const service = new Program(['serve', '--listen', `unix:${path}`], { enter: namespace.enter, environment });
    const end = ended(service);
    await service.logged('felix-dataplane serves');
    const control = await TestControl.dial(path);
    cleanups.push(() => control.session.close());
    control.send(frames);
    return await end;
  },
  standalone: async ({ namespace, folder, environment }) => {
    const file = join(folder, 'resources.yaml');
    writeFileSync(file, '{apiVersion: v1, kind: Namespace, metadata: {name: default}}');
    const settings = Object.entries({ ...PARAMETERS, NFTablesMode: 'Enabled' });
    const options = settings.flatMap(([name, value]) => ['--set', `${name}=${value}`]);
    return await ended(new Program(['standalone', file, ...options], { enter: namespace.enter, environment }));
  },
};

/** Processes that were started with `folder` in their environment. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(folder);
    } catch {
      // It has ended.
      return false;
    }
  });
}

test('ends with the reason as its last line', async () => {
  // All at once: nearly all of it is waiting.
  const ends = Object.entries(COMMANDS).map(async ([name, run]) => {
    const namespace = await createNamespace('hung');
    cleanups.push(() => namespace.remove());
    await namespace.shell(recording.hostScript);
    const [folder, tools] = [temporaryFolder(), new FaultyTools()];
    cleanups.push(
      () => folder.remove(),
      () => tools.remove(),
    );
    await tools.set(['nft'], 'case "$*" in *--version*) real "$@";; *) exec sleep 90;; esac');
    const { exit, logs } = await run({ namespace, folder: folder.path, environment: tools.environment });
    expect({ name, exit }).toEqual({ name, exit: { code: 1, signal: null } });
    await waitFor(
      () => logs.some(({ msg }) => msg.startsWith('Ending')),
      () => JSON.stringify(logs.at(-1)),
    );
    expect(logs.at(-1)?.msg, name).toMatch(/^Ending: an apply has been running for \d\d s, longer than DataplaneWatch/);
    // The broker gives what runs five seconds, then ends with it.
    await waitFor(
      () => processesOf(tools.folder).length === 0,
      () => `${name} leaves ${processesOf(tools.folder).join()}`,
    );
  });
  await Promise.all(ends);
});
