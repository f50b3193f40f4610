// Builds the input of one iptables-restore call and remembers which object each line is for, so that an error that
// names a line names a chain.
import type { TableName } from '../../model/family.js';

/** What a line of the script writes. Lines of the frame (`*filter`, `COMMIT`) have no owner. */
export interface LineOwner {
  readonly kind: 'chain' | 'hook' | 'delete';
  readonly name: string;
}

/** Collects lines; transactions that hold nothing are left out. */
export class RestoreScript {
  readonly #table: TableName;
  readonly #lines: string[] = [];
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

  /** The whole text, empty if nothing was added. */
  toString(): string {
    this.commit();
    return this.#lines.length === 0 ? '' : `${this.#lines.join('\n')}\n`;
  }

  /** Whose the 1-based line is; null for the frame and for numbers outside. */
  ownerOfLine(line: number): LineOwner | null {
    return this.#owners[line - 1] ?? null;
  }

  #push(line: string, owner: LineOwner | null): void {
    this.#lines.push(line);
    this.#owners.push(owner);
  }
}
