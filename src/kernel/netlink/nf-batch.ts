// Builds one nf_tables transaction as netlink messages: tables, chains, rules, sets and elements, in the order of the
// calls (include/uapi/linux/netfilter/nf_tables.h). The kernel takes all of it or nothing.
import { BugError } from '../../base/errors.js';
import { FLAG, MessageWriter } from './message.js';
import { type Expression, writeExpressions } from './nf-expressions.js';
import {
  BATCH_BEGIN,
  BATCH_END,
  CHAIN,
  FAMILY,
  HOOK,
  HOOKS,
  MESSAGE,
  RULE,
  SUBSYSTEM,
  SUBSYSTEM_NUMBER,
  TABLE,
} from './nf-numbers.js';
import { type Batch, type ElementChange, encodeElement } from './nf-tables.js';

const SET = {
  table: 1,
  name: 2,
  flags: 3,
  keyType: 4,
  keyLength: 5,
  dataType: 6,
  dataLength: 7,
  id: 10,
  userData: 13,
} as const;
const ELEMENT_LIST = { table: 1, set: 2, elements: 3 } as const;
/** The list of elements is one attribute with a 16-bit length; the longest element takes about 70 bytes. */
const ELEMENTS_PER_MESSAGE = 800;

/** A family's name, as nft writes it. */
export type BatchFamily = keyof typeof FAMILY;

/** How a set or map is made: what nft 1.0.6 sends for it, so that it prints as if nft had made it. */
export interface SetForm {
  readonly keyType: number;
  readonly keyLength: number;
  readonly flags: number;
  /** True for a map of verdicts. */
  readonly isVerdictMap: boolean;
  /** What nft keeps with a set to print it. */
  readonly userData: Buffer;
}

/** A base chain's place. */
export interface ChainHook {
  readonly type: string;
  readonly hook: string;
  readonly priority: number;
}

const INITIAL_BYTES = 16 * 1024;
const VERDICT_DATA = 0xffffff00;
const VERDICT_DATA_LENGTH = 16;

/** One transaction on one table. */
export class NfBatch {
  readonly family: BatchFamily;
  readonly table: string;
  readonly #writer: MessageWriter;
  /** Text of a rule → where its expressions were written first. */
  readonly #texts = new Map<string, number>();
  /** What begins every rule of the chain whose rules are written. */
  #place: { readonly chain: string; readonly head: Buffer } = { chain: '', head: Buffer.alloc(0) };
  #setId = 1;
  #lastStart = 0;

  /** `bytes` is about how long it will be: a buffer that grows is copied, and for a while there are two. */
  constructor(family: BatchFamily, table: string, bytes = INITIAL_BYTES) {
    this.#writer = new MessageWriter(bytes);
    this.family = family;
    this.table = table;
    this.#mark(BATCH_BEGIN);
  }

  addTable(): void {
    this.#begin(MESSAGE.newTable, FLAG.create).attributeString(TABLE.name, this.table).attributeU32Be(TABLE.flags, 0);
    this.#writer.end();
  }

  deleteTable(): void {
    this.#begin(MESSAGE.deleteTable, 0).attributeString(TABLE.name, this.table).end();
  }

  /** No failure if it exists. */
  addChain(name: string, base?: ChainHook): void {
    const writer = this.#begin(MESSAGE.newChain, FLAG.create)
      .attributeString(CHAIN.table, this.table)
      .attributeString(CHAIN.name, name);
    if (base !== undefined) {
      const number = HOOKS[this.family].indexOf(base.hook);
      if (number < 0) throw new BugError(`${base.hook} is no hook of ${this.family}`);
      writer
        .nested(CHAIN.hook, (hook) =>
          hook.attributeU32Be(HOOK.number, number).attributeU32Be(HOOK.priority, base.priority),
        )
        .attributeString(CHAIN.type, base.type);
    }
    writer.end();
  }

  flushChain(name: string): void {
    this.#begin(MESSAGE.deleteRule, 0).attributeString(RULE.table, this.table).attributeString(RULE.chain, name).end();
  }

  deleteChain(name: string): void {
    this.#begin(MESSAGE.deleteChain, 0)
      .attributeString(CHAIN.table, this.table)
      .attributeString(CHAIN.name, name)
      .end();
  }

