// Runs the gate's programs and both vitest projects, and prints one closing line over all of them.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const reports = mkdtempSync(join(tmpdir(), 'fdp-tests-'));
const totals = { passed: 0, failed: 0, skipped: 0 };

/** A gate program counts as one test: its exit code is the result. */
function gate(name, command) {
  process.stdout.write(`gate: ${name}\n`);
  const run = spawnSync('npm', ['run', '--silent', command], { cwd: root, stdio: 'inherit' });
  if (run.status === 0) totals.passed += 1;
  else {
    totals.failed += 1;
    process.stdout.write(`gate: ${name} FAILED (exit ${run.status})\n`);
  }
}

function suite(project) {
  const report = join(reports, `${project}.json`);
  process.stdout.write(`\nsuite: ${project}\n`);
  const run = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--project',
      project,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  try {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    totals.passed += result.numPassedTests;
    totals.failed += result.numFailedTests;
    totals.skipped += result.numPendingTests + result.numTodoTests;
    // A file that could not be loaded, or an unhandled error, has no failed test of its own.
    if (run.status !== 0 && result.numFailedTests === 0) totals.failed += Math.max(1, result.numFailedTestSuites);
  } catch (error) {
    totals.failed += 1;
    process.stdout.write(`suite: ${project} wrote no report: ${error.message}\n`);
  }
}

gate('types', 'typecheck');
gate('lint', 'lint');
gate('format', 'format:check');
gate('imports', 'imports');
gate('protocol schema', 'proto:check');
suite('unit');
suite('kernel');
rmSync(reports, { recursive: true, force: true });
process.stdout.write(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
process.exit(totals.failed === 0 && totals.passed > 0 ? 0 : 1);
