// What the rules of an nf_tables table are known by, from the bytes of a dump: tables have ten thousands of rules, and
// of each only a few bytes of its comment count.
import { NFGENMSG_LENGTH, textAt } from './message.js';
import { RULE } from './nf-numbers.js';
import { attributeEnd, attributeType, type MessageVisitor, RepeatedText } from './scan.js';

/** User data of nft: 8-bit type, 8-bit length, value; the comment is of this type. */
const COMMENT = 0;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const INITIAL_BYTES = 4096;

/** The tags of a chain without rules. */
export const NO_RULES = '0:';

/**
 * Takes the messages of a dump of rules. A rule's tag is what stands in its comment between the prefix and a semicolon
 * or the end; empty for any other comment. The tags of a chain are one text: the number of rules, a colon, and the
 * tags in order, joined with commas.
 */
export class RuleTagReader {
  readonly #table: string;
  readonly #prefix: Buffer;
  readonly #tags = new Map<string, string>();
  readonly #lastTable = new RepeatedText();
  readonly #lastChain = new RepeatedText();
  #isTable = false;
  #chain = '';
  #count = 0;
  /** Tags of the chain that is being read. */
  #bytes = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = 0;

  constructor(table: string, prefix: string) {
    this.#table = table;
    this.#prefix = Buffer.from(prefix);
  }

  /** Takes one message. The kernel sends the rules of a chain one after the other. */
  readonly visit: MessageVisitor = ({ bytes, words }, start, end) => {
    let dataStart = 0;
    let dataEnd = 0;
    let at = start + NFGENMSG_LENGTH;
    for (let next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
      switch (attributeType(words, at)) {
        case RULE.table:
          if (this.#lastTable.isAgain(words, at + 4, next)) break;
          this.#isTable = textAt(bytes, at + 4, next) === this.#table;
          this.#lastChain.forget();
          break;
        case RULE.chain:
          if (!this.#lastChain.isAgain(words, at + 4, next)) this.#begin(textAt(bytes, at + 4, next));
          break;
        case RULE.userData:
          dataStart = at + 4;
          dataEnd = next;
          break;
      }
      at = (next + 3) & ~3;
    }
    if (this.#isTable) this.#addRule(bytes, dataStart, dataEnd);
  };

  /** Chain → its tags, for chains that have rules. */
  finish(): ReadonlyMap<string, string> {
    this.#begin('');
    return this.#tags;
  }

  #begin(chain: string): void {
    if (this.#count > 0)
      this.#tags.set(this.#chain, `${this.#count}:${this.#bytes.toString('latin1', 0, this.#length)}`);
    this.#chain = chain;
    this.#count = 0;
    this.#length = 0;
  }

  #addRule(bytes: Buffer, start: number, end: number): void {
    this.#count++;
    // A comment has at most 255 bytes, for its length is one.
    if (this.#length + 256 > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], this.#bytes.length * 2);
    if (this.#count > 1) this.#bytes[this.#length++] = COMMA;
    const comment = findComment(bytes, start, end);
    if (comment >= 0) this.#addTag(bytes, comment, Math.min(comment + (bytes[comment - 1] ?? 0), end));
  }

  #addTag(bytes: Buffer, start: number, end: number): void {
    const prefix = this.#prefix;
    for (let at = 0; at < prefix.length; at++) if (bytes[start + at] !== prefix[at]) return;
    const tags = this.#bytes;
    let length = this.#length;
    for (let at = start + prefix.length; at < end; at++) {
      const code = bytes[at] ?? 0;
      if (code === 0 || code === SEMICOLON) break;
      tags[length++] = code;
    }
    this.#length = length;
  }
}

/** Place of the comment in the user data of a rule, or -1; the byte before is its length. */
function findComment(bytes: Buffer, start: number, end: number): number {
  for (let at = start; at + 2 <= end; at += 2 + (bytes[at + 1] ?? 0)) if (bytes[at] === COMMENT) return at + 2;
  return -1;
}

/** The comment in the user data of a rule; empty if there is none. */
export function readUserComment(bytes: Buffer, start: number, end: number): string {
  const comment = findComment(bytes, start, end);
  return comment < 0 ? '' : textAt(bytes, comment, Math.min(comment + (bytes[comment - 1] ?? 0), end));
}
