// Rules of the tables of iptables-nft by the comments that they carry: iptables-nft writes each as a `comment` match of
// xtables inside the rule, newer releases as user data.
import { readUserComment } from './nf-rule-read.js';
import { NFGENMSG_LENGTH, textAt } from './message.js';
import { RULE } from './nf-numbers.js';
import {
  attributeEnd,
  attributeType,
  findAttribute,
  type MessageVisitor,
  type ReceivedBytes,
  RepeatedText,
} from './scan.js';
import { type TaggedRules, TaggedRulesBuilder } from './tagged-rules.js';

const EXPRESSION = { name: 1, data: 2 } as const;
/** Of the expressions `match` and `target`. */
const EXTENSION = { name: 1, info: 3 } as const;
const IMMEDIATE_DATA = 2;
const DATA_VERDICT = 2;
const VERDICT_CHAIN = 2;
const MATCH = Buffer.from('match\0');
const COMMENT = Buffer.from('comment\0');
const TARGET = Buffer.from('target\0');
const IMMEDIATE = Buffer.from('immediate\0');
const MASQUERADE = Buffer.from('masq\0');

/** Takes the messages of a dump of rules. */
export class TaggedRuleReader {
  readonly #table: string;
  readonly #prefix: Buffer;
  readonly #found: TaggedRulesBuilder;
  readonly #lastTable = new RepeatedText();
  readonly #lastChain = new RepeatedText();
  #isTable = false;
  #chain = '';
  #tags: string[] = [];

  /** `chains` are all that the table has. */
  constructor(table: string, prefix: string, chains: Iterable<string>) {
    this.#table = table;
    this.#prefix = Buffer.from(prefix);
    this.#found = new TaggedRulesBuilder();
    for (const chain of chains) this.#found.chain(chain);
  }

  get found(): TaggedRules {
    return this.#found;
  }

  /** Takes one message. */
  readonly visit: MessageVisitor = (received, start, end) => {
    const { bytes, words } = received;
    let expressions = 0;
    let expressionsEnd = 0;
    let userData = 0;
    let userDataEnd = 0;
    let at = start + NFGENMSG_LENGTH;
    for (let next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
      const value = at + 4;
      switch (attributeType(words, at)) {
        case RULE.table:
          if (this.#lastTable.isAgain(words, value, next)) break;
          this.#isTable = textAt(bytes, value, next) === this.#table;
          this.#lastChain.forget();
          break;
        case RULE.chain:
          if (!this.#lastChain.isAgain(words, value, next)) this.#begin(textAt(bytes, value, next));
          break;
        case RULE.expressions:
          expressions = value;
          expressionsEnd = next;
          break;
        case RULE.userData:
          userData = value;
          userDataEnd = next;
          break;
      }
      at = (next + 3) & ~3;
    }
    if (!this.#isTable) return;
    const tag =
      this.#tagInMatches(received, expressions, expressionsEnd) ||
      this.#tagOf(readUserComment(bytes, userData, userDataEnd));
    this.#tags.push(tag);
    if (tag === '') this.#noteTargets(received, expressions, expressionsEnd);
  };

  #begin(chain: string): void {
    this.#chain = chain;
    this.#tags = this.#isTable ? this.#found.chain(chain) : [];
  }

  #tagOf(comment: string): string {
    const prefix = this.#prefix.toString();
    return comment.startsWith(prefix) ? comment.slice(prefix.length) : '';
  }

  #tagInMatches({ bytes, words }: ReceivedBytes, start: number, end: number): string {
    for (let at = start, next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
      const info = commentInfo(bytes, words, at + 4, next);
      if (info >= 0 && begins(bytes, info, next, this.#prefix)) {
        return textAt(bytes, info + this.#prefix.length, attributeEnd(words, info - 4, next));
      }
      at = (next + 3) & ~3;
    }
    return '';
  }

  #noteTargets({ bytes, words }: ReceivedBytes, start: number, end: number): void {
    for (let at = start, next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
      const target = targetOf(bytes, words, at + 4, next);
      if (target !== '') this.#found.addOther(this.#chain, target);
      at = (next + 3) & ~3;
    }
  }
}

/** Place of the text of the comment that an expression is, or -1. */
function commentInfo(bytes: Buffer, words: Int32Array, start: number, end: number): number {
  const name = findAttribute(words, start, end, EXPRESSION.name);
  if (name < 0 || !begins(bytes, name, end, MATCH)) return -1;
  const data = findAttribute(words, start, end, EXPRESSION.data);
  if (data < 0) return -1;
  const dataEnd = attributeEnd(words, data - 4, end);
  const match = findAttribute(words, data, dataEnd, EXTENSION.name);
  if (match < 0 || !begins(bytes, match, dataEnd, COMMENT)) return -1;
  return findAttribute(words, data, dataEnd, EXTENSION.info);
}

/** Where an expression leads to: a chain, or what does the work. */
function targetOf(bytes: Buffer, words: Int32Array, start: number, end: number): string {
  const name = findAttribute(words, start, end, EXPRESSION.name);
  if (name < 0) return '';
  if (begins(bytes, name, end, MASQUERADE)) return 'MASQUERADE';
  const data = findAttribute(words, start, end, EXPRESSION.data);
  if (data < 0) return '';
  const dataEnd = attributeEnd(words, data - 4, end);
  if (begins(bytes, name, end, TARGET)) return textOf(bytes, words, data, dataEnd, EXTENSION.name);
  if (!begins(bytes, name, end, IMMEDIATE)) return '';
  const immediate = findAttribute(words, data, dataEnd, IMMEDIATE_DATA);
  if (immediate < 0) return '';
  const verdict = findAttribute(words, immediate, attributeEnd(words, immediate - 4, dataEnd), DATA_VERDICT);
  if (verdict < 0) return '';
  return textOf(bytes, words, verdict, attributeEnd(words, verdict - 4, dataEnd), VERDICT_CHAIN);
}

function textOf(bytes: Buffer, words: Int32Array, start: number, end: number, type: number): string {
  const value = findAttribute(words, start, end, type);
  return value < 0 ? '' : textAt(bytes, value, attributeEnd(words, value - 4, end));
}

function begins(bytes: Buffer, start: number, end: number, text: Buffer): boolean {
  if (start + text.length > end) return false;
  for (let at = 0; at < text.length; at++) if (bytes[start + at] !== text[at]) return false;
  return true;
}
