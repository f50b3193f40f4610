// Builds the input of one iptables-restore call and remembers which object each line is for, so that an error that
// names a line names a chain.
import { BugError } from '../../base/errors.js';
import type { TableName } from '../../model/family.js';

/** What a line of the script writes. Lines of the frame (`*filter`, `COMMIT`) have no owner. */
export interface LineOwner {
  readonly kind: 'chain' | 'hook' | 'delete';
  readonly name: string;
}

/** Collects lines; transactions that hold nothing are left out. */
export class RestoreScript {
  readonly #table: TableName;
  #lines: string[] = [];
  #text: string | null = null;
  readonly #owners: (LineOwner | null)[] = [];
  #isOpen = false;

  constructor(table: TableName) {
    this.#table = table;
  }

  /** `:name - -`: creates the chain, or empties it. */
  createOrFlush(owner: LineOwner): void {
    this.add(`:${owner.name} - -`, owner);
  }

  /** Adds a line, opening a transaction if none is open. */
  add(line: string, owner: LineOwner): void {
    if (!this.#isOpen) {
      this.#push(`*${this.#table}`, null);
      this.#isOpen = true;
    }
    this.#push(line, owner);
  }

  /** Ends the open transaction, if there is one. */
  commit(): void {
    if (!this.#isOpen) return;
    this.#push('COMMIT', null);
    this.#isOpen = false;
  }

  /** The whole text, empty if nothing was added. Nothing can be added afterwards: its lines are forgotten. */
  toString(): string {
    if (this.#text !== null) return this.#text;
    this.commit();
    // An empty line at the end: a text put together from the joined lines and a newline would be copied where it is read.
    if (this.#lines.length > 0) this.#lines.push('');
    this.#text = this.#lines.join('\n');
    // Megabytes at a start, alive until the kernel has the rules.
    this.#lines = [];
    return this.#text;
  }

  /** Whose the 1-based line is; null for the frame and for numbers outside. */
  ownerOfLine(line: number): LineOwner | null {
    return this.#owners[line - 1] ?? null;
  }

  #push(line: string, owner: LineOwner | null): void {
    if (this.#text !== null) throw new BugError('A restore script was changed after it was used');
    this.#lines.push(line);
    this.#owners.push(owner);
  }
}
