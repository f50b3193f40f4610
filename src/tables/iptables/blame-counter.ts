// Which object to blame for writes that fail one after the other.
import type { LineOwner } from './restore-script.js';

/** So many failures in a row on one object, seen with a fresh view, are no accident of other programs any more. */
const BLAMES_TO_REFUSE = 3;

/** Counts how often in a row the same object made a write fail; errors that name none count as one object. */
export class BlameCounter {
  #key: string | null = null;
  #times = 0;
  #bonus = 0;

  /** Counts a failure on this object, and says whether those in a row are enough to give up on it. */
  isEnough(owner: LineOwner | null): boolean {
    const key = owner === null ? '' : `${owner.kind} ${owner.name}`;
    this.#times = key === this.#key ? this.#times + 1 : 1;
    this.#key = key;
    return this.#times + this.#bonus >= BLAMES_TO_REFUSE;
  }

  /** One object was given up on: further ones are then refused at their first failure. */
  nextAtOnce(): void {
    this.#bonus = BLAMES_TO_REFUSE;
  }
}
