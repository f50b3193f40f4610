// However Felix's messages are cut into batches, and however long the driver works between them, the kernel ends the same.
import { afterEach, describe, test } from 'vitest';
import { loadRecording } from '../fixtures/recording.js';
import { DIFFERENCES } from './support/differences.js';
import { DriverProcess, waitFor } from './support/driver-process.js';
import { createNamespace } from './support/namespace.js';
import { withoutHistory } from './support/pairs.js';
import { seededRandom } from './support/random.js';
import { expectedDump, expectKernel, recordingFrames } from './support/replay.js';

const random = seededRandom('order of batches');
const cleanups: (() => Promise<unknown>)[] = [];
const MAX_BURST = 12;
const MAX_PAUSE_MS = 60;

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Waits for a whole apply after now, or a short time, or not at all. */
async function pause(driver: DriverProcess): Promise<void> {
  const choice = random.integer(3);
  if (choice === 0) return;
  const ms = random.integer(MAX_PAUSE_MS);
  await new Promise((resolve) => setTimeout(resolve, ms));
  if (choice === 1 || !driver.inSync) return;
  const applied = driver.logs.filter((line) => line.msg === 'Applied').length;
  await waitFor(
    () =>
      driver.logs.filter((line) => line.msg === 'Applied').length > applied || driver.logs.at(-1)?.msg === 'Applied',
    () => 'no apply',
  );
}

describe.each(['policy-groups', 'churn-0', 'ip-sets', 'dual-stack'])('%s', (name) => {
  test.each(['nftables', 'iptables-nft', 'nftables', 'iptables-legacy'] as const)(
    'in random bursts in %s ends as Felix ends',
    async (mode) => {
      const recording = loadRecording(name);
      const namespace = await createNamespace('order');
      cleanups.push(() => namespace.remove());
      await namespace.shell(recording.hostScript);
      const driver = new DriverProcess(namespace);
      cleanups.push(() => driver.stop());
      const frames = recordingFrames(recording, mode);
      for (let at = 0; at < frames.length; ) {
        const burst = 1 + random.integer(MAX_BURST);
        driver.send(frames.slice(at, at + burst));
        at += burst;
        await pause(driver);
      }
      const last = recording.steps.steps.length - 1;
      const folder = `${String(last).padStart(2, '0')}-${recording.steps.steps[last]?.name ?? ''}`;
      const expected = withoutHistory(expectedDump(recording, mode, folder, DIFFERENCES[mode]));
      await expectKernel(namespace, driver, mode, expected, -1, { normalise: withoutHistory });
    },
  );
});
