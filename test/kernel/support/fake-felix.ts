// A Felix for tests, as far as a driver can see of it (dataplane.md 0.1, ops.md sections 1 and 2): starts the program
// without arguments, with its own environment and real pipes as descriptors 3 and 4, and stops it as Felix does.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fromBinary } from '@bufbuild/protobuf';
import { type FromDataplane, FromDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { framed, waitFor, PATIENCE_MS } from './driver-process.js';
import { driverEnvironment, temporaryFolder } from './processes.js';

/**
 * Node's own `pipe` is a socket; this puts real pipes between. On descriptor 5 come the driver's pid and exit code. The
 * shells let go of the pipes, so that their ends are the driver's alone.
 */
const PIPES = `cat <&3 4>&- 5>&- |
sh -c 'exec 6<&0
"$@" 3<&6 4>&1 0</dev/null 1>&2 5>&- 6<&- & pid=$!
exec 0</dev/null 1>&2 6<&-
echo "pid $pid" >&5
wait $pid
echo "exit $?" >&5' sh "$@" 3<&- 4>&- | cat >&4 3<&- 5>&- &
exec 3<&- 4>&- 5>&-
wait`;

/** Felix after SIGTERM: how long the driver has before SIGKILL, and how long Felix waits after that. */
const GRACE_MS = 4_000;

/** What Felix starts. */
export interface FelixOptions {
  /** The executable that DataplaneDriver names. */
  readonly driver: string;
  readonly enter?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** Why Felix ended: it was told to, or the stream from its driver ended or made no sense. */
export type FelixEnd = 'terminated' | 'crashed' | 'Failed to read from front-end socket';

/**
 * What a real Felix could not bear: it reads id and status of endpoints without a look whether they are there, and the
 * reporter of status files wants the endpoint. Any other payload but DataplaneInSync would be new to it.
 */
function faultOf(payload: FromDataplane['payload']): string | null {
  switch (payload.case) {
    case 'workloadEndpointStatusUpdate':
      if (payload.value.endpoint === undefined) return 'no endpoint';
      return payload.value.id === undefined || payload.value.status === undefined ? 'no id or status' : null;
    case 'hostEndpointStatusUpdate':
      return payload.value.id === undefined || payload.value.status === undefined ? 'no id or status' : null;
    case 'workloadEndpointStatusRemove':
    case 'hostEndpointStatusRemove':
      return payload.value.id === undefined ? 'no id' : null;
    case 'processStatusUpdate':
      return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(payload.value.isoTimestamp) ? null : 'no time';
    case 'wireguardStatusUpdate':
    case 'dataplaneInSync':
      return null;
    default:
      return 'not known';
  }
}

/** One life of Felix with its driver. */
export class FakeFelix {
  readonly received: FromDataplane[] = [];
  /** Messages that would end a real Felix, or that it would drop. */
  readonly faults: string[] = [];
  /** What the driver printed; Felix copies it to its own log. */
  output = '';
  /** Settles when the stream from the driver is over. */
  readonly ended: Promise<FelixEnd>;
  /** Exit code of the driver; 128 + number for a signal. */
  readonly driverExit: Promise<number>;
  readonly #child: ChildProcess;
  #pending = Buffer.alloc(0);
  readonly #folder = temporaryFolder();
  readonly #pid: Promise<number>;
  #end: (why: FelixEnd) => void = () => undefined;
  #hasExited = false;
  #isOver = false;

  constructor({ driver, enter = [], environment = {} }: FelixOptions) {
    this.#child = spawn('sh', ['-c', PIPES, 'sh', ...enter, driver], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...driverEnvironment(this.#folder.path), ...environment },
    });
    this.ended = new Promise((resolve) => {
      this.#end = (why) => {
        this.#isOver = true;
        resolve(why);
      };
    });
    let onPid: (pid: number) => void = () => undefined;
    let onExit: (code: number) => void = () => undefined;
    this.#pid = new Promise((resolve) => {
      onPid = resolve;
    });
    this.driverExit = new Promise((resolve) => {
      onExit = resolve;
    });
    const [, , , , , reports]: readonly unknown[] = this.#child.stdio;
    (reports as Readable).on('data', (chunk: Buffer) => {
      for (const [, what, number] of chunk.toString().matchAll(/(pid|exit) (\d+)\n/g)) {
        if (what === 'pid') onPid(Number(number));
        else {
          this.#hasExited = true;
          onExit(Number(number));
        }
      }
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    const fromDriver = this.#child.stdio[4] as Readable;
    fromDriver.on('data', (chunk: Buffer) => this.#onBytes(chunk));
    fromDriver.on('close', () => this.#end('Failed to read from front-end socket'));
    (this.#child.stdio[3] as Writable).on('error', () => undefined);
  }

  get inSync(): boolean {
    return this.received.some((message) => message.payload.case === 'dataplaneInSync');
  }

  /** Whether the stream from the driver is over. */
  get hasEnded(): boolean {
    return this.#isOver;
  }

  /** Writes messages to the driver. */
  send(messages: readonly Uint8Array[]): void {
    this.sendBytes(Buffer.concat(messages.map(framed)));
  }

  sendBytes(bytes: Uint8Array): void {
    (this.#child.stdio[3] as Writable).write(bytes);
  }

  async waitInSync(timeoutMs = PATIENCE_MS): Promise<void> {
    await waitFor(
      () => this.inSync,
      () => `not in sync\n${this.output}`,
      timeoutMs,
    );
  }

  /** Felix gets SIGTERM: SIGTERM for the driver, after four seconds SIGKILL. Resolves with the driver's exit code. */
  async terminate(): Promise<number> {
    const pid = await this.#pid;
    this.#end('terminated');
    this.#signal(pid, 'SIGTERM');
    const timer = setTimeout(() => this.#signal(pid, 'SIGKILL'), GRACE_MS);
    const code = await this.driverExit;
    clearTimeout(timer);
    this.#letGo();
    return code;
  }

  /** Felix is killed: its ends of the pipes close, the driver gets no signal. Resolves with the driver's exit code. */
  async crash(): Promise<number> {
    await this.#pid;
    this.#end('crashed');
    (this.#child.stdio[3] as Writable).destroy();
    const code = await this.driverExit;
    this.#letGo();
    return code;
  }

  /** Kills the driver, if it has not ended yet. */
  async killDriver(): Promise<void> {
    this.#signal(await this.#pid, 'SIGKILL');
  }

  #signal(pid: number, name: NodeJS.Signals): void {
    if (this.#hasExited) return;
    try {
      process.kill(pid, name);
    } catch (error) {
      // It ended, and the report of that is on the way.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }

  #letGo(): void {
    const streams: readonly (Readable | Writable | null | undefined)[] = this.#child.stdio;
    for (const stream of streams) stream?.destroy();
    this.#folder.remove();
  }

  #onBytes(chunk: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= 8) {
      const length = Number(this.#pending.readBigUInt64LE(0));
      if (this.#pending.length < 8 + length) return;
      const bytes = this.#pending.subarray(8, 8 + length);
      this.#pending = this.#pending.subarray(8 + length);
      try {
        this.#take(fromBinary(FromDataplaneSchema, bytes));
      } catch (error) {
        this.faults.push(`not a message: ${String(error)}`);
        this.#end('Failed to read from front-end socket');
        void this.#pid.then((pid) => this.#signal(pid, 'SIGTERM'));
        return;
      }
    }
  }

  #take(message: FromDataplane): void {
    const { payload, sequenceNumber } = message;
    if (sequenceNumber !== BigInt(this.received.length))
      this.faults.push(`message ${this.received.length} has the number ${sequenceNumber}`);
    this.received.push(message);
    const fault = faultOf(payload);
    if (fault !== null) this.faults.push(`${payload.case}: ${fault}`);
  }
}
