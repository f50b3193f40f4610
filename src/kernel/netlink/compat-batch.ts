// Builds one nf_tables transaction on a table of iptables-nft. Its rules are long (each carries a comment of 256 bytes)
// and alike, so they are copies of forms into which texts are put, in pieces of memory that are used again.
import { BugError } from '../../base/errors.js';
import { loadNativeLibrary } from './library.js';
import { FLAG, MessageWriter } from './message.js';
import type { ChainHook } from './nf-batch.js';
import {
  BATCH_BEGIN,
  BATCH_END,
  CHAIN,
  HOOK,
  HOOKS,
  MESSAGE,
  RULE,
  SUBSYSTEM,
  SUBSYSTEM_NUMBER,
  TABLE,
} from './nf-numbers.js';
import type { PiecedBatch } from './nf-tables.js';

const FAMILY = { 4: 2, 6: 10 } as const;
/** What extensions are told of the rule that they are in. */
const COMPAT = { protocol: 1, flags: 2 } as const;
const COMPAT_INVERTED = 2;
/** Offsets in a header. */
const FLAGS_OFFSET = 6;
/** The lower half of a number is enough: the one answer that is asked for comes on a socket that has nothing else to read. */
const SEQUENCE_OFFSET = 8;

/** Behind the header. */
const FAMILY_OFFSET = 16;

const PIECE_BYTES = 128 * 1024;
/** One writev takes 1,024 pieces (IOV_MAX), so those of a very large batch, from this one on, are larger. */
const SMALL_PIECES = 64;
const LARGE_PIECE_BYTES = 1024 * 1024;
/** Pieces that wait to be used again: a pod's batch takes four. New memory costs a page fault each 4 KiB. */
const MAX_SPARE = 4;
const spare: Buffer[] = [];

/** The protocol that a rule is for; 0 = any. */
export interface RuleProtocol {
  readonly number: number;
  readonly isNegated: boolean;
}

/** A rule as it follows the names of its table and chain, and where texts go into it. */
export interface CompatRule {
  readonly bytes: Buffer;
  readonly places: readonly number[];
}

/** Rules of one chain, one after the other in a piece of a batch. */
export interface RuleRun {
  readonly batch: CompatBatch;
  readonly piece: number;
  readonly start: number;
  readonly end: number;
}

/** For one message after the other: nothing awaits in between. */
const scratch = new MessageWriter(1024);

/** The bytes of a rule whose expressions are these, encoded, one after the other. */
export function compatRuleBytes(parts: readonly Buffer[], protocol: RuleProtocol): Buffer {
  scratch
    .clear()
    .nested(RULE.expressions, (list) => {
      for (const part of parts) list.bytes(part);
    })
    .nested(RULE.compat, (compat) =>
      compat
        .attributeU32Be(COMPAT.protocol, protocol.number)
        .attributeU32Be(COMPAT.flags, protocol.isNegated ? COMPAT_INVERTED : 0),
    );
  return Buffer.from(scratch.finish());
}

/** Offset of the first expression in {@link compatRuleBytes}. */
export const FIRST_EXPRESSION = 4;

/** One transaction on one table. */
export class CompatBatch {
  readonly #family: 4 | 6;
  readonly #table: string;
  readonly #pieces: { readonly bytes: Buffer; length: number }[] = [];
  readonly #chainForms = new Map<number, Buffer>();
  #chain = '';
  /** What the rules of the chain begin with. */
  #head: Buffer = Buffer.alloc(0);
  #run = { piece: -1, start: 0 };
  #messages = 0;
  #lastStart = 0;

  constructor(family: 4 | 6, table: string) {
    this.#family = family;
    this.#table = table;
  }

  addTable(): void {
    this.#message(MESSAGE.newTable, FLAG.create, (writer) =>
      writer.attributeString(TABLE.name, this.#table).attributeU32Be(TABLE.flags, 0),
    );
  }

