// Lets several back ends prepare their writes one after the other.

/** Turns in the order of asking. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves when everybody who asked before is done, to the call that ends the turn. Ending it twice is fine. */
  async take(): Promise<() => void> {
    const before = this.#last;
    let end = (): void => undefined;
    this.#last = new Promise((resolve) => {
      end = resolve;
    });
    await before;
    return end;
  }

  /** Resolves when nobody has a turn or waits for one. */
  async free(): Promise<void> {
    for (let last: Promise<void> | null = null; last !== this.#last; ) {
      last = this.#last;
      await last;
    }
  }
}
