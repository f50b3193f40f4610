// Watches what processes ask of the kernel, by strace: which processes they start, files they open and sockets they use.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from './driver-process.js';

/** Memory, locks, pipes between threads and timers are left out: the garbage collector uses them when it likes. */
const TRACED = 'trace=%process,%network,%file';

/** A trace under way. */
export interface Trace {
  /** Ends it; gives a line for each call, without the process: `openat(AT_FDCWD, "/etc/localtime", …`. */
  end(): Promise<string[]>;
}

/** Traces the processes and all their threads and children; resolves when it has begun. */
export async function traceProcesses(pids: readonly number[]): Promise<Trace> {
  const folder = mkdtempSync(join(tmpdir(), 'fdp-strace-'));
  const file = join(folder, 'calls');
  const argv = ['-f', '-s', '200', '-e', TRACED, '-o', file, ...pids.flatMap((pid) => ['-p', String(pid)])];
  const child = spawn('strace', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', reject);
  });
  ended.catch(() => undefined);
  const attached = (): boolean => pids.every((pid) => new RegExp(`Process ${pid} attached`).test(said));
  const end = async (): Promise<string[]> => {
    child.kill('SIGINT');
    await ended;
    const lines = readFileSync(file, 'utf8').split('\n');
    rmSync(folder, { recursive: true, force: true });
    return joined(lines.filter((line) => line !== ''));
  };
  try {
    await waitFor(attached, () => `strace does not begin: ${said}`);
  } catch (error) {
    await end();
    throw error;
  }
  return { end };
}

/** Calls without their processes. Where several threads call at once, strace shows a call in two parts. */
function joined(lines: readonly string[]): string[] {
  const calls: string[] = [];
  const begun = new Map<string, string>();
  for (const line of lines) {
    const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const [, rest] = /^<\.\.\. \S+ resumed> *(.*)$/.exec(text) ?? [];
    if (text.endsWith('<unfinished ...>')) begun.set(pid, text.replace(/ *<unfinished \.\.\.>$/, ' '));
    else calls.push(rest === undefined ? text : `${begun.get(pid) ?? '<... '}${rest}`);
    if (rest !== undefined) begun.delete(pid);
  }
  return [...calls, ...begun.values()];
}
