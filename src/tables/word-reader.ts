// The words of a rule's text, read one after the other by the compilers of both back ends.

/** Reads words in order. */
export class WordReader {
  readonly #words: readonly string[];
  #at = 0;

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#words.length;
  }

  /** The next word; empty at the end. */
  next(): string {
    return this.#words[this.#at++] ?? '';
  }

  /** Takes the next words if they are these. */
  take(first: string, ...more: readonly string[]): boolean {
    if (this.#words[this.#at] !== first) return false;
    for (let at = 0; at < more.length; at++) if (this.#words[this.#at + 1 + at] !== more[at]) return false;
    this.#at += 1 + more.length;
    return true;
  }

  /** Whether the word is among those that are left. */
  hasAhead(word: string): boolean {
    return this.#words.includes(word, this.#at);
  }
}
