// Netlink messages as bytes: building and parsing headers and attributes (RFC 3549, include/uapi/linux/netlink.h).
// Pure; everything is host byte order (little endian on all machines we run on) unless a method says `Be`.
import { endianness } from 'node:os';
import { writeUtf8 } from '../../base/buffer-text.js';
import { BugError } from '../../base/errors.js';

/** struct nlmsghdr: length, type, flags, sequence, port id. */
export const HEADER_LENGTH = 16;
/** struct nlattr: 16-bit length (header included, padding not), 16-bit type. */
export const ATTRIBUTE_HEADER_LENGTH = 4;
/** struct nfgenmsg, which follows the header in every subsystem of nfnetlink: family, version, resource id. */
export const NFGENMSG_LENGTH = 4;
/** Offset of nlmsg_seq in a header. */
const SEQUENCE_OFFSET = 8;

/** nlmsg_flags. */
export const FLAG = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  echo: 0x8,
  dumpInterrupted: 0x10,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
  root: 0x100,
  match: 0x200,
  dump: 0x300,
} as const;

/** nlmsg_type of control messages. */
export const CONTROL = { noop: 1, error: 2, done: 3, overrun: 4 } as const;

/** Attribute type flags. */
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

/** nft's type of a comment in user data. */
const COMMENT = 0;

if (endianness() !== 'LE') throw new BugError('The netlink codec is written for little-endian machines');

/** Rounds up to the 4 bytes that netlink aligns to. */
function align(length: number): number {
  return (length + 3) & ~3;
}

/** Writes one or more messages into one growing buffer. Positions are kept so that lengths are patched at the end. */
export class MessageWriter {
  #buffer: Buffer;
  #length = 0;
  #messageStart = -1;
  #count = 0;

