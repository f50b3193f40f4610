// Reads the selector language into its syntax tree; every error says where in the text it is and what is allowed.
import { DataplaneError } from '../../base/errors.js';
import type { SelectorNode } from './node.js';

/** A selector text that does not parse. The message names the column (1-based) and what is expected there. */
export class SelectorError extends DataplaneError {
  readonly column: number;

  constructor(message: string, column: number) {
    super('config', message);
    this.column = column;
  }
}

const MAX_LABEL_LENGTH = 512;
const LABEL = /[A-Za-z0-9_./-]+/y;
const BLANK = /[ \t]*/y;
const COMPARISON = /==|!=|(?:contains|starts[ \t]*with|ends[ \t]*with)[ \t]*(?![A-Za-z0-9_./-])/y;
const MEMBERSHIP = /(?:not[ \t]*in|in)[ \t]*(?![A-Za-z0-9_./-])/y;

function byteOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

class Parser {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): SelectorNode {
    this.#skipBlanks();
    if (this.#position === this.#text.length) return { op: 'all' };
    const node = this.#or();
    if (this.#position < this.#text.length) this.#fail('&&, || or the end');
    return node;
  }

  #or(): SelectorNode {
    const operands = [this.#and()];
    while (this.#take('||')) operands.push(this.#and());
    return operands.length === 1 ? (operands[0] as SelectorNode) : { op: 'or', operands };
  }

  #and(): SelectorNode {
    const operands = [this.#operation()];
    while (this.#take('&&')) operands.push(this.#operation());
    return operands.length === 1 ? (operands[0] as SelectorNode) : { op: 'and', operands };
  }

  #operation(): SelectorNode {
    let negated = false;
    while (this.#take('!')) negated = !negated;
    const node = this.#term();
    return negated ? { op: 'not', operand: node } : node;
  }

  #term(): SelectorNode {
    if (this.#take('(')) {
      const node = this.#or();
      this.#expect(')');
      return node;
    }
    if (this.#take('has(')) {
      const label = this.#label();
      this.#expect(')');
      return { op: 'has', label };
    }
    if (this.#take('all(')) {
      this.#expect(')');
      return { op: 'all' };
    }
    if (this.#take('global(')) {
      this.#expect(')');
      return { op: 'global' };
    }
    return this.#comparison(this.#label());
  }

  #comparison(label: string): SelectorNode {
    const comparison = this.#match(COMPARISON);
    if (comparison !== undefined) {
      const word = comparison.replaceAll(/[ \t]/g, '');
      const op =
        word === 'startswith' ? 'starts with' : word === 'endswith' ? 'ends with' : (word as '==' | '!=' | 'contains');
      return { op, label, value: this.#string() };
    }
    const membership = this.#match(MEMBERSHIP);
    if (membership !== undefined) {
      return { op: membership.startsWith('not') ? 'not in' : 'in', label, values: this.#set() };
    }
    return this.#fail(`==, !=, contains, starts with, ends with, in or not in, after the label ${label}`);
  }

  #set(): string[] {
    this.#expect('{');
    const values = new Set<string>();
    while (this.#at('"') || this.#at("'")) {
      values.add(this.#string());
      if (!this.#take(',')) break;
    }
    this.#expect('}');
    return [...values].sort(byteOrder);
  }

  #string(): string {
    const quote = this.#text[this.#position];
    if (quote !== '"' && quote !== "'") this.#fail('a text in quotes');
    const end = this.#text.indexOf(quote, this.#position + 1);
    if (end < 0) this.#fail(`the closing ${quote}`);
    const value = this.#text.slice(this.#position + 1, end);
    this.#position = end + 1;
    this.#skipBlanks();
    return value;
  }

  #label(): string {
    const label = this.#match(LABEL);
    if (label === undefined) return this.#fail('a label, has(label), all(), global() or (');
    if (label.length > MAX_LABEL_LENGTH) this.#fail(`a label of at most ${MAX_LABEL_LENGTH} characters`);
    return label;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) return undefined;
    this.#position += found.length;
    this.#skipBlanks();
    return found;
  }

  #at(text: string): boolean {
    return this.#text.startsWith(text, this.#position);
  }

  #take(text: string): boolean {
    if (!this.#at(text)) return false;
    this.#position += text.length;
    this.#skipBlanks();
    return true;
  }

  #expect(text: string): void {
    if (!this.#take(text)) this.#fail(text);
  }

  #skipBlanks(): void {
    BLANK.lastIndex = this.#position;
    this.#position += BLANK.exec(this.#text)?.[0].length ?? 0;
  }

  #fail(expected: string): never {
    const column = this.#position + 1;
    const rest = this.#text.slice(this.#position, this.#position + 20);
    const found = rest === '' ? 'the end' : JSON.stringify(rest);
    throw new SelectorError(
      `selector ${JSON.stringify(this.#text)}, column ${column}: expected ${expected}, found ${found}`,
      column,
    );
  }
}

/** Parses a selector; an empty text is `all()`. Throws SelectorError. Source: calc-graph.md section 4. */
export function parseSelectorNode(text: string): SelectorNode {
  return new Parser(text).parse();
}
