// The iptables seam inside our own process, for legacy tables: small changes of a table that we know are written by
// setsockopt, as libiptc does, all else by the tool. Why that is right: docs/design/tables.md.
import type { Clock } from '../../base/clock.js';
import { errorMessage, ToolError } from '../../base/errors.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import type { FileLock } from '../../kernel/file-lock.js';
import type { IpsetIndex } from '../../kernel/netlink/ipset-index.js';
import { ENTRIES_AT, type XtablesInfo, type XtablesSocket } from '../../kernel/netlink/xtables-socket.js';
import type { TaggedRules } from '../../kernel/netlink/tagged-rules.js';
import { readTable, type TableInMemory, type XtablesMemory } from '../../kernel/netlink/xtables-memory.js';
import { type Family, TABLE_NAMES, type TableName } from '../../model/family.js';
import { Turns } from '../turns.js';
import type { IptablesIo } from './io.js';
import { LegacyBlob } from './legacy-blob.js';
import { type CounterMemory, NO_PROCESS, replaceTable } from './legacy-replace.js';
import { compileLegacyScript, type LegacyScript } from './legacy-script.js';
import { isStamped, stampedEntries, stampOf, type TableStamp } from './legacy-stamp.js';
import { isAsKnown, type KnownTable } from './read.js';
import { SharedLock } from './shared-lock.js';

type Socket = Pick<XtablesSocket, 'info' | 'entries' | 'firstEntries' | 'replace' | 'addCounters'>;

/** What the native form is made of. `tool` does what it does not, and names the line that is refused. */
export interface LegacyIptablesIoOptions {
  /** Null where the kernel has none: then the tool does all. */
  readonly sockets: Readonly<Record<Family, Socket | null>>;
  /** The lock of the iptables tools. */
  readonly lock: Pick<FileLock, 'tryTake'>;
  readonly sets: Pick<IpsetIndex, 'find'>;
  readonly tool: IptablesIo;
  readonly clock: Clock;
  /** Shared with who reads tables. */
  readonly memory: XtablesMemory;
  /** What rules are known by, of a table in memory. */
  readonly readTags: (family: Family, info: XtablesInfo, memory: Buffer) => Promise<TaggedRules>;
}

/** A table that we have read or written, as long as nobody else writes. */
interface SeenTable {
  readonly stamp: TableStamp;
  /** What is known of the table was compared with this one, or one that it was made from. */
  isCompared: boolean;
  /** The table itself, for the next short script. */
  kept: KeptTable | null;
}

/** A table as we have written it. */
interface KeptTable {
  readonly blob: LegacyBlob;
  readonly counters: CounterMemory;
}

/** A table is kept for the next script unless this one was longer: memory is needed most in a start or a storm. */
const SHORT_SCRIPT = 128 * 1024;
/** Larger tables are not changed by short scripts, since they would be kept: those are the tool's. */
const MAX_KEPT_TABLE = 32 * 1024 * 1024;
/** Larger tables are the tool's altogether. */
const MAX_TABLE = 256 * 1024 * 1024;

/** {@link IptablesIo} for legacy tables. */
export class LegacyIptablesIo implements IptablesIo {
  readonly #options: LegacyIptablesIoOptions;
  readonly #lock: SharedLock;
  readonly #seen = new Map<string, SeenTable>();
  readonly #turns = new Turns();
  /** Something failed that cannot: from then on the tool does all. */
  #isDistrusted = false;

  constructor(options: LegacyIptablesIoOptions) {
    this.#options = options;
    this.#lock = new SharedLock(options.lock);
  }

  /** See IptablesIo. */
  save(family: Family, table: TableName): Promise<string> {
    return this.#options.tool.save(family, table);
  }

  /** See IptablesIo. */
  readTags(family: Family, table: TableName): Promise<KnownTable | null> {
    return this.#options.tool.readTags(family, table);
  }

  /** See IptablesIo. What was compared once is so as long as nobody else writes: that is asked for in no time. */
  async isAsKnown(family: Family, table: TableName, known: KnownTable): Promise<boolean> {
    const socket = this.#options.sockets[family];
    if (socket === null) return this.#options.tool.isAsKnown(family, table, known);
    const seen = this.#seen.get(keyOf(family, table));
    if (seen !== undefined) {
      if ((await stampedEntries(socket, table, seen.stamp)) === null) this.#forget(family, table);
      else if (seen.isCompared) return true;
      else if (seen.kept !== null) {
        const { blob } = seen.kept;
        seen.isCompared = isAsKnown(await this.#options.readTags(family, blob.info(), blob.memory), known);
        return seen.isCompared;
      }
    }
    return this.#compareWhole(socket, family, table, known);
  }

  /** Reads the table, and notes how to know it again if it is as known. */
  async #compareWhole(socket: Socket, family: Family, table: TableName, known: KnownTable): Promise<boolean> {
    const { memory: pool, readTags } = this.#options;
    const read = await readTable(socket, pool, family, table);
    if (read === null) return false;
    try {
      const isSame = isAsKnown(await readTags(family, read.info, read.memory), known);
      const stamp = stampOf(family, read.info, read.memory.subarray(ENTRIES_AT));
      if (isSame && stamp !== null) this.#seen.set(keyOf(family, table), { stamp, isCompared: true, kept: null });
      return isSame;
    } finally {
      pool.give(family, table, read.memory);
    }
  }

  /** See IptablesIo. Such a script takes the table anew. */
  expectLongScript(family: Family, table: TableName): void {
    this.#dropKept(family, table);
  }

  /** See IptablesIo. */
  epoch(): number | null {
    return this.#options.tool.epoch();
  }

