// By what a legacy table is known to be the one that was looked at before, without reading it again: docs/design/tables.md.
import { randomBytes } from 'node:crypto';
import {
  COUNTER_BYTES,
  type XtablesInfo,
  type XtablesSocket,
  XTABLES_LAYOUTS,
} from '../../kernel/netlink/xtables-socket.js';
import type { Family, TableName } from '../../model/family.js';

/**
 * The counters of the head of the first chain that a user made: no packet comes to that entry, no tool prints it, and the
 * kernel empties them whenever a table is replaced. So who finds there what we gave has the table before them that we wrote.
 */
export interface TableStamp {
  /** Bytes of all entries. */
  readonly size: number;
  /** Where the counters are in the entries. */
  readonly countersAt: number;
  /** {@link COUNTER_BYTES}, not all zero. */
  readonly counters: Buffer;
}

/** A stamp that no other table has. */
export function newStamp(size: number, countersAt: number): TableStamp {
  return { size, countersAt, counters: randomBytes(COUNTER_BYTES) };
}

/** The stamp of a table in memory, be it of an earlier process; null if it has none. */
export function stampOf(family: Family, info: XtablesInfo, entries: Buffer): TableStamp | null {
  const { nextOffset, counters } = XTABLES_LAYOUTS[family];
  // Chains of the kernel come first, and each ends with its policy.
  const lastPolicy = Math.max(...info.underflows.map((at) => at ?? -1));
  if (lastPolicy < 0) return null;
  const head = lastPolicy + entries.readUInt16LE(lastPolicy + nextOffset);
  const countersAt = head + counters;
  if (countersAt + COUNTER_BYTES > info.size) return null;
  const found = Buffer.from(entries.subarray(countersAt, countersAt + COUNTER_BYTES));
  return found.every((byte) => byte === 0) ? null : { size: info.size, countersAt, counters: found };
}

/** Whether a table of this size, of which these are the first entries or all, has the stamp. */
export function isStamped(stamp: TableStamp, size: number, entries: Buffer): boolean {
  const { countersAt, counters } = stamp;
  return size === stamp.size && entries.subarray(countersAt, countersAt + COUNTER_BYTES).equals(counters);
}

/** The entries up to the stamp, with the counters that they have now; null if the table in force has it not. */
export async function stampedEntries(
  socket: Pick<XtablesSocket, 'firstEntries'>,
  table: TableName,
  stamp: TableStamp,
): Promise<Buffer | null> {
  const entries = await socket.firstEntries(table, stamp.size, stamp.countersAt + COUNTER_BYTES);
  return entries !== null && isStamped(stamp, stamp.size, entries) ? entries : null;
}