  /** No failure if it exists. */
  addChain(name: string, base?: ChainHook): void {
    if (base === undefined) {
      this.#aboutChain(MESSAGE.newChain, FLAG.create, CHAIN.name, name);
      return;
    }
    this.#message(MESSAGE.newChain, FLAG.create, (writer) => {
      const number = HOOKS.ip.indexOf(base.hook);
      if (number < 0) throw new BugError(`${base.hook} is no hook`);
      writer
        .attributeString(CHAIN.table, this.#table)
        .attributeString(CHAIN.name, name)
        .nested(CHAIN.hook, (hook) =>
          hook.attributeU32Be(HOOK.number, number).attributeU32Be(HOOK.priority, base.priority),
        )
        .attributeString(CHAIN.type, base.type);
    });
  }

  flushChain(name: string): void {
    this.#aboutChain(MESSAGE.deleteRule, 0, RULE.chain, name);
  }

  deleteChain(name: string): void {
    this.#aboutChain(MESSAGE.deleteChain, 0, CHAIN.name, name);
  }

  /** Adds a rule at the end of a chain, or before all others. `texts` are plain ASCII, one for each place. */
  addRule(chain: string, rule: CompatRule, texts: readonly string[], place: 'first' | 'last'): void {
    if (this.#chain !== chain) this.#open(chain);
    const { bytes, places } = rule;
    const start = this.#head.length;
    const length = start + bytes.length;
    const message = this.#reserve(length);
    message.set(this.#head, this.#lastStart);
    message.set(bytes, this.#lastStart + start);
    putU16(message, this.#lastStart, length);
    putU16(message, this.#lastStart + SEQUENCE_OFFSET, this.#messages);
    if (place === 'first') putU16(message, this.#lastStart + FLAGS_OFFSET, FLAG.request | FLAG.create);
    for (let index = 0; index < places.length; index++) {
      putText(message, this.#lastStart + start + (places[index] ?? 0), texts[index] ?? '');
    }
  }

  /** The rules that are added from now on, until {@link endRun}, are to be copied by the batch of the other family. */
  startRun(): void {
    this.#run = { piece: this.#pieces.length - 1, start: this.#pieces.at(-1)?.length ?? 0 };
  }

  /** Null if the rules are not in one piece. */
  endRun(): RuleRun | null {
    const { piece, start } = this.#run;
    const end = this.#pieces.at(-1)?.length ?? 0;
    return piece < 0 || piece !== this.#pieces.length - 1 ? null : { batch: this, piece, start, end };
  }

  /** Adds rules of a batch of the other family on a table of the same name. False if that batch was released meanwhile. */
  copyRun({ batch, piece, start, end }: RuleRun): boolean {
    const source = batch.#pieces[piece];
    if (source === undefined) return false;
    const message = this.#reserve(end - start);
    let at = this.#lastStart;
    const stop = at + end - start;
    message.set(source.bytes.subarray(start, end), at);
    // The room for all of them counts as one message.
    for (let number = this.#messages; at < stop; number++) {
      this.#messages = number;
      this.#lastStart = at;
      message[at + FAMILY_OFFSET] = FAMILY[this.#family];
      putU16(message, at + SEQUENCE_OFFSET, number);
      at += message.readUInt32LE(at);
    }
    return true;
  }

  /** What was written, and the number of its messages. `asksForAnswer`: of the last of them. */
  finish(asksForAnswer: boolean): PiecedBatch {
    const last = this.#pieces.at(-1);
    if (last !== undefined && asksForAnswer) {
      const at = this.#lastStart + FLAGS_OFFSET;
      putU16(last.bytes, at, last.bytes.readUInt16LE(at) | FLAG.ack);
    }
    return { bytes: this.#pieces.map(({ bytes, length }) => bytes.subarray(0, length)), messages: this.#messages };
  }

  /** Gives the memory back, once the kernel has what is in it. The batch is of no use afterwards. */
  release(): void {
    const { library } = loadNativeLibrary();
    for (const { bytes } of this.#pieces.splice(0)) {
      if (spare.length < MAX_SPARE && bytes.length === PIECE_BYTES) spare.push(bytes);
      // V8 collects it late: outside of its heap it sees no need to.
      else library?.discard(bytes);
    }
  }

  #open(chain: string): void {
    const writer = this.#begin(MESSAGE.newRule, FLAG.create | FLAG.append)
      .attributeString(RULE.table, this.#table)
      .attributeString(RULE.chain, chain);
    this.#head = Buffer.from(writer.end().finish());
    this.#chain = chain;
  }

  /** A message that says nothing but table and chain; those about names of one length are alike. */
  #aboutChain(type: number, flags: number, attribute: number, name: string): void {
    const key = (type << 8) | name.length;
    let form = this.#chainForms.get(key);
    if (form === undefined) {
      // All kinds of messages have the table in the same place.
      const writer = this.#begin(type, flags).attributeString(CHAIN.table, this.#table);
      form = Buffer.from(writer.attributeString(attribute, name).end().finish());
      this.#chainForms.set(key, form);
    }
    const message = this.#reserve(form.length);
    message.set(form, this.#lastStart);
    putU16(message, this.#lastStart + SEQUENCE_OFFSET, this.#messages);
    putText(message, this.#lastStart + form.length - ((name.length + 4) & ~3), name);
  }

  #message(type: number, flags: number, content: (writer: MessageWriter) => void): void {
    const writer = this.#begin(type, flags);
    content(writer);
    const bytes = writer.end().finish();
    const message = this.#reserve(bytes.length);
    message.set(bytes, this.#lastStart);
    putU16(message, this.#lastStart + SEQUENCE_OFFSET, this.#messages);
  }

  #begin(type: number, flags: number): MessageWriter {
    return scratch
      .clear()
      .begin(SUBSYSTEM | type, FLAG.request | flags, 0)
      .u8(FAMILY[this.#family])
      .u8(0)
      .u16(0);
  }

  /** Memory with room for a message at `#lastStart`. */
  #reserve(length: number): Buffer {
    let piece = this.#pieces.at(-1);
    if (piece === undefined || piece.length + length > piece.bytes.length) {
      const size = this.#pieces.length < SMALL_PIECES ? PIECE_BYTES : LARGE_PIECE_BYTES;
      const bytes = size > PIECE_BYTES ? undefined : spare.pop();
      piece = { bytes: bytes ?? Buffer.allocUnsafeSlow(size), length: 0 };
      this.#pieces.push(piece);
    }
    this.#lastStart = piece.length;
    piece.length += length;
    this.#messages += 1;
    return piece.bytes;
  }
}

/** Batches as one, all or nothing, between the marks of a batch. None of them may be joined with others before. */
export function joinCompatBatches(batches: readonly CompatBatch[]): PiecedBatch {
  // One answer is waited for: a success must be that of the last.
  const parts = batches.map((batch, index) => batch.finish(index === batches.length - 1));
  return {
    bytes: [mark(BATCH_BEGIN), ...parts.flatMap(({ bytes }) => bytes), mark(BATCH_END)],
    messages: parts.reduce((sum, { messages }) => sum + messages, 2),
  };
}

function mark(type: number): Buffer {
  scratch.clear().begin(type, FLAG.request, 0).u8(0).u8(0).u16Be(SUBSYSTEM_NUMBER).end();
  return Buffer.from(scratch.finish());
}

/** Messages of a rule are shorter than 64 KiB, and their flags come first. */
function putU16(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

function putText(bytes: Buffer, at: number, text: string): void {
  for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index);
}
