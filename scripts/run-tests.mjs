// Runs the gate's programs beside the unit tests, then the kernel tests, and prints one closing line over all of them.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
// Everything that tests put into the folder for temporary files goes with it.
const folder = mkdtempSync(join(tmpdir(), 'fdp-tests-'));
const totals = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const retried = [];
const running = new Set();
let signalled = null;

/** Runs a program to its end; `output` is what it printed, or '' if that went to the terminal. */
function run(argv, { environment = {}, capture = false } = {}) {
  return new Promise((resolve) => {
    if (signalled !== null) return resolve({ status: null, signal: signalled, output: '' });
    const [program, ...rest] = argv;
    const child = spawn(program, rest, {
      cwd: root,
      stdio: ['ignore', capture ? 'pipe' : 'inherit', capture ? 'pipe' : 'inherit'],
      env: { ...process.env, TMPDIR: folder, ...environment },
    });
    running.add(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += chunk.toString()));
    const end = (result) => {
      running.delete(child);
      resolve({ ...result, output });
    };
    child.once('error', (error) => end({ status: null, signal: error.message }));
    child.once('close', (status, signal) => end({ status, signal }));
  });
}

const seconds = (since) => `${Math.round((Date.now() - since) / 1000)} s`;

/** A gate program counts as one test: its exit code is the result. Its output is shown if it failed. */
async function gate(name, command) {
  const since = Date.now();
  const { status, signal, output } = await run(['npm', 'run', '--silent', command], { capture: true });
  if (status === 0) {
    totals.passed += 1;
    process.stdout.write(`gate: ${name} passed (${seconds(since)})\n`);
  } else {
    totals.failed += 1;
    failures.push(`gate: ${name} (exit ${status ?? signal})`);
    process.stdout.write(`${output}gate: ${name} FAILED (exit ${status ?? signal})\n`);
  }
}

async function gates() {
  await gate('types', 'typecheck');
  await gate('lint', 'lint');
  await gate('format', 'format:check');
  await gate('imports', 'imports');
  await gate('protocol schema', 'proto:check');
}

async function suite(project) {
  const since = Date.now();
  const report = join(folder, `${project}.json`);
  process.stdout.write(`suite: ${project}\n`);
  const argv = [process.execPath, join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', project];
  const reporters = ['--reporter=default', `--reporter=${join(root, 'scripts/lib/totals-reporter.mjs')}`];
  const { status, signal } = await run([...argv, ...reporters], { environment: { FDP_TOTALS: report } });
  let result = { passed: 0, failed: 0, skipped: 0, failures: [], retried: [], problems: [] };
  try {
    result = JSON.parse(readFileSync(report, 'utf8'));
  } catch (error) {
    result.problems.push(`it wrote no report: ${error.message}`);
  }
  if (result.passed + result.failed === 0) result.problems.push('no test was run');
  // The exit code has the last word: what it says and no test said is a failure too.
  if (status !== 0 && result.failed + result.problems.length === 0)
    result.problems.push(`it ended with ${status ?? signal}`);
  totals.passed += result.passed;
  totals.failed += result.failed + result.problems.length;
  totals.skipped += result.skipped;
  failures.push(...result.failures, ...result.problems.map((problem) => `suite: ${project}: ${problem}`));
  retried.push(...result.retried);
  const verdict = result.failed + result.problems.length === 0 ? 'passed' : 'FAILED';
  process.stdout.write(`suite: ${project} ${verdict} (${seconds(since)})\n`);
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(name, () => {
    signalled ??= name;
    // Ctrl-C reaches them by itself; a signal to this process alone does not. Kernel tests clean up before they end.
    for (const child of running) child.kill(name);
  });
}
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const started = Date.now();
await Promise.all([gates(), suite('unit')]);
await suite('kernel');
// At the end, where they are found: CI shows only the last lines of a log as long as the one above.
const list = (title, lines) => {
  if (lines.length > 0) process.stdout.write(`\n${title}:\n${lines.map((line) => `  ${line}\n`).join('')}`);
};
list('needed a second try', retried);
list('failed', failures);
if (signalled !== null) process.stdout.write(`\nstopped by ${signalled}\n`);
process.stdout.write(`\nafter ${seconds(started)}\n`);
process.stdout.write(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
process.exit(signalled === null && totals.failed === 0 && totals.passed > 0 ? 0 : 1);
