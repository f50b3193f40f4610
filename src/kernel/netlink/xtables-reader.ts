// Reads a legacy iptables table by getsockopt, as libiptc does, but only the comments of its rules: some milliseconds
// for thousands of rules, without a process and without text (include/uapi/linux/netfilter_ipv4/ip_tables.h,
// netfilter_ipv6/ip6_tables.h, netfilter/x_tables.h).
import { setImmediate } from 'node:timers/promises';
import type { NativeLibrary } from './library.js';
import { type TaggedRules, TaggedRulesBuilder } from './tagged-rules.js';

const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const IPPROTO_RAW = 255;
const GET_INFO = 64;
const GET_ENTRIES = 65;
const TABLE_NAME_LENGTH = 32;

/** struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size. */
const INFO = { validHooks: 32, hookEntry: 36, underflow: 56, size: 80, length: 84 } as const;
/** struct ipt_get_entries: name, size, entries aligned to 8. */
const ENTRIES = { size: 32, start: 40 } as const;
/** xt_entry_match and xt_entry_target: 16-bit size, name of 29 bytes, revision, data. */
const EXTENSION = { name: 2, data: 32 } as const;
/** XT_FUNCTION_MAXNAMELEN, of chains. */
const CHAIN_NAME_LENGTH = 30;
/** XT_EXTENSION_MAXNAMELEN. */
const EXTENSION_NAME_LENGTH = 29;
/** Names as numbers, because each of thousands of rules has some. */
const NAMES = {
  /** Target of the first entry of a chain that was made by a user, and of the end of the table. */
  error: numbersOf('ERROR'),
  comment: numbersOf('comment'),
} as const;
const HOOK_NAMES = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'] as const;

interface Layout {
  readonly domain: number;
  readonly level: number;
  /** Offsets in an entry, and where its matches begin. */
  readonly targetOffset: number;
  readonly nextOffset: number;
  readonly matches: number;
}

const LAYOUTS: Readonly<Record<4 | 6, Layout>> = {
  4: { domain: 2, level: 0, targetOffset: 88, nextOffset: 90, matches: 112 },
  6: { domain: 10, level: 41, targetOffset: 140, nextOffset: 142, matches: 168 },
};

/** A table that somebody changes between the two questions is asked for again, so often. */
const ATTEMPTS = 3;
/** Tables from this size on are copied by a thread: the kernel needs milliseconds for so many rules. */
const BYTES_IN_PLACE = 1024 * 1024;
/** So many entries take some milliseconds. */
const ENTRIES_PER_SLICE = 8192;

/** Reads legacy tables of the network namespace that the process is in. Keeps nothing open. */
export class XtablesReader {
  readonly #library: NativeLibrary;
  readonly #tagPrefix: Buffer;

  /** `tagPrefix` begins the comments that rules are known by. */
  constructor(library: NativeLibrary, tagPrefix: string) {
    this.#library = library;
    this.#tagPrefix = Buffer.from(tagPrefix);
  }

  /** Null when the kernel does not answer, or the table does not stand still. Makes the kernel load a table that is not there. */
  async taggedRules(family: 4 | 6, table: string): Promise<TaggedRules | null> {
    const layout = LAYOUTS[family];
    const fd = this.#library.socket(layout.domain, SOCK_RAW_CLOEXEC, IPPROTO_RAW);
    if (fd < 0) return null;
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const info = this.#info(fd, layout, table);
        if (info === null) return null;
        const entries = await this.#entries(fd, layout, table, info.readUInt32LE(INFO.size));
        if (entries !== null) return await parseEntries(layout, info, entries, this.#tagPrefix);
      }
      return null;
    } finally {
      this.#library.close(fd);
    }
  }

  #info(fd: number, { level }: Layout, table: string): Buffer | null {
    const info = Buffer.alloc(INFO.length);
    info.write(table.slice(0, TABLE_NAME_LENGTH - 1), 'latin1');
    const status = this.#library.getsockopt(fd, level, GET_INFO, info, lengthOf(info));
    return status < 0 ? null : info;
  }

  /** Null when the size is not that of the table any more. */
  async #entries(fd: number, { level }: Layout, table: string, size: number): Promise<Buffer | null> {
    // The kernel writes all of it: zeroes before would be a second pass over megabytes.
    const buffer = Buffer.allocUnsafeSlow(ENTRIES.start + size).fill(0, 0, ENTRIES.start);
    buffer.write(table.slice(0, TABLE_NAME_LENGTH - 1), 'latin1');
    buffer.writeUInt32LE(size, ENTRIES.size);
    const length = lengthOf(buffer);
    const status =
      size < BYTES_IN_PLACE
        ? this.#library.getsockopt(fd, level, GET_ENTRIES, buffer, length)
        : await this.#library.getsockoptInThread(fd, level, GET_ENTRIES, buffer, length);
    return status < 0 ? null : buffer.subarray(ENTRIES.start);
  }
}

