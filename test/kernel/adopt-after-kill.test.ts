// kill -9 at random moments of a stream: the next driver takes over whatever the kernel then holds, and ends right.
import { afterEach, describe, expect, test } from 'vitest';
import { loadRecording, MODES } from '../fixtures/recording.js';
import { DIFFERENCES } from './support/differences.js';
import { DriverProcess, waitFor } from './support/driver-process.js';
import { createNamespace } from './support/namespace.js';
import { withoutHistory } from './support/pairs.js';
import { seededRandom } from './support/random.js';
import { expectedDump, expectKernel, quiet, recordingFrames } from './support/replay.js';

const KILLS = Number(process.env['KILLS'] ?? 5);
/** Time in which a driver that works is killed. */
const MAX_LIFE_MS = 500;
const MAX_BURST = 25;
const random = seededRandom('kill -9');
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(MODES)('in %s', (mode) => {
  test(`${KILLS} drivers killed while a stream plays leave a state that the next one brings right`, async () => {
    const recording = loadRecording('churn-0');
    const namespace = await createNamespace('kill');
    cleanups.push(() => namespace.remove());
    await namespace.shell(recording.hostScript);
    const frames = recordingFrames(recording, mode);
    let written = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const driver = new DriverProcess(namespace);
      cleanups.push(() => driver.stop());
      // One in four dies while it starts; the others in the middle of their work.
      const moment =
        random.integer(4) === 0
          ? sleep(random.integer(MAX_LIFE_MS))
          : waitFor(
              () => driver.operations > 0 || driver.inSync,
              () => `no work before the kill\n${driver.transcript()}`,
            ).then(() => sleep(random.integer(MAX_LIFE_MS)));
      let isAlive = true;
      const end = moment.then(() => {
        isAlive = false;
        driver.signal('SIGKILL');
      });
      for (let at = 0; at < frames.length && isAlive; ) {
        const burst = 1 + random.integer(MAX_BURST);
        driver.send(frames.slice(at, at + burst));
        at += burst;
        await sleep(random.integer(30));
      }
      await end;
      expect(await driver.exited).toEqual({ code: null, signal: 'SIGKILL' });
      written += driver.logs.filter((line) => line.msg === 'Operation').length;
    }
    console.log(`${mode}: ${KILLS} kills, ${written} operations before them`);
    expect(written, 'no kill hit a driver that wrote').toBeGreaterThan(0);
    // What the killed broker had started may still run; Felix's next driver starts no later than this one.
    const driver = new DriverProcess(namespace);
    cleanups.push(() => driver.stop());
    driver.send(frames);
    await waitFor(
      () => driver.inSync,
      () => `not in sync\n${driver.rawOutput}`,
    );
    const last = recording.steps.steps.length - 1;
    const folder = `${String(last).padStart(2, '0')}-${recording.steps.steps[last]?.name ?? ''}`;
    const expected = withoutHistory(expectedDump(recording, mode, folder, DIFFERENCES[mode]));
    await expectKernel(namespace, driver, mode, expected, -1, { normalise: withoutHistory });
    await quiet(driver);
    await driver.stop();
    const again = new DriverProcess(namespace);
    cleanups.push(() => again.stop());
    again.send(frames);
    await waitFor(
      () => again.inSync,
      () => `not in sync\n${again.rawOutput}`,
    );
    await quiet(again);
    expect(
      again.logs.filter((line) => line.msg === 'Operation'),
      'nothing is left to write',
    ).toEqual([]);
  });
});