  constructor(initialSize = 4096) {
    // Every byte that is handed out was written, padding too.
    this.#buffer = Buffer.allocUnsafe(initialSize);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Messages written so far. */
  get count(): number {
    return this.#count;
  }

  /** Starts a message; the one before must have been ended. */
  begin(type: number, flags: number, sequence: number): this {
    if (this.#messageStart >= 0) throw new BugError('Netlink message begun inside another');
    this.#messageStart = this.#length;
    this.#count += 1;
    return this.u32(0).u16(type).u16(flags).u32(sequence).u32(0);
  }

  /** Starts a message with what others begin with too: a header and what follows it. */
  beginWith(head: Uint8Array): this {
    if (this.#messageStart >= 0) throw new BugError('Netlink message begun inside another');
    this.#messageStart = this.#length;
    this.#count += 1;
    return this.bytes(head);
  }

  /** Ends the message and patches its length. */
  end(): this {
    const at = this.#messageStart;
    const length = this.#length - at;
    this.#buffer[at] = length;
    this.#buffer[at + 1] = length >>> 8;
    this.#buffer[at + 2] = length >>> 16;
    this.#buffer[at + 3] = length >>> 24;
    this.#messageStart = -1;
    return this;
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#buffer[this.#length] = value;
    this.#length += 1;
    return this;
  }

  u16(value: number): this {
    this.#reserve(2);
    this.#buffer[this.#length] = value;
    this.#buffer[this.#length + 1] = value >>> 8;
    this.#length += 2;
    return this;
  }

  u16Be(value: number): this {
    this.#reserve(2);
    this.#buffer[this.#length] = value >>> 8;
    this.#buffer[this.#length + 1] = value;
    this.#length += 2;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#buffer[this.#length] = value;
    this.#buffer[this.#length + 1] = value >>> 8;
    this.#buffer[this.#length + 2] = value >>> 16;
    this.#buffer[this.#length + 3] = value >>> 24;
    this.#length += 4;
    return this;
  }

  u32Be(value: number): this {
    this.#reserve(4);
    this.#buffer[this.#length] = value >>> 24;
    this.#buffer[this.#length + 1] = value >>> 16;
    this.#buffer[this.#length + 2] = value >>> 8;
    this.#buffer[this.#length + 3] = value;
    this.#length += 4;
    return this;
  }

  i32(value: number): this {
    return this.u32(value >>> 0);
  }

  bytes(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** The UTF-8 bytes of a text, without an end. */
  text(value: string): this {
    this.#reserve(value.length * 3);
    this.#length += writeUtf8(this.#buffer, value, this.#length);
    return this;
  }

  /** Zero bytes up to a multiple of 4. */
  pad(): this {
    const padding = align(this.#length) - this.#length;
    this.#reserve(padding);
    for (let at = 0; at < padding; at++) this.#buffer[this.#length + at] = 0;
    this.#length += padding;
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    return this.u16(ATTRIBUTE_HEADER_LENGTH + value.length)
      .u16(type)
      .bytes(value)
      .pad();
  }

  attributeU8(type: number, value: number): this {
    return this.u16(5).u16(type).u8(value).pad();
  }

  attributeU16(type: number, value: number): this {
    return this.u16(6).u16(type).u16(value).pad();
  }

  attributeU16Be(type: number, value: number): this {
    return this.u16(6).u16(type).u16Be(value).pad();
  }

  attributeU32(type: number, value: number): this {
    return this.u16(8).u16(type).u32(value);
  }

  attributeU32Be(type: number, value: number): this {
    // The most frequent one by far: in one piece.
    this.#reserve(8);
    const at = this.#length;
    const bytes = this.#buffer;
    bytes[at] = 8;
    bytes[at + 1] = 0;
    bytes[at + 2] = type;
    bytes[at + 3] = type >>> 8;
    bytes[at + 4] = value >>> 24;
    bytes[at + 5] = value >>> 16;
    bytes[at + 6] = value >>> 8;
    bytes[at + 7] = value;
    this.#length = at + 8;
    return this;
  }

  attributeU64(type: number, value: bigint): this {
    this.u16(12).u16(type);
    this.#reserve(8);
    this.#buffer.writeBigUInt64LE(value, this.#length);
    this.#length += 8;
    return this;
  }

  /** A string with its terminating zero. */
  attributeString(type: number, value: string): this {
    const start = this.open(type, 0);
    return this.text(value).u8(0).close(start).pad();
  }

  /** What nft keeps with an object to print it: a comment (8-bit type, 8-bit length, text with its zero). */
  attributeComment(type: number, text: string): this {
    const start = this.open(type, 0);
    this.u8(COMMENT).u8(0).text(text).u8(0);
    this.#buffer[start + 5] = this.#length - start - 6;
    return this.close(start).pad();
  }

  /** An attribute whose value are the attributes that `content` writes. */
  nested(type: number, content: (writer: this) => void, flag = NESTED): this {
    const start = this.open(type, flag);
    content(this);
    return this.close(start);
  }

  /** {@link nested} without a function, for what is written very often: begins the attribute that {@link close} ends. */
  open(type: number, flag = NESTED): number {
    const start = this.#length;
    this.#reserve(ATTRIBUTE_HEADER_LENGTH);
    this.#buffer[start + 2] = type;
    this.#buffer[start + 3] = (type | flag) >>> 8;
    this.#length = start + ATTRIBUTE_HEADER_LENGTH;
    return start;
  }

  /** Ends the attribute that {@link open} began, without padding. */
  close(start: number): this {
    const length = this.#length - start;
    this.#buffer[start] = length;
    this.#buffer[start + 1] = length >>> 8;
    return this;
  }

  /** Writes the attribute that was written at `start` once more. */
  repeat(start: number): this {
    const length = align((this.#buffer[start] ?? 0) | ((this.#buffer[start + 1] ?? 0) << 8));
    this.#reserve(length);
    this.#buffer.copyWithin(this.#length, start, start + length);
    this.#length += length;
    return this;
  }

  /** Forgets what was written and starts anew in the same memory. */
  clear(): this {
    this.#length = 0;
    this.#count = 0;
    return this;
  }

  /** What was written; valid until the next write. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#buffer.length) return;
    const next = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + size));
    this.#buffer.copy(next, 0, 0, this.#length);
    this.#buffer = next;
  }
}

/** Numbers the messages of a buffer, one after the other, from `first` on. */
export function numberMessages(messages: Buffer, first: number): void {
  if (messages.byteOffset % 4 !== 0) throw new BugError('Netlink messages begin at a multiple of four bytes');
  // As words: fifty thousand rules are numbered in one piece.
  const words = new Int32Array(messages.buffer, messages.byteOffset, messages.length >>> 2);
  let sequence = first;
  for (let at = 0; at < words.length; at += ((words[at] ?? 0) + 3) >>> 2) {
    words[at + SEQUENCE_OFFSET / 4] = sequence;
    sequence = (sequence + 1) | 0;
  }
}

/** One received message; `payload` starts after the header and is a view of the receive buffer. */
export interface ReceivedMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** Splits a datagram into its messages. A truncated rest is dropped, as the kernel never sends one. */
export function parseMessages(datagram: Buffer): ReceivedMessage[] {
  const messages: ReceivedMessage[] = [];
  for (let offset = 0; offset + HEADER_LENGTH <= datagram.length; ) {
    const length = datagram.readUInt32LE(offset);
    if (length < HEADER_LENGTH || offset + length > datagram.length) break;
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      payload: datagram.subarray(offset + HEADER_LENGTH, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

/** Attribute type (without flags) → value, for attributes that occur once. */
export type Attributes = ReadonlyMap<number, Buffer>;

/** Calls `visit` with the type and the place of the value of each attribute between two offsets, in order. */
export function scanAttributes(
  data: Buffer,
  from: number,
  to: number,
  visit: (type: number, start: number, end: number) => void,
): void {
  for (let offset = from; offset + ATTRIBUTE_HEADER_LENGTH <= to; ) {
    const length = data.readUInt16LE(offset);
    if (length < ATTRIBUTE_HEADER_LENGTH || offset + length > to) return;
    visit(data.readUInt16LE(offset + 2) & TYPE_MASK, offset + ATTRIBUTE_HEADER_LENGTH, offset + length);
    offset += align(length);
  }
}

/** Calls `visit` for each attribute in order. */
export function forEachAttribute(data: Buffer, visit: (type: number, value: Buffer) => void): void {
  scanAttributes(data, 0, data.length, (type, start, end) => visit(type, data.subarray(start, end)));
}

/** The attributes of a message or of a nested attribute; the last of a type wins. */
export function parseAttributes(data: Buffer): Attributes {
  const attributes = new Map<number, Buffer>();
  forEachAttribute(data, (type, value) => attributes.set(type, value));
  return attributes;
}

/** A zero-terminated string. */
export function attributeText(value: Buffer | undefined): string {
  return value === undefined ? '' : textAt(value, 0, value.length);
}

/** The zero-terminated string between two offsets. */
export function textAt(data: Buffer, start: number, end: number): string {
  let zero = start;
  let isPlain = true;
  for (let code = data[zero]; zero < end && code !== 0 && code !== undefined; code = data[++zero]) {
    if (code > 0x7f) isPlain = false;
  }
  return data.toString(isPlain ? 'latin1' : 'utf8', start, zero);
}
