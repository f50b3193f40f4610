// Reads the comments of a legacy table's rules: some milliseconds for thousands of rules, without a process and without
// text.
import { setImmediate } from 'node:timers/promises';
import type { NativeLibrary } from './library.js';
import { type TaggedRules, TaggedRulesBuilder } from './tagged-rules.js';
import { readTable, XtablesMemory } from './xtables-memory.js';
import {
  CHAIN_NAME_LENGTH,
  ENTRIES_AT,
  EXTENSION,
  HOOK_NAMES,
  type XtablesInfo,
  type XtablesLayout,
  XTABLES_LAYOUTS,
  XtablesSocket,
} from './xtables-socket.js';

/** Names as numbers, because each of thousands of rules has some. */
const NAMES = {
  /** Target of the first entry of a chain that was made by a user, and of the end of the table. */
  error: numbersOf('ERROR'),
  comment: numbersOf('comment'),
} as const;
/** So many entries take some milliseconds. */
const ENTRIES_PER_SLICE = 8192;

/** Reads legacy tables of the network namespace that the process is in. Keeps nothing open. */
export class XtablesReader {
  readonly #library: NativeLibrary;
  readonly #tagPrefix: Buffer;
  readonly #memory: XtablesMemory;

  /** `tagPrefix` begins the comments that rules are known by. */
  constructor(library: NativeLibrary, tagPrefix: string, memory: XtablesMemory = new XtablesMemory(library)) {
    this.#library = library;
    this.#tagPrefix = Buffer.from(tagPrefix);
    this.#memory = memory;
  }

  /** Null when the kernel does not answer, or the table does not stand still. Makes the kernel load a table that is not there. */
  async taggedRules(family: 4 | 6, table: string): Promise<TaggedRules | null> {
    const socket = XtablesSocket.open(this.#library, family);
    if (socket === null) return null;
    try {
      const read = await readTable(socket, this.#memory, family, table);
      if (read === null) return null;
      const found = await this.taggedRulesIn(family, read.info, read.memory);
      this.#memory.give(family, table, read.memory);
      return found;
    } finally {
      socket.close();
    }
  }

  /** What is in memory, from {@link ENTRIES_AT} on. */
  taggedRulesIn(family: 4 | 6, info: XtablesInfo, memory: Buffer): Promise<TaggedRules> {
    const entries = memory.subarray(ENTRIES_AT, ENTRIES_AT + info.size);
    return parseEntries(XTABLES_LAYOUTS[family], info, entries, this.#tagPrefix);
  }
}

async function parseEntries(
  layout: XtablesLayout,
  info: XtablesInfo,
  entries: Buffer,
  prefix: Buffer,
): Promise<TaggedRules> {
  const found = new TaggedRulesBuilder();
  const heads = new Map<number, string>();
  const policies = new Set<number>();
  for (const [hook, name] of HOOK_NAMES.entries()) {
    const [start, policy] = [info.hookEntries[hook], info.underflows[hook]];
    if (start === undefined || policy === undefined) continue;
    heads.set(start, name);
    policies.add(policy);
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
      const tag = tagOf(entries, at + layout.entry, target, prefix);
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
  const extension = cString(entries, target + EXTENSION.name, EXTENSION.nameLength);
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
