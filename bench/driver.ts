// The driver under measurement: started as Felix starts it, frames in on descriptor 3, messages out on 4 with the time
// at which each arrived.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fromBinary } from '@bufbuild/protobuf';
import { type FromDataplane, FromDataplaneSchema } from '../src/protocol/gen/felix/felixbackend_pb.js';
import { framed } from '../test/kernel/support/driver-process.js';
import type { Namespace } from '../test/kernel/support/namespace.js';
import { nowNs } from './probe-pair.js';

/** Status files are in a tmpfs, as below /var/run of a node. */
const MEMORY = '/dev/shm';
const ENTRY = join(import.meta.dirname, '../bin/felix-dataplane');

/** How the driver is started. */
export interface DriverStart {
  readonly kernelDriver: string;
  /** Folder for CPU profiles; undefined = none are taken. */
  readonly profileFolder?: string | undefined;
  readonly logLevel: string;
}

/** A driver that runs. */
export class MeasuredDriver {
  readonly startedNs = nowNs();
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'fdp-bench-'));
  readonly #listeners = new Set<(message: FromDataplane) => void>();
  readonly #exited: Promise<unknown>;
  #pending: Buffer = Buffer.alloc(0);

  constructor(namespace: Namespace, options: DriverStart) {
    const profile = options.profileFolder;
    const program =
      profile === undefined ? [ENTRY] : [process.execPath, '--cpu-prof', `--cpu-prof-dir=${profile}`, ENTRY];
    const [command = '', ...args] = [...namespace.enter, ...program];
    this.#child = spawn(command, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        // A setting of the build machine: Node reads all these certificates at each start, 70 ms of CPU a process.
        NODE_EXTRA_CA_CERTS: '',
        DATAPLANE_KERNEL_DRIVER: options.kernelDriver,
        DATAPLANE_LOG_LEVEL: options.logLevel,
        DATAPLANE_HEALTH: 'off',
        DATAPLANE_MTU_FILE: join(this.#folder, 'mtu'),
        DATAPLANE_STATUS_PATH_PREFIX: this.#folder,
      },
    });
    this.#exited = new Promise((resolve) => this.#child.once('exit', resolve));
    (this.#child.stdio[4] as Readable).on('data', (chunk: Buffer) => this.#onBytes(chunk));
    (this.#child.stdio[3] as Writable).on('error', () => undefined);
  }

  /** `ip netns exec` replaces itself by the driver, so the pid is the driver's. */
  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Writes frames and returns the time just before. */
  send(frames: readonly Uint8Array[]): number {
    const bytes = Buffer.concat(frames.map(framed));
    const sentNs = nowNs();
    (this.#child.stdio[3] as Writable).write(bytes);
    return sentNs;
  }

  /** Resolves when every named workload was reported as up from now on, and (if asked) DataplaneInSync was seen. */
  untilUp(names: Iterable<string>, withInSync: boolean, timeoutMs: number): Promise<number> {
    const missing = new Set(names);
    let needsInSync = withInSync;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#listeners.delete(listener);
        clearTimeout(timer);
      };
      const listener = ({ payload }: FromDataplane): void => {
        if (payload.case === 'dataplaneInSync') needsInSync = false;
        if (payload.case === 'workloadEndpointStatusUpdate' && payload.value.status?.status === 'up') {
          missing.delete(payload.value.id?.workloadId ?? '');
        }
        if (missing.size > 0 || needsInSync) return;
        end();
        resolve(nowNs());
      };
      const timer = setTimeout(() => {
        end();
        reject(
          new Error(`${missing.size} endpoints are not up after ${timeoutMs} ms: ${[...missing].slice(0, 3).join()}`),
        );
      }, timeoutMs);
      this.#listeners.add(listener);
    });
  }

  /** SIGTERM and the exit; SIGKILL after five seconds. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await this.#exited;
    clearTimeout(timer);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #onBytes(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= 8) {
      const length = Number(this.#pending.readBigUInt64LE(0));
      if (this.#pending.length < 8 + length) return;
      const message = fromBinary(FromDataplaneSchema, this.#pending.subarray(8, 8 + length));
      this.#pending = this.#pending.subarray(8 + length);
      for (const listener of this.#listeners) listener(message);
    }
  }
}