  /** The rules that follow are this chain's. */
  openRules(chain: string): void {
    if (this.#place.chain === chain) return;
    const writer = new MessageWriter(256)
      .begin(SUBSYSTEM | MESSAGE.newRule, FLAG.request | FLAG.create | FLAG.append, 0)
      .u8(FAMILY[this.family])
      .u8(0)
      .u16(0)
      .attributeString(RULE.table, this.table)
      .attributeString(RULE.chain, chain);
    this.#place = { chain, head: writer.finish() };
  }

  /**
   * Appends a rule to the chain of {@link openRules}. `expressions` is asked for each text once. False if it knows no
   * expressions for it.
   */
  addRule(text: string, comment: string, expressions: (text: string) => readonly Expression[] | null): boolean {
    const known = this.#texts.get(text);
    const compiled = known === undefined ? expressions(text) : NONE;
    if (compiled === null) return false;
    const writer = this.#beginWith(this.#place.head);
    if (known !== undefined) writer.repeat(known);
    else {
      const start = writer.open(RULE.expressions);
      writeExpressions(writer, compiled);
      writer.close(start);
      this.#texts.set(text, start);
    }
    writer.attributeComment(RULE.userData, comment).end();
    return true;
  }

  addSet(name: string, form: SetForm): void {
    const writer = this.#begin(MESSAGE.newSet, FLAG.create)
      .attributeString(SET.table, this.table)
      .attributeString(SET.name, name)
      .attributeU32Be(SET.flags, form.flags)
      .attributeU32Be(SET.keyType, form.keyType)
      .attributeU32Be(SET.keyLength, form.keyLength);
    if (form.isVerdictMap) {
      writer.attributeU32Be(SET.dataType, VERDICT_DATA).attributeU32Be(SET.dataLength, VERDICT_DATA_LENGTH);
    }
    writer
      .attributeU32Be(SET.id, this.#setId++)
      .attribute(SET.userData, form.userData)
      .end();
  }

  deleteSet(name: string): void {
    this.#begin(MESSAGE.deleteSet, 0).attributeString(SET.table, this.table).attributeString(SET.name, name).end();
  }

  flushSet(name: string): void {
    this.#begin(MESSAGE.deleteElement, 0)
      .attributeString(ELEMENT_LIST.table, this.table)
      .attributeString(ELEMENT_LIST.set, name)
      .end();
  }

  /** @throws NetlinkError for an element that cannot be encoded. */
  changeElements(change: ElementChange): void {
    const isAdd = change.operation === 'add';
    const { elements } = change;
    for (let first = 0; first < elements.length; first += ELEMENTS_PER_MESSAGE) {
      const writer = this.#begin(isAdd ? MESSAGE.newElement : MESSAGE.deleteElement, isAdd ? FLAG.create : 0)
        .attributeString(ELEMENT_LIST.table, this.table)
        .attributeString(ELEMENT_LIST.set, change.set);
      const list = writer.open(ELEMENT_LIST.elements);
      const end = Math.min(first + ELEMENTS_PER_MESSAGE, elements.length);
      for (let at = first; at < end; at++) encodeElement(writer, change, elements[at] ?? '');
      writer.close(list).end();
    }
  }

  /**
   * Ends the batch; its last message asks for the one acknowledgement. The messages have no sequence numbers yet: they get
   * them from the socket that sends them.
   */
  finish(): Batch {
    const lastStart = this.#lastStart;
    this.#mark(BATCH_END);
    const bytes = this.#writer.finish();
    bytes.writeUInt16LE(bytes.readUInt16LE(lastStart + FLAGS_OFFSET) | FLAG.ack, lastStart + FLAGS_OFFSET);
    return { bytes, messages: this.#writer.count };
  }

  #begin(type: number, flags: number): MessageWriter {
    this.#lastStart = this.#writer.length;
    return this.#writer
      .begin(SUBSYSTEM | type, FLAG.request | flags, 0)
      .u8(FAMILY[this.family])
      .u8(0)
      .u16(0);
  }

  #beginWith(head: Buffer): MessageWriter {
    this.#lastStart = this.#writer.length;
    return this.#writer.beginWith(head);
  }

  #mark(type: number): void {
    this.#writer.begin(type, FLAG.request, 0).u8(0).u8(0).u16Be(SUBSYSTEM_NUMBER).end();
  }
}

/** Offset of nlmsg_flags in a header. */
const FLAGS_OFFSET = 6;
const NONE: readonly Expression[] = [];
