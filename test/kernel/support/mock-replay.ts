// Feeds a recording's resources to the mock control plane and its messages to a driver: each step has to end in the
// kernel state of the recorded stream.
import { afterAll, describe, test } from 'vitest';
import { encodeToDataplane } from '../../../src/protocol/messages.js';
import { loadRecording, type Mode } from '../../fixtures/recording.js';
import { RecordedResources } from '../../fixtures/resource-steps.js';
import { DIFFERENCES } from './differences.js';
import { DriverProcess, modeParameters } from './driver-process.js';
import { createNamespace } from './namespace.js';
import { expectedDump, expectKernel } from './replay.js';

/** Registers one test for each of the recordings that Felix itself survives in the mode. */
export function mockReplays(mode: Mode, names: readonly string[]): void {
  describe(`mock, fed the resources of a recording, in ${mode}`, () => {
    let steps = 0;
    afterAll(() => console.log(`${mode}: the mock's messages ended in the recorded state in ${steps} steps`));
    for (const name of names) {
      const recording = loadRecording(name);
      if (recording.expected[mode] === undefined) continue;
      test(`${name} ends each step in the recorded state`, async () => {
        const namespace = await createNamespace('mock');
        let driver: DriverProcess | null = null;
        try {
          await namespace.shell(recording.hostScript);
          const resources = new RecordedResources(recording, modeParameters(mode));
          driver = new DriverProcess(namespace);
          let sequence = 0n;
          for (const [index, step] of resources.stepNames.entries()) {
            const firstMessage = driver.received.length;
            await driver.sendAndApply(resources.play(index).map((payload) => encodeToDataplane(payload, sequence++)));
            const recorded = recording.steps.steps[index]?.name ?? step;
            const folder = `${String(index).padStart(2, '0')}-${recorded}`;
            const wanted = expectedDump(recording, mode, folder, DIFFERENCES[mode]);
            await expectKernel(namespace, driver, mode, wanted, firstMessage);
            steps += 1;
          }
        } finally {
          await driver?.stop();
          await namespace.remove();
        }
      });
    }
  });
}
