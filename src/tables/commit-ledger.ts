// Tells our own commits to nf_tables from those of others by counting both, so that a table is read again only when
// somebody else may have changed it. Shared by everything that commits in one network namespace.

/** Counts commits. One per network namespace. */
export class CommitLedger {
  readonly #readGeneration: () => number;
  #generation: number | null = null;
  #ownCommits = 0;
  #underWay = 0;
  #isUncertain = false;
  #epoch = 0;

  /** `readGeneration` asks the kernel for its generation id, which moves by one with every commit. */
  constructor(readGeneration: () => number) {
    this.#readGeneration = readGeneration;
  }

  /** Carries out work of ours that commits exactly once if it succeeds. May overlap with other work. */
  async own<T>(work: () => Promise<T>): Promise<T> {
    this.epoch();
    this.#underWay += 1;
    try {
      const result = await work();
      this.#ownCommits += 1;
      return result;
    } catch (error) {
      // It may have committed or not.
      this.#isUncertain = true;
      throw error;
    } finally {
      this.#underWay -= 1;
    }
  }

  /**
   * A number that moves when somebody else committed, or may have. What happens while work of ours is under way is
   * told by the first call after it.
   */
  epoch(): number {
    if (this.#underWay > 0) return this.#epoch;
    const generation = this.#readGeneration();
    const expected = this.#generation === null ? generation : this.#generation + this.#ownCommits;
    if (generation !== expected || this.#isUncertain) this.#epoch += 1;
    this.#generation = generation;
    this.#ownCommits = 0;
    this.#isUncertain = false;
    return this.#epoch;
  }
}
