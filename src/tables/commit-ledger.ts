// Tells our own commits to nf_tables from those of others by counting both, so that a table is read again only when
// somebody else may have changed it. Shared by everything that commits in one network namespace.
import { TurnCache } from '../kernel/turn-cache.js';

/** Scripts from this length on are worth being read by two tools at once. */
const OVERLAP_FROM = 256 * 1024;

/** Counts commits. One per network namespace. */
export class CommitLedger {
  readonly #readGeneration: () => number;
  /** All tables ask before they write, in one turn. A commit of others meanwhile shows at the next question. */
  readonly #read = new TurnCache<number>();
  #generation: number | null = null;
  #ownCommits = 0;
  #underWay = 0;
  #isUncertain = false;
  #epoch = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** `readGeneration` asks the kernel for its generation id, which moves by one with every commit. */
  constructor(readGeneration: () => number) {
    this.#readGeneration = readGeneration;
  }

  /**
   * Carries out work of ours that commits `commits` times if it succeeds. `characters` is the size of its script: only
   * long ones overlap, because iptables-nft starts anew, some 10 ms later, when somebody commits meanwhile.
   */
  own<T>(work: () => Promise<T>, characters = 0, commits = 1): Promise<T> {
    if (characters >= OVERLAP_FROM) return this.#count(work, commits);
    const result = this.#last.then(() => this.#count(work, commits));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #count<T>(work: () => Promise<T>, commits: number): Promise<T> {
    this.epoch();
    this.#underWay += 1;
    this.#read.clear();
    try {
      const result = await work();
      this.#ownCommits += commits;
      return result;
    } catch (error) {
      // It may have committed or not.
      this.#isUncertain = true;
      throw error;
    } finally {
      this.#underWay -= 1;
      this.#read.clear();
    }
  }

  /**
   * A number that moves when somebody else committed, or may have, in an earlier turn of the event loop. What happens
   * while work of ours is under way is told by the first call after it.
   */
  epoch(): number {
    if (this.#underWay > 0) return this.#epoch;
    const generation = this.#ask();
    const expected = this.#generation === null ? generation : this.#generation + this.#ownCommits;
    if (generation === null || generation !== expected || this.#isUncertain) this.#epoch += 1;
    this.#generation = generation;
    this.#ownCommits = 0;
    // Nobody counts what is committed until the kernel answers again.
    this.#isUncertain = generation === null;
    return this.#epoch;
  }

  /** Null when the kernel did not answer (no buffer, no memory): that is no failure, only a reason to read again. */
  #ask(): number | null {
    try {
      return this.#read.get(this.#readGeneration);
    } catch {
      return null;
    }
  }
}
