// The kernel's interface to legacy tables, by getsockopt and setsockopt as libiptc uses it (include/uapi/linux/
// netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h, netfilter/x_tables.h).
import type { NativeLibrary } from './library.js';

const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const IPPROTO_RAW = 255;
const GET_INFO = 64;
const GET_ENTRIES = 65;
const SET_REPLACE = 64;
const SET_ADD_COUNTERS = 65;
const TABLE_NAME_LENGTH = 32;
const HOOKS = 5;

/** struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size. */
const INFO = { validHooks: 32, hookEntry: 36, underflow: 56, entries: 76, size: 80, length: 84 } as const;
/** struct ipt_get_entries: name, size, entries aligned to 8. */
const ENTRIES = { size: 32, start: 40 } as const;
/** struct xt_counters_info: name, num_counters, counters aligned to 8. */
const COUNTERS = { count: 32 } as const;
/** struct ipt_replace: the same as INFO in another order, number and address of the old counters, entries. */
const REPLACE = {
  validHooks: 32,
  entries: 36,
  size: 40,
  hookEntry: 44,
  underflow: 64,
  oldEntries: 84,
  oldCounters: 88,
} as const;

/** Where the entries are in the memory of a table that is to be written: behind the struct that says what they are. */
export const ENTRIES_AT = 96;
/** Where counters are in the memory that they are added from. */
export const COUNTERS_AT = 40;
/** Bytes of struct xt_counters: packets and bytes. */
export const COUNTER_BYTES = 16;
/** Tables up to this size are copied in place, which takes less than a thread. */
const BYTES_IN_PLACE = 1024 * 1024;

/** Struct offsets of one family. */
export interface XtablesLayout {
  /** Offsets in struct ipt_entry and ip6t_entry, and its size: matches begin there. */
  readonly targetOffset: number;
  readonly nextOffset: number;
  readonly counters: number;
  readonly entry: number;
}

/** xt_entry_match and xt_entry_target: 16-bit size, name of 29 bytes, revision, data. */
export const EXTENSION = { name: 2, nameLength: 29, revision: 31, data: 32 } as const;
/** XT_FUNCTION_MAXNAMELEN, of chains. */
export const CHAIN_NAME_LENGTH = 30;
/** Names of the kernel's chains, by the number of their hook. */
export const HOOK_NAMES = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'] as const;

/** Layouts by family. */
export const XTABLES_LAYOUTS: Readonly<Record<4 | 6, XtablesLayout>> = {
  4: { targetOffset: 88, nextOffset: 90, counters: 96, entry: 112 },
  6: { targetOffset: 140, nextOffset: 142, counters: 152, entry: 168 },
};
const PROTOCOLS = { 4: { domain: 2, level: 0 }, 6: { domain: 10, level: 41 } } as const;

/** What the kernel tells of a table without its rules. */
export interface XtablesInfo {
  /** Offset of the first entry of each hook's chain, and of its policy; undefined where the table has no such hook. */
  readonly hookEntries: readonly (number | undefined)[];
  readonly underflows: readonly (number | undefined)[];
  readonly entries: number;
  readonly size: number;
}

/** One family's tables, of the network namespace that the process is in. */
export class XtablesSocket {
  readonly #library: NativeLibrary;
  readonly #fd: number;
  readonly #level: number;

  private constructor(library: NativeLibrary, fd: number, family: 4 | 6) {
    this.#library = library;
    this.#fd = fd;
    this.#level = PROTOCOLS[family].level;
  }

  /** Null when the kernel gives none. */
  static open(library: NativeLibrary, family: 4 | 6): XtablesSocket | null {
    const fd = library.socket(PROTOCOLS[family].domain, SOCK_RAW_CLOEXEC, IPPROTO_RAW);
    return fd < 0 ? null : new XtablesSocket(library, fd, family);
  }