  /** See IptablesIo. */
  async restore(family: Family, script: string): Promise<void> {
    const isKept = script.length <= SHORT_SCRIPT;
    // Of tables that are not kept there is one in memory at a time.
    const endTurn = isKept ? null : await this.#turns.take();
    try {
      const compiled = await this.#compile(family, script);
      // Where somebody holds the lock, the tool waits for it. What the kernel refuses, the tool says the line of.
      if (compiled !== null && (await this.#write(family, compiled, isKept))) return;
    } finally {
      endTurn?.();
    }
    this.#forgetTablesOf(family, script);
    await this.#options.tool.restore(family, script);
  }

  /** What the tool writes is another table: its memory is free while the tool works. */
  #forgetTablesOf(family: Family, script: string): void {
    for (const table of TABLE_NAMES) if (script.includes(`*${table}\n`)) this.#forget(family, table);
  }

  #compile(family: Family, script: string): Promise<LegacyScript | null> {
    const { sets, clock } = this.#options;
    return compileLegacyScript(family, script, (name) => sets.find(name), new TimeSlices(clock, SLICE_MS));
  }

  async #write(family: Family, script: LegacyScript, isKept: boolean): Promise<boolean> {
    const socket = this.#options.sockets[family];
    const release = socket === null || this.#isDistrusted ? null : this.#lock.take();
    if (socket === null || release === null) return false;
    try {
      return await this.#change(socket, family, script, isKept);
    } catch (error) {
      if (error instanceof ToolError) throw error;
      this.#isDistrusted = true;
      const message = `Cannot tell whether the kernel took the rules: ${errorMessage(error)}`;
      throw new ToolError(message, NO_PROCESS, { cause: error });
    } finally {
      release();
    }
  }

  /** False if nothing was changed. */
  async #change(socket: Socket, family: Family, script: LegacyScript, isKept: boolean): Promise<boolean> {
    const { memory: pool } = this.#options;
    const { table, newBytes } = script;
    const maxSize = isKept ? MAX_KEPT_TABLE : MAX_TABLE;
    const seen = this.#seen.get(keyOf(family, table));
    const counters = seen?.kept?.counters;
    const current =
      (await this.#keptInForce(socket, family, table)) ??
      (await this.#parsed(family, table, await readTable(socket, pool, family, table, { newBytes, maxSize })));
    // Whatever goes wrong from here on, it is read again.
    this.#seen.delete(keyOf(family, table));
    if (current === null) return false;
    const { blob } = current;
    const isCompared = seen?.isCompared === true && isStamped(seen.stamp, blob.size, current.entries);
    const oldEntries = blob.entries;
    const isChanged = await this.#apply(family, current, script, maxSize);
    const written = isChanged ? await replaceTable(socket, table, blob, oldEntries, counters) : null;
    const stamp = written?.stamp ?? null;
    const kept = written !== null && stamp !== null && isKept ? { blob, counters: written.counters } : null;
    if (kept === null) pool.give(family, table, blob.memory);
    if (stamp !== null) this.#seen.set(keyOf(family, table), { stamp, isCompared, kept });
    return written !== null;
  }

  /** The table that is kept, if it is in force; if it is not it is kept no longer. */
  async #keptInForce(socket: Socket, family: Family, table: TableName): Promise<CurrentTable | null> {
    const seen = this.#seen.get(keyOf(family, table));
    if (seen === undefined || seen.kept === null) return null;
    const { blob } = seen.kept;
    const entries = await stampedEntries(socket, table, seen.stamp);
    if (entries === null) this.#dropKept(family, table);
    return entries === null ? null : { blob, entries };
  }

  /** Changes the table in memory. False if it cannot be changed, or if its rules would be about other sets. */
  async #apply(
    family: Family,
    { blob, entries }: CurrentTable,
    script: LegacyScript,
    maxSize: number,
  ): Promise<boolean> {
    const { memory } = blob;
    const slices = new TimeSlices(this.#options.clock, SLICE_MS);
    const isChanged = await blob.apply(script.edits, entries, maxSize, slices);
    // A table that grew is in new memory.
    if (blob.memory !== memory) this.#options.memory.give(family, script.table, memory);
    return isChanged && this.#setsAreSame(script.sets);
  }

  /** Takes over the memory of what was read, or gives it back if it is not understood. */
  async #parsed(family: Family, table: TableName, read: TableInMemory | null): Promise<CurrentTable | null> {
    if (read === null) return null;
    const { info, memory } = read;
    const blob = await LegacyBlob.parse(family, info, memory, new TimeSlices(this.#options.clock, SLICE_MS));
    if (blob !== null) return { blob, entries: memory.subarray(ENTRIES_AT) };
    this.#options.memory.give(family, table, memory);
    return null;
  }

  #dropKept(family: Family, table: TableName): void {
    const seen = this.#seen.get(keyOf(family, table));
    if (seen === undefined || seen.kept === null) return;
    this.#options.memory.give(family, table, seen.kept.blob.memory);
    seen.kept = null;
  }

  #forget(family: Family, table: TableName): void {
    this.#dropKept(family, table);
    this.#seen.delete(keyOf(family, table));
  }

  #setsAreSame(sets: LegacyScript['sets']): boolean {
    for (const [name, { index }] of sets) if (this.#options.sets.find(name)?.index !== index) return false;
    return true;
  }
}

/** A table that is in force, and its first entries with the counters that they have. */
interface CurrentTable {
  readonly blob: LegacyBlob;
  readonly entries: Buffer;
}

function keyOf(family: Family, table: TableName): string {
  return `${table}/${family}`;
}
