// Memory for legacy tables, and how they are read into it. It is used again: a table is megabytes, and what was read for one
// question would wait for V8 to collect it, which it seldom does for what is outside of its heap. What waits holds addresses
// only, its pages are given back.
import type { NativeLibrary } from './library.js';
import { ENTRIES_AT, type XtablesInfo, type XtablesSocket } from './xtables-socket.js';

/** Room for what a table grows by, before its memory is made anew: a part of its size, and some bytes. */
const SLACK = { part: 16, bytes: 64 * 1024 } as const;

const TRIM_FROM = 1024 * 1024;
/** A table that somebody changes between the two questions is asked for again, so often. */
const ATTEMPTS = 3;

/** At most one piece for each table. */
export class XtablesMemory {
  readonly #free = new Map<string, Buffer>();
  readonly #library: Pick<NativeLibrary, 'discard' | 'trim'>;

  constructor(library: Pick<NativeLibrary, 'discard' | 'trim'>) {
    this.#library = library;
  }

  /** Memory for a table of `size`, its entries from {@link ENTRIES_AT} on. What is in it may be anything. */
  take(family: 4 | 6, table: string, size: number): Buffer {
    const key = `${table}/${family}`;
    const free = this.#free.get(key);
    this.#free.delete(key);
    // A large table is about to fill megabytes, after a start or a storm: what those left free can go first.
    if (size >= TRIM_FROM) this.#library.trim();
    return free !== undefined && free.length >= ENTRIES_AT + size ? free : XtablesMemory.allocate(size);
  }

  /** Gives memory back that nobody uses any more. */
  give(family: 4 | 6, table: string, memory: Buffer): void {
    this.#library.discard(memory);
    this.#free.set(`${table}/${family}`, memory);
  }

  /** New memory, aligned for 64-bit numbers and of a whole number of them. */
  static allocate(size: number): Buffer {
    const length = ENTRIES_AT + size + Math.ceil(size / SLACK.part) + SLACK.bytes;
    return Buffer.from(new ArrayBuffer(length + (-length & 7)));
  }
}

/** A table as it was read: its entries from {@link ENTRIES_AT} on. */
export interface TableInMemory {
  readonly info: XtablesInfo;
  readonly memory: Buffer;
}

/**
 * Reads a table of up to `maxSize` bytes, with room for `newBytes` more: two copies of it would need as much again. Null
 * when the kernel does not answer, the table is larger, or it does not stand still. The memory is the caller's to give back.
 */
export async function readTable(
  socket: Pick<XtablesSocket, 'info' | 'entries'>,
  pool: XtablesMemory,
  family: 4 | 6,
  table: string,
  { newBytes, maxSize } = { newBytes: 0, maxSize: Number.POSITIVE_INFINITY },
): Promise<TableInMemory | null> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const info = socket.info(table);
    if (info === null || info.size > maxSize) return null;
    const memory = pool.take(family, table, info.size + newBytes);
    if (await socket.entries(table, info.size, memory)) return { info, memory };
    pool.give(family, table, memory);
  }
  return null;
}