  /** Null when the kernel does not answer. Makes it load a table that is not there. */
  info(table: string): XtablesInfo | null {
    const info = named(Buffer.alloc(INFO.length), table);
    if (this.#library.getsockopt(this.#fd, this.#level, GET_INFO, info, lengthOf(info.length)) < 0) return null;
    const valid = info.readUInt32LE(INFO.validHooks);
    const offsets = (at: number): (number | undefined)[] =>
      Array.from({ length: HOOKS }, (_, hook) =>
        (valid & (1 << hook)) === 0 ? undefined : info.readUInt32LE(at + 4 * hook),
      );
    return {
      hookEntries: offsets(INFO.hookEntry),
      underflows: offsets(INFO.underflow),
      entries: info.readUInt32LE(INFO.entries),
      size: info.readUInt32LE(INFO.size),
    };
  }

  /**
   * Reads the entries into `memory`, from {@link ENTRIES_AT} on. False when `size` is not that of the table any more.
   * The kernel leaves out bytes that have no meaning, as those behind a name.
   */
  async entries(table: string, size: number, memory: Buffer): Promise<boolean> {
    const start = ENTRIES_AT - ENTRIES.start;
    const request = memory.subarray(start, ENTRIES_AT + size);
    named(request.fill(0, 0, ENTRIES.start), table).writeUInt32LE(size, ENTRIES.size);
    const args = [this.#fd, this.#level, GET_ENTRIES, request, lengthOf(request.length)] as const;
    const status =
      size < BYTES_IN_PLACE ? this.#library.getsockopt(...args) : await this.#library.getsockoptInThread(...args);
    return status >= 0;
  }

  /**
   * The first `length` bytes of the entries, of a table that has this size; null if it has another or nothing can be
   * told. The kernel copies entries in order, and gives up where no memory is: that is much less than all of them.
   */
  async firstEntries(table: string, size: number, length: number): Promise<Buffer | null> {
    const total = ENTRIES.start + size;
    const memory = this.#library.reserve(total, ENTRIES.start + length);
    if (memory === null) return null;
    try {
      const head = named(Buffer.alloc(ENTRIES.start), table);
      head.writeUInt32LE(size, ENTRIES.size);
      memory.write(head);
      // It fails where the memory ends; what it wrote before counts. A table of another size leaves zeroes.
      await this.#library.getsockoptReserved(this.#fd, this.#level, GET_ENTRIES, memory, lengthOf(total));
      const read = Buffer.alloc(ENTRIES.start + length);
      memory.read(read);
      return read.subarray(ENTRIES.start);
    } finally {
      memory.free();
    }
  }

  /**
   * Replaces a table of `oldEntries` by the entries in `memory` (from {@link ENTRIES_AT} on), and fills `oldCounters` with
   * those that the old ones had until then. False when nothing was changed: the kernel refuses it, or has not so many.
   */
  async replace(
    table: string,
    memory: Buffer,
    info: XtablesInfo,
    oldEntries: number,
    oldCounters: Buffer,
  ): Promise<boolean> {
    if (oldCounters.length < COUNTER_BYTES * oldEntries) throw new RangeError('No room for the counters');
    const message = memory.subarray(0, ENTRIES_AT + info.size);
    named(message.fill(0, 0, ENTRIES_AT), table);
    let valid = 0;
    for (let hook = 0; hook < HOOKS; hook++) {
      const [entry, underflow] = [info.hookEntries[hook], info.underflows[hook]];
      if (entry === undefined || underflow === undefined) continue;
      valid |= 1 << hook;
      message.writeUInt32LE(entry, REPLACE.hookEntry + 4 * hook);
      message.writeUInt32LE(underflow, REPLACE.underflow + 4 * hook);
    }
    message.writeUInt32LE(valid, REPLACE.validHooks);
    message.writeUInt32LE(info.entries, REPLACE.entries);
    message.writeUInt32LE(info.size, REPLACE.size);
    message.writeUInt32LE(oldEntries, REPLACE.oldEntries);
    message.writeBigUInt64LE(this.#library.addressOf(oldCounters), REPLACE.oldCounters);
    const status = await this.#set(SET_REPLACE, message);
    // The kernel writes to an address that V8 does not know of: until here somebody must hold the buffer.
    return status >= 0 && oldCounters.length > 0;
  }

  /**
   * Adds to the counters of all entries what is in `memory` (from {@link COUNTERS_AT} on). False when the table has
   * another number of them.
   */
  async addCounters(table: string, memory: Buffer, entries: number): Promise<boolean> {
    const message = memory.subarray(0, COUNTERS_AT + COUNTER_BYTES * entries);
    named(message.fill(0, 0, COUNTERS_AT), table).writeUInt32LE(entries, COUNTERS.count);
    return (await this.#set(SET_ADD_COUNTERS, message)) >= 0;
  }

  close(): void {
    this.#library.close(this.#fd);
  }

  #set(option: number, message: Buffer): Promise<number> {
    return this.#library.setsockoptInThread(this.#fd, this.#level, option, message, message.length);
  }
}

function named(buffer: Buffer, table: string): Buffer {
  buffer.write(table.slice(0, TABLE_NAME_LENGTH - 1), 'latin1');
  return buffer;
}

function lengthOf(bytes: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes);
  return length;
}
