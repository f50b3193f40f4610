// A value that holds until the event loop turns: as nothing can be heard of a change before, all that ask in one turn
// get what the first one read.

/** Keeps one value for the rest of the turn of the event loop. */
export class TurnCache<T> {
  #entry: { readonly value: T } | null = null;

  /** The value of this turn; made by `make` if there is none. What `make` throws is thrown, and nothing kept. */
  get(make: () => T): T {
    if (this.#entry !== null) return this.#entry.value;
    const entry = { value: make() };
    this.#entry = entry;
    setImmediate(() => {
      if (this.#entry === entry) this.#entry = null;
    });
    return entry.value;
  }

  /** The value of this turn, if one was made. */
  peek(): T | null {
    return this.#entry?.value ?? null;
  }

  /** The value is outdated. */
  clear(): void {
    this.#entry = null;
  }
}
