// Reads netlink messages where they lie in the receive buffer: no view, map or text for each attribute. For listings of
// ten thousands of objects; everything else is read with `message.ts`.
import { ATTRIBUTE_HEADER_LENGTH, HEADER_LENGTH } from './message.js';

const TYPE_MASK = 0x3fff;

/** A receive buffer, as bytes and as little-endian words. Netlink starts everything at a multiple of four bytes. */
export interface ReceivedBytes {
  readonly bytes: Buffer;
  readonly words: Int32Array;
}

/** Told of each message of a dump: where its payload lies. The buffer is used again after the call. */
export type MessageVisitor = (received: ReceivedBytes, start: number, end: number) => void;

/** A buffer of so many bytes, a multiple of four. */
export function createReceivedBytes(length: number): ReceivedBytes {
  const memory = new ArrayBuffer(length);
  return { bytes: Buffer.from(memory), words: new Int32Array(memory) };
}

/** Calls `visit` with the type, the flags and the place of the payload of each message, until it returns true. */
export function scanMessages(
  { words }: ReceivedBytes,
  length: number,
  visit: (type: number, flags: number, start: number, end: number) => boolean,
): boolean {
  for (let at = 0; at + HEADER_LENGTH <= length; ) {
    const messageLength = (words[at >>> 2] ?? 0) >>> 0;
    if (messageLength < HEADER_LENGTH || at + messageLength > length) return false;
    const typeAndFlags = words[(at >>> 2) + 1] ?? 0;
    if (visit(typeAndFlags & 0xffff, typeAndFlags >>> 16, at + HEADER_LENGTH, at + messageLength)) return true;
    at += (messageLength + 3) & ~3;
  }
  return false;
}

/** Type, without flags, of the attribute at `at`. */
export function attributeType(words: Int32Array, at: number): number {
  return ((words[at >>> 2] ?? 0) >>> 16) & TYPE_MASK;
}

/** Where the value of the attribute at `at` ends; `at` or less if there is no whole attribute before `end`. */
export function attributeEnd(words: Int32Array, at: number, end: number): number {
  if (at + ATTRIBUTE_HEADER_LENGTH > end) return at;
  const length = (words[at >>> 2] ?? 0) & 0xffff;
  return length < ATTRIBUTE_HEADER_LENGTH || at + length > end ? at : at + length;
}

/** Calls back with the type and the place of the value of each attribute. */
export function eachAttribute(
  words: Int32Array,
  start: number,
  end: number,
  visit: (type: number, start: number, end: number) => void,
): void {
  for (let at = start, next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
    visit(attributeType(words, at), at + ATTRIBUTE_HEADER_LENGTH, next);
    at = (next + 3) & ~3;
  }
}

/** Place of the value of the first attribute of a type, or -1. Its end is {@link attributeEnd} of four bytes before. */
export function findAttribute(words: Int32Array, start: number, end: number, type: number): number {
  for (let at = start, next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
    if (attributeType(words, at) === type) return at + ATTRIBUTE_HEADER_LENGTH;
    at = (next + 3) & ~3;
  }
  return -1;
}

/** A 32-bit number in network order. */
export function bigEndian(words: Int32Array, at: number): number {
  const word = words[at >>> 2] ?? 0;
  return (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

/** Longest text that is remembered; longer ones are never the same again. */
const NAME_BYTES = 256;

/** A zero-terminated text that many messages in a row have in common: told from the last one without making a string. */
export class RepeatedText {
  readonly #words = new Int32Array(NAME_BYTES / 4);
  #length = -1;

  /** Takes the next text for a new one. */
  forget(): void {
    this.#length = -1;
  }

  /** Whether the text of an attribute's value is that of the last call. */
  isAgain(words: Int32Array, start: number, end: number): boolean {
    const length = end - start;
    const isSameLength = length === this.#length;
    // The kernel fills up with zeroes.
    const count = (length + 3) >>> 2;
    const first = start >>> 2;
    if (isSameLength) {
      let at = 0;
      while (at < count && this.#words[at] === words[first + at]) at++;
      if (at === count) return true;
    }
    this.#length = length <= NAME_BYTES ? length : -1;
    for (let at = 0; at < count && at < this.#words.length; at++) this.#words[at] = words[first + at] ?? 0;
    return false;
  }
}
