// The resources of a recording, written to etcd under a real Felix with this driver: after each step the kernel has to
// be as Felix's own dataplane left it when the recording was made.
import { loadRecording, type Mode } from '../fixtures/recording.js';
import { waitFor } from '../kernel/support/driver-process.js';
import { DIFFERENCES } from '../kernel/support/differences.js';
import type { KernelDump } from '../kernel/support/dump.js';
import { expectedDump } from '../kernel/support/replay.js';
import { FelixNode, type Plane } from './felix-node.js';
import { INITIAL, readSteps } from './resources.js';
import { differenceText, differingFiles } from './text.js';

/** Plays a recording; returns what differed, a line for each step, or null where there is no dump to compare with. */
export async function playRecording(felix: string, name: string, mode: Mode, plane: Plane): Promise<string[] | null> {
  const recording = loadRecording(name);
  if (recording.expected[mode] === undefined) return null;
  const steps = readSteps(recording.resources);
  const node = await FelixNode.create(recording.hostScript);
  const faults: string[] = [];
  try {
    await node.apply([...INITIAL, ...(steps[0]?.apply ?? [])]);
    await node.start({ felix, mode, plane, parameters: recording.steps.config });
    for (const [index, step] of steps.entries()) {
      if (index > 0) {
        await node.apply(step.apply);
        await node.delete(step.delete);
      }
      const recorded = recording.steps.steps[index]?.name ?? step.step;
      const expected = expectedDump(
        recording,
        mode,
        `${String(index).padStart(2, '0')}-${recorded}`,
        DIFFERENCES[mode],
      );
      delete expected['status'];
      let actual: KernelDump = {};
      try {
        await waitFor(
          async () => {
            actual = await node.dump(mode);
            return differingFiles(actual, expected).length === 0;
          },
          () => 'differs',
          20_000,
        );
      } catch {
        faults.push(
          `${name} ${step.step}:\n${differenceText(expected, actual)}\n${node.felix?.output.slice(-1500) ?? ''}`,
        );
        break;
      }
    }
    return faults;
  } finally {
    await node.remove();
  }
}
