// A real Felix with this driver, compared with what Felix's own dataplane does (docs/conformance.md).
// Usage: npx tsx test/conformance/main.ts recordings|random|traffic|mock --felix PATH [--mode M] [--plane pipe|socket|grpc]
//        [--only NAME] [--seed N] [--runs N]. Needs root, a Felix binary and etcd; all happens in private namespaces.
import { parseArgs } from 'node:util';
import { type Mode, MODES, recordingNames } from '../fixtures/recording.js';
import type { Plane } from './felix-node.js';
import { mockRuns } from './mock-run.js';
import { playRecording } from './recordings.js';
import { randomRuns } from './random-run.js';
import { trafficRuns } from './traffic-run.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    felix: { type: 'string', default: 'calico-felix' },
    mode: { type: 'string' },
    plane: { type: 'string', default: 'pipe' },
    only: { type: 'string' },
    seed: { type: 'string' },
    runs: { type: 'string', default: '1' },
  },
});
const modes = MODES.filter((mode) => values.mode === undefined || mode === values.mode);
const plane = values.plane as Plane;
const faults: string[] = [];

function report(what: string, found: readonly string[] | null): void {
  if (found === null) {
    console.log(`${what}: not played, Felix left no dump to compare with`);
    return;
  }
  console.log(`${what}: ${found.length === 0 ? 'equal' : 'DIFFERENT'}`);
  for (const fault of found) console.log(fault);
  faults.push(...found);
}

async function recordings(mode: Mode): Promise<void> {
  for (const name of recordingNames().filter(
    (each) => values.only === undefined || values.only.split(',').includes(each),
  ))
    report(`${mode} ${plane} ${name}`, await playRecording(values.felix, name, mode, plane));
}

for (const mode of modes) {
  if (positionals[0] === 'recordings') await recordings(mode);
  else if (positionals[0] === 'random')
    await randomRuns({ felix: values.felix, mode, plane, seed: values.seed, runs: Number(values.runs), report });
  else if (positionals[0] === 'mock')
    await mockRuns({ felix: values.felix, mode, seed: values.seed, runs: Number(values.runs), report });
  else if (positionals[0] === 'traffic') await trafficRuns({ felix: values.felix, mode, only: values.only, report });
}
process.exitCode = faults.length === 0 ? 0 : 1;
