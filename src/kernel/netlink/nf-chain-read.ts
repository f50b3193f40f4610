// The chains of one nf_tables table, from the bytes of a dump. The kernel dumps those of all tables of a family: a node
// has thousands, and four tables of iptables-nft are read one after the other.
import { attributeText, NFGENMSG_LENGTH, parseAttributes, textAt } from './message.js';
import { CHAIN, HOOK } from './nf-numbers.js';
import {
  attributeEnd,
  attributeType,
  bigEndian,
  type MessageVisitor,
  type ReceivedBytes,
  RepeatedText,
} from './scan.js';

const ACCEPT = 1;

/** What makes a base chain. */
export interface ListedBase {
  readonly type: string;
  readonly hook: string;
  readonly priority: number;
  readonly policy: string;
}

/** Takes the messages of a dump of chains. */
export class ChainReader {
  /** Names of the table's chains, in the kernel's order; null for one that is no base chain. */
  readonly found = new Map<string, ListedBase | null>();
  readonly #table: string;
  readonly #hooks: readonly string[];
  readonly #lastTable = new RepeatedText();
  #isTable = false;
  #uses = 0;

  /** `hooks` are the family's names, by number. */
  constructor(table: string, hooks: readonly string[]) {
    this.#table = table;
    this.#hooks = hooks;
  }

  /** How many rules the table has at most: the kernel counts for each chain its rules and what leads to it. */
  get mostRules(): number {
    return this.#uses;
  }

  /** Takes one message. */
  readonly visit: MessageVisitor = (received, start, end) => {
    const { bytes, words } = received;
    let name = '';
    let isBase = false;
    let at = start + NFGENMSG_LENGTH;
    for (let next = attributeEnd(words, at, end); next > at; next = attributeEnd(words, at, end)) {
      switch (attributeType(words, at)) {
        case CHAIN.table:
          // First of all: nothing else of other tables' chains is looked at.
          if (!this.#lastTable.isAgain(words, at + 4, next))
            this.#isTable = textAt(bytes, at + 4, next) === this.#table;
          if (!this.#isTable) return;
          break;
        case CHAIN.name:
          name = textAt(bytes, at + 4, next);
          break;
        case CHAIN.hook:
          isBase = true;
          break;
        case CHAIN.uses:
          this.#uses += bigEndian(words, at + 4);
          break;
      }
      at = (next + 3) & ~3;
    }
    if (this.#isTable) this.found.set(name, isBase ? this.#readBase(received, start, end) : null);
  };

  #readBase({ bytes }: ReceivedBytes, start: number, end: number): ListedBase {
    const attributes = parseAttributes(bytes.subarray(start + NFGENMSG_LENGTH, end));
    const values = parseAttributes(attributes.get(CHAIN.hook) ?? Buffer.alloc(0));
    const number = values.get(HOOK.number)?.readUInt32BE(0) ?? 0;
    return {
      type: attributeText(attributes.get(CHAIN.type)),
      hook: this.#hooks[number] ?? String(number),
      priority: values.get(HOOK.priority)?.readInt32BE(0) ?? 0,
      policy: (attributes.get(CHAIN.policy)?.readUInt32BE(0) ?? ACCEPT) === ACCEPT ? 'accept' : 'drop',
    };
  }
}
