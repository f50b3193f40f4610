// Runs one command in a child process of this process: what the broker does, and what tests and small tools use.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Command, CommandResult, CommandRunner } from './command.js';

/** A command that prints more than this on either stream is killed: a runaway tool must not take our memory. */
export const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

/** Exit code of a program that could not be started, as a shell gives it. */
export const NOT_STARTED = 127;

/** Time limit of a command that names none. */
export const DEFAULT_TIMEOUT_MS = 60_000;

/** Longer input goes through a file. Shorter input is in the socket buffer as soon as the child exists. */
const MAX_PIPED_INPUT_BYTES = 64 * 1024;

let inputFiles = 0;

/** Tools print untranslated texts, and find their binaries where distributions hide them from users. */
export function toolEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };
}

/**
 * The text as an open, already unlinked file at offset 0, or null if no file can be made. A pipe whose writer dies
 * half-way reads as a short but complete script, whose last line may mean something else (`10.0.0.1` of `10.0.0.12`);
 * a file is whole or does not exist.
 */
function openInputFile(input: Buffer): number | null {
  for (const folder of ['/dev/shm', tmpdir()]) {
    inputFiles += 1;
    const path = join(folder, `.fdp-input-${process.pid}-${inputFiles}`);
    let fd: number;
    try {
      fd = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
    } catch {
      continue;
    }
    try {
      // Positional writes leave the file offset, which the child shares, at 0.
      for (let at = 0; at < input.length; ) at += writeSync(fd, input, at, input.length - at, at);
      return fd;
    } catch {
      closeSync(fd);
    }
  }
  return null;
}

/** Kills the child with everything that it started; it leads its own process group. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group is gone already, or never came to be: nothing is left to kill.
    child.kill('SIGKILL');
  }
}

/** Collects one stream up to the limit. */
class OutputCollector {
  readonly #chunks: Buffer[] = [];
  readonly #maxBytes: number;
  #bytes = 0;
  overflowed = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Takes a chunk; false once the limit is passed. */
  push(chunk: Buffer): boolean {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) this.overflowed = true;
    else this.#chunks.push(chunk);
    return !this.overflowed;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8');
  }
}

function notStarted(argv: readonly string[], reason: unknown, startMs: number): CommandResult {
  const text = reason instanceof Error ? reason.message : String(reason);
  return {
    exitCode: NOT_STARTED,
    signal: null,
    stdout: '',
    stderr: `${argv[0] ?? '(no program)'} could not be started: ${text}`,
    timedOut: false,
    durationMs: performance.now() - startMs,
  };
}

/** What ends a command before its time. */
export interface SpawnLimits {
  /** Bytes on either stream. */
  readonly maxBytes?: number;
  /** Kills the command with its whole group. */
  readonly cancel?: AbortSignal;
}

/** Watches one child to its end. */
function collect(child: ChildProcess, command: Command, limits: SpawnLimits, startMs: number): Promise<CommandResult> {
  const { maxBytes = MAX_OUTPUT_BYTES, cancel } = limits;
  const onCancel = (): void => killGroup(child);
  return new Promise((resolve) => {
    if (cancel?.aborted === true) onCancel();
    cancel?.addEventListener('abort', onCancel);
    const stdout = new OutputCollector(maxBytes);
    const stderr = new OutputCollector(maxBytes);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child);
    }, command.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const feed = (collector: OutputCollector) => (chunk: Buffer) => {
      if (!collector.push(chunk)) killGroup(child);
    };
    child.stdout?.on('data', feed(stdout));
    child.stderr?.on('data', feed(stderr));
    let failedStart: unknown;
    child.on('error', (error) => {
      failedStart ??= error;
    });
    child.on('close', (exitCode, signal) => {
      clearTimeout(timer);
      cancel?.removeEventListener('abort', onCancel);
      if (child.pid === undefined) {
        resolve(notStarted(command.argv, failedStart, startMs));
        return;
      }
      const overflow = stdout.overflowed || stderr.overflowed;
      resolve({
        exitCode,
        signal,
        stdout: stdout.text(),
        stderr: overflow ? `${stderr.text()}\nkilled: printed more than ${maxBytes} bytes` : stderr.text(),
        timedOut,
        durationMs: performance.now() - startMs,
      });
    });
  });
}

/**
 * Runs the command to its end in its own process group. Never rejects: a program that cannot be started ends with
 * {@link NOT_STARTED}, one that runs too long or prints too much is killed with its whole group.
 */
export async function spawnCommand(command: Command, limits: SpawnLimits = {}): Promise<CommandResult> {
  const startMs = performance.now();
  const [program, ...args] = command.argv;
  if (program === undefined) return notStarted(command.argv, 'empty argv', startMs);
  const input = Buffer.from(command.stdin ?? '', 'utf8');
  const inputFile = input.length > MAX_PIPED_INPUT_BYTES ? openInputFile(input) : null;
  try {
    const stdin = input.length === 0 ? 'ignore' : (inputFile ?? 'pipe');
    const child = spawn(program, args, { stdio: [stdin, 'pipe', 'pipe'], detached: true, env: toolEnvironment() });
    const startedMs = performance.now() - startMs;
    if (child.stdin !== null) {
      // A child that exits before it read everything answers with EPIPE; its exit code is what counts.
      child.stdin.on('error', () => undefined);
      child.stdin.end(input);
    }
    return { ...(await collect(child, command, limits, startMs)), startMs: startedMs };
  } catch (error) {
    return notStarted(command.argv, error, startMs);
  } finally {
    if (inputFile !== null) closeSync(inputFile);
  }
}

/** Spawns from this very process. Costs in proportion to its memory (ecosystem.md 1.2): not for the daemon. */
export const directRunner: CommandRunner = { run: (command) => spawnCommand(command) };
