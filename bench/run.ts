// One benchmark run: `npx tsx bench/run.ts --pods 500 [--policies N] --mode nftables [--driver auto|spawn|coprocess|native]
// [--updates 16] [--gap-ms 1000] [--idle-ms 10000] [--profile FOLDER] [--output FILE]`. Needs root and `npm run build`.
import { appendFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { MODES } from '../test/fixtures/recording.js';
import { measure } from './measure.js';
import { policyCount } from './synthetic-node.js';

const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '500' },
    policies: { type: 'string' },
    mode: { type: 'string', default: 'nftables' },
    driver: { type: 'string', default: 'auto' },
    updates: { type: 'string', default: '16' },
    'gap-ms': { type: 'string', default: '1000' },
    'idle-ms': { type: 'string', default: '10000' },
    'log-level': { type: 'string', default: 'error' },
    profile: { type: 'string' },
    output: { type: 'string' },
  },
});
const mode = MODES.find((candidate) => candidate === values.mode);
if (mode === undefined) throw new Error(`--mode is ${values.mode}, allowed are ${MODES.join(', ')}`);

const result = await measure(
  {
    pods: Number(values.pods),
    policies: values.policies === undefined ? policyCount(Number(values.pods)) : Number(values.policies),
    mode,
    kernelDriver: values.driver,
    updates: Number(values.updates),
    gapMs: Number(values['gap-ms']),
    idleMs: Number(values['idle-ms']),
    profileFolder: values.profile,
    logLevel: values['log-level'],
  },
  (line) => console.error(`${mode} ${values.pods}: ${line}`),
);
console.log(JSON.stringify(result, null, 2));
if (values.output !== undefined) appendFileSync(values.output, `${JSON.stringify(result)}\n`);
