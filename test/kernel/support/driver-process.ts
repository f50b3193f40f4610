// Starts bin/felix-dataplane in a namespace as Felix does: no arguments, frames in on fd 3, frames out on fd 4.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type FromDataplane,
  RawConfigSchema,
  ToDataplaneSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { Mode } from '../../fixtures/recording.js';
import {
  driverEnvironment,
  EXECUTABLE,
  type LogLine,
  readLogLines,
  readMessages,
  temporaryFolder,
} from './processes.js';

export type { LogLine } from './processes.js';

/** Number of the environment among the configuration sources (dataplane.md 0.2). */
const ENVIRONMENT_SOURCE = 5;

/** How long a condition is waited for that holds soon, unless something is broken or the machine stands still. */
export const PATIENCE_MS = 60_000;

/** How long `nextApply` waits: what comes without an apply (a status, a neighbour) must not be waited for long. */
const APPLY_MS = 150;

/** The same for the first apply, which a process has to start for. */
const START_MS = 10_000;

/** The parameters that put a recording into a mode (shared/README.md). */
export function modeParameters(mode: Mode): Record<string, string> {
  if (mode === 'nftables') return { NFTablesMode: 'Enabled' };
  return { IptablesBackend: mode === 'iptables-legacy' ? 'Legacy' : 'NFT', NFTablesMode: 'Disabled' };
}

/** Rewrites the first frame, a ConfigUpdate, so that it sets `parameters` as the environment would. */
export function withParameters(frames: readonly Buffer[], parameters: Record<string, string>): Buffer[] {
  const [first, ...rest] = frames;
  if (first === undefined) throw new Error('A recording without frames');
  const message = fromBinary(ToDataplaneSchema, first);
  if (message.payload.case !== 'configUpdate') throw new Error('The first frame is not a ConfigUpdate');
  const update = message.payload.value;
  Object.assign(update.config, parameters);
  const source =
    update.sourceToRawConfig[ENVIRONMENT_SOURCE] ?? create(RawConfigSchema, { source: 'environment variable' });
  Object.assign(source.config, parameters);
  update.sourceToRawConfig[ENVIRONMENT_SOURCE] = source;
  return [Buffer.from(toBinary(ToDataplaneSchema, message)), ...rest];
}

/** 8-byte little-endian length, then the message. */
export function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(message.length));
  return Buffer.concat([prefix, message]);
}

/** A running driver. */
export class DriverProcess {
  readonly #child: ChildProcess;
  readonly #folder = temporaryFolder();
  readonly logs: LogLine[] = [];
  /** What the driver printed that is not a JSON line, e.g. a crash. */
  rawOutput = '';
  /** Every message so far, in order. */
  readonly received: FromDataplane[] = [];
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;

  /** `enter` is the command prefix that puts a program into the namespace. */
  constructor(space: { readonly enter: readonly string[] }, environment: Record<string, string> = {}) {
    const [program = EXECUTABLE, ...rest] = [...space.enter, EXECUTABLE];
    this.#child = spawn(program, rest, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        ...driverEnvironment(this.#folder.path),
        ...environment,
      },
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#folder.remove();
        resolve({ code, signal });
      });
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      readLogLines(stream, this.logs, (line) => {
        this.rawOutput += `${line}\n`;
      });
    readMessages(this.#child.stdio[4] as Readable, this.received);
    (this.#child.stdio[3] as Writable).on('error', () => undefined);
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Folder of the endpoint status files and the MTU file of this run; gone when the driver has ended. */
  get stateFolder(): string {
    return this.#folder.path;
  }

  send(frames: readonly Uint8Array[]): void {
    (this.#child.stdio[3] as Writable).write(Buffer.concat(frames.map(framed)));
  }

  /** Sends, and resolves as `nextApply` does: a dump before that is the work of a dozen processes for nothing. */
  async sendAndApply(frames: readonly Uint8Array[]): Promise<void> {
    const before = this.applies;
    this.send(frames);
    await this.nextApply(before);
  }

  sendBytes(bytes: Uint8Array): void {
    (this.#child.stdio[3] as Writable).write(bytes);
  }

  /** Closes the stream to the driver, as the end of Felix does. */
  closeInput(): void {
    (this.#child.stdio[3] as Writable).end();
  }

  /** Leaves what the driver sends in the pipe, as a control plane that hangs. */
  pauseReading(): void {
    (this.#child.stdio[4] as Readable).pause();
  }

  resumeReading(): void {
    (this.#child.stdio[4] as Readable).resume();
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Number of operations that the driver reports to have carried out since it started. */
  get operations(): number {
    return this.logs.reduce((sum, line) => sum + (line.msg === 'Applied' ? Number(line['operations']) : 0), 0);
  }

  /** Number of applies so far. */
  get applies(): number {
    return this.logs.reduce((sum, line) => sum + (line.msg === 'Applied' ? 1 : 0), 0);
  }

  /** Resolves when there were more than `before` applies, or it has ended; at the latest after 150 ms, the first after 10 s. */
  async nextApply(before: number): Promise<void> {
    const deadline = Date.now() + (before === 0 ? START_MS : APPLY_MS);
    while (this.applies <= before && this.isRunning && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 5));
  }

  get inSync(): boolean {
    return this.received.some((message) => message.payload.case === 'dataplaneInSync');
  }

  /** Throws with its last words when it has ended: there is nothing more to wait for. */
  assertRunning(): void {
    if (this.isRunning) return;
    const how = this.#child.signalCode ?? this.#child.exitCode;
    throw new Error(`The driver has ended (${how})\n${this.rawOutput}\n${this.transcript()}`);
  }

  /** The last lines, for messages of failed tests. */
  transcript(): string {
    return this.logs
      .slice(-15)
      .map((line) => JSON.stringify(line))
      .join('\n');
  }

  /** SIGTERM, then the exit; SIGKILL after five seconds. */
  async stop(): Promise<{ readonly code: number | null; readonly signal: string | null }> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    const result = await this.exited;
    clearTimeout(timer);
    return result;
  }
}

/** Polls until `condition` holds; rejects with `describe()` after `timeoutMs`. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  describe: () => string,
  timeoutMs = PATIENCE_MS,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Timed out after ${timeoutMs} ms: ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
