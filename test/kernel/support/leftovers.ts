// What stands around a run of the kernel tests: a name that is in all its namespaces and a folder for its temporary
// files, and the broom after it. Tests clean up themselves; this is for those that failed, and for Ctrl-C.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** In the environment of every process of a run. */
const RUN = 'FDP_RUN';
const WORKER = 'vitest/dist/workers';
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

let folder = '';

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Processes of the run, but for this one. */
function processesOf(run: string): { readonly pid: number; readonly command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => read(`/proc/${pid}/environ`).split('\0').includes(`${RUN}=${run}`))
    .map((pid) => ({ pid: Number(pid), command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() }))
    .filter(({ command }) => command !== '');
}

function namespacesOf(run: string): string[] {
  return execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name.startsWith('fdp-') && name.includes(`-${run}-`));
}

/** Kills and removes all that is left of a run, and says what that was; workers that are about to end are no leftovers. */
function sweep(run: string): string[] {
  const processes = processesOf(run);
  for (const { pid } of processes) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
  const namespaces = namespacesOf(run);
  for (const name of namespaces) execFileSync('ip', ['netns', 'del', name]);
  const files = readdirSync(folder).filter((name) => name.startsWith('fdp-'));
  rmSync(folder, { recursive: true, force: true });
  const commands = processes.map(({ command }) => command).filter((command) => !command.includes(WORKER));
  return [...commands, ...namespaces, ...files];
}

/** Vitest calls it before the first worker starts; workers and all that they start inherit the environment. */
export function setup(): void {
  const run = Math.random().toString(36).slice(2, 8);
  folder = mkdtempSync(join(tmpdir(), 'fdp-run-'));
  process.env[RUN] = run;
  process.env['TMPDIR'] = folder;
  for (const [name, code] of Object.entries(SIGNALS)) {
    // Not once: Ctrl-C and a parent that passes it on make two, and the second must not end the broom.
    process.on(name, () => {
      sweep(run);
      process.exit(code);
    });
  }
}

/** Vitest calls it after the last test. */
export function teardown(): void {
  const left = sweep(process.env[RUN] ?? '');
  if (left.length === 0) return;
  console.log(`Left behind by tests, and removed now:\n${left.map((what) => `  ${what}`).join('\n')}`);
}
