// What a running driver keeps in its JavaScript heap, from V8's own snapshots: how much is alive, and which names.
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from './driver-process.js';

interface Snapshot {
  readonly snapshot: { readonly meta: { readonly node_fields: readonly string[] } };
  readonly nodes: readonly number[];
  readonly strings: readonly string[];
}

/** More than the closing brackets of a snapshot. */
const TAIL_BYTES = 8;

/** What was alive in one process after a full garbage collection. */
export interface Heap {
  readonly liveKiB: number;
  /** Every text, name of a property and name of a constructor. */
  readonly strings: readonly string[];
}

/** Takes heap snapshots of processes that were started with `environment`. */
export class Heaps {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fdp-heap-'));

  /** For the process and all Node processes that it starts. */
  get environment(): Record<string, string> {
    return { NODE_OPTIONS: `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${this.#folder}` };
  }

  /** The process stands still for about a second meanwhile. */
  async take(pid: number): Promise<Heap> {
    const known = new Set(this.#files(pid));
    process.kill(pid, 'SIGUSR2');
    let heap: Heap | null = null;
    await waitFor(
      () => {
        const file = this.#files(pid).find((name) => !known.has(name));
        heap = file === undefined ? null : readSnapshot(join(this.#folder, file));
        return heap !== null;
      },
      () => `no heap snapshot of process ${pid}`,
    );
    if (heap === null) throw new Error(`No heap snapshot of process ${pid}`);
    return heap;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #files(pid: number): string[] {
    return readdirSync(this.#folder).filter((name) => name.split('.').includes(String(pid)));
  }
}

/** Null while the file is being written. */
function readSnapshot(file: string): Heap | null {
  if (!/\]\s*\}\s*$/.test(tailOf(file))) return null;
  const { snapshot, nodes, strings } = JSON.parse(readFileSync(file, 'utf8')) as Snapshot;
  const { node_fields: fields } = snapshot.meta;
  const size = fields.indexOf('self_size');
  let bytes = 0;
  for (let at = size; at < nodes.length; at += fields.length) bytes += nodes[at] ?? 0;
  return { liveKiB: Math.round(bytes / 1024), strings };
}

/** The last characters of a file: it is large, and looked at again and again. */
function tailOf(file: string): string {
  const descriptor = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(TAIL_BYTES);
    const start = Math.max(fstatSync(descriptor).size - TAIL_BYTES, 0);
    return bytes.subarray(0, readSync(descriptor, bytes, 0, TAIL_BYTES, start)).toString('latin1');
  } finally {
    closeSync(descriptor);
  }
}
