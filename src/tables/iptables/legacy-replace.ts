// How a legacy table that was changed in memory gets into the kernel, with the counters of its rules.
import { ToolError } from '../../base/errors.js';
import { COUNTER_BYTES, COUNTERS_AT, type XtablesSocket } from '../../kernel/netlink/xtables-socket.js';
import type { TableName } from '../../model/family.js';
import type { LegacyBlob } from './legacy-blob.js';
import { newStamp, type TableStamp } from './legacy-stamp.js';

/** Used again for each write: megabytes for one pod after the other would wait long to be collected. */
export interface CounterMemory {
  readonly old: Buffer;
  readonly added: Buffer;
}

/** In the place of a tool's failure. */
export const NO_PROCESS = { argv: ['x_tables'], exitCode: null, signal: null, stderrHead: '', durationMs: 0 } as const;

/** Entries that a table may get before the memory of its counters is made anew. */
const COUNTER_SLACK = 1024;

/**
 * Puts a table into the kernel in the place of one with so many entries; rules that stay go on counting, and the table gets a
 * stamp if it has a place for one. `used` is the memory of an earlier call, which may be used again. Null if nothing was
 * changed; rejects with a ToolError if the counters cannot be added: somebody else wrote meanwhile.
 */
export async function replaceTable(
  socket: Pick<XtablesSocket, 'replace' | 'addCounters'>,
  table: TableName,
  blob: LegacyBlob,
  oldEntries: number,
  used: CounterMemory | undefined,
): Promise<{ readonly stamp: TableStamp | null; readonly counters: CounterMemory } | null> {
  const counters = counterMemory(Math.max(oldEntries, blob.entries), used);
  if (!(await socket.replace(table, blob.memory, blob.info(), oldEntries, counters.old))) return null;
  const added = counters.added.subarray(COUNTERS_AT);
  blob.countersAfter(counters.old, added);
  const head = blob.firstHead();
  const stamp = head === null ? null : newStamp(blob.size, head.countersAt);
  if (head !== null) stamp?.counters.copy(added, head.index * COUNTER_BYTES);
  if (!(await socket.addCounters(table, counters.added, blob.entries))) {
    throw new ToolError('Another program has changed the table while it was written', NO_PROCESS);
  }
  return { stamp, counters };
}

/** Memory for the counters of so many entries: what was used before, or anew if that is too small. */
function counterMemory(entries: number, used: CounterMemory | undefined): CounterMemory {
  const length = COUNTER_BYTES * entries;
  if (used !== undefined && used.old.length >= length) return used;
  const withSlack = length + COUNTER_BYTES * COUNTER_SLACK;
  return { old: Buffer.alloc(withSlack), added: Buffer.alloc(COUNTERS_AT + withSlack) };
}