function lengthOf(buffer: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(buffer.length);
  return length;
}

async function parseEntries(layout: Layout, info: Buffer, entries: Buffer, prefix: Buffer): Promise<TaggedRules> {
  const found = new TaggedRulesBuilder();
  const heads = new Map<number, string>();
  const policies = new Set<number>();
  for (const [hook, name] of HOOK_NAMES.entries()) {
    if ((info.readUInt32LE(INFO.validHooks) & (1 << hook)) === 0) continue;
    heads.set(info.readUInt32LE(INFO.hookEntry + 4 * hook), name);
    policies.add(info.readUInt32LE(INFO.underflow + 4 * hook));
  }
  /** Rules without a tag, as chain and place of the target: chains that they jump to may still come. */
  const others: (readonly [chain: string, target: number])[] = [];
  /** Place of the first rule → chain that a user made. */
  const made = new Map<number, string>();
  let chain = '';
  let tags: string[] = [];
  let isUserChain = false;
  let count = 0;
  for (let at = 0; at < entries.length; ) {
    const next = at + entries.readUInt16LE(at + layout.nextOffset);
    const target = at + entries.readUInt16LE(at + layout.targetOffset);
    const hook = heads.get(at);
    const isHead = hook === undefined && isNamed(entries, target, NAMES.error);
    // A chain that a user made ends with a return that is no rule of it.
    if (isHead || hook !== undefined) {
      if (isUserChain) tags.pop();
      isUserChain = isHead;
      chain = hook ?? cString(entries, target + EXTENSION.data, CHAIN_NAME_LENGTH);
      if (isHead) made.set(next, chain);
      tags = next < entries.length ? found.chain(chain) : [];
    }
    if (!isHead && !policies.has(at)) {
      const tag = tagOf(entries, at + layout.matches, target, prefix);
      tags.push(tag);
      if (tag === '') others.push([chain, target]);
    }
    if (next <= at) break;
    at = next;
    count += 1;
    if (count % ENTRIES_PER_SLICE === 0) await setImmediate();
  }
  for (const [name, target] of others) {
    const destination = destinationOf(entries, target, made);
    if (destination !== undefined) found.addOther(name, destination);
  }
  return found;
}

/** Where a target leads to: a chain, or the name of its extension. Undefined for a verdict. */
function destinationOf(entries: Buffer, target: number, chains: ReadonlyMap<number, string>): string | undefined {
  const extension = cString(entries, target + EXTENSION.name, EXTENSION_NAME_LENGTH);
  return extension === '' ? chains.get(entries.readInt32LE(target + EXTENSION.data)) : extension;
}

/** What follows the prefix in the first comment that begins with it; empty if none does. */
function tagOf(entries: Buffer, start: number, end: number, prefix: Buffer): string {
  for (let at = start; at < end; ) {
    const comment = at + EXTENSION.data;
    if (isNamed(entries, at, NAMES.comment) && begins(entries, comment, prefix))
      return cString(entries, comment + prefix.length, end - comment - prefix.length);
    const size = entries.readUInt16LE(at);
    if (size === 0) break;
    at += size;
  }
  return '';
}

function begins(entries: Buffer, start: number, text: Buffer): boolean {
  for (let at = 0; at < text.length; at++) if (entries[start + at] !== text[at]) return false;
  return true;
}

/** The first eight bytes as two numbers, and which bits of the second count: what is behind the zero may be anything. */
function numbersOf(name: string): readonly [number, number, number] {
  const bytes = Buffer.alloc(8);
  bytes.write(name, 'latin1');
  const mask = name.length >= 7 ? -1 : (1 << (8 * (name.length - 3))) - 1;
  return [bytes.readInt32LE(0), bytes.readInt32LE(4), mask];
}

function isNamed(entries: Buffer, at: number, [first, second, mask]: readonly [number, number, number]): boolean {
  const start = at + EXTENSION.name;
  return entries.readInt32LE(start) === first && (entries.readInt32LE(start + 4) & mask) === second;
}

function cString(bytes: Buffer, start: number, maxLength: number): string {
  const end = bytes.indexOf(0, start);
  return bytes.toString('latin1', start, end < 0 ? start + maxLength : Math.min(end, start + maxLength));
}
