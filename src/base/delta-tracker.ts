// What is wanted against what is there, for a set of keys: changes cost their own size, and what is left to do can
// be listed without looking at what is already right.

const WANTED = 1;
const PRESENT = 2;

/**
 * Tracks two sets of strings, wanted and present, in one map (a million members would not fit twice), and the two
 * differences between them. All calls are O(1) except the `for…` iterations.
 */
export class DeltaTracker {
  readonly #state = new Map<string, number>();
  readonly #missing = new Set<string>();
  readonly #surplus = new Set<string>();
  #wantedCount = 0;
  #presentCount = 0;

  get wantedCount(): number {
    return this.#wantedCount;
  }

  get presentCount(): number {
    return this.#presentCount;
  }

  /** Wanted but not present. Live: confirming an element while iterating is fine. */
  get missing(): ReadonlySet<string> {
    return this.#missing;
  }

  /** Present but not wanted. Live, as {@link missing}. */
  get surplus(): ReadonlySet<string> {
    return this.#surplus;
  }

  /** Whether wanted and present are the same. */
  get isInSync(): boolean {
    return this.#missing.size === 0 && this.#surplus.size === 0;
  }

  isWanted(key: string): boolean {
    return ((this.#state.get(key) ?? 0) & WANTED) !== 0;
  }

  isPresent(key: string): boolean {
    return ((this.#state.get(key) ?? 0) & PRESENT) !== 0;
  }

  /** All keys that are wanted, in order of first mention. */
  *wanted(): Generator<string> {
    for (const [key, state] of this.#state) if ((state & WANTED) !== 0) yield key;
  }

  /** All keys that are present, in order of first mention. */
  *present(): Generator<string> {
    for (const [key, state] of this.#state) if ((state & PRESENT) !== 0) yield key;
  }

  want(key: string): void {
    const state = this.#state.get(key) ?? 0;
    if ((state & WANTED) !== 0) return;
    this.#wantedCount++;
    this.#state.set(key, state | WANTED);
    if (state === PRESENT) this.#surplus.delete(key);
    else this.#missing.add(key);
  }

  unwant(key: string): void {
    const state = this.#state.get(key) ?? 0;
    if ((state & WANTED) === 0) return;
    this.#wantedCount--;
    if (state === WANTED) {
      this.#state.delete(key);
      this.#missing.delete(key);
    } else {
      this.#state.set(key, PRESENT);
      this.#surplus.add(key);
    }
  }

  /** The key was written, or found. */
  setPresent(key: string): void {
    const state = this.#state.get(key) ?? 0;
    if ((state & PRESENT) !== 0) return;
    this.#presentCount++;
    this.#state.set(key, state | PRESENT);
    if (state === WANTED) this.#missing.delete(key);
    else this.#surplus.add(key);
  }

  /** The key was deleted, or found missing. */
  setAbsent(key: string): void {
    const state = this.#state.get(key) ?? 0;
    if ((state & PRESENT) === 0) return;
    this.#presentCount--;
    if (state === PRESENT) {
      this.#state.delete(key);
      this.#surplus.delete(key);
    } else {
      this.#state.set(key, WANTED);
      this.#missing.add(key);
    }
  }
}
