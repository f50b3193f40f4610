// Which sets are refused right now and why, and when those that the kernel refused are tried again.
import type { Clock } from '../base/clock.js';
import type { Logger } from '../base/logger.js';
import type { Family } from '../model/family.js';
import type { Refusal } from '../model/refusal.js';
import type { TrackedSet } from './tracked-set.js';

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;

/** The refused sets of one plane. A reason is logged when it is new. */
export class RefusalLedger {
  readonly #family: Family;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #reasons = new Map<string, string>();
  readonly #waiting = new Set<TrackedSet>();

  constructor(family: Family, clock: Clock, log: Logger) {
    this.#family = family;
    this.#clock = clock;
    this.#log = log;
  }

  /** A new apply: every dirty set may fail anew. */
  startApply(dirty: Iterable<TrackedSet>): void {
    for (const set of dirty) set.failures = 0;
  }

  /** Our own check refuses the set until its membership changes. */
  refuse(set: TrackedSet, reason: string): void {
    this.#waiting.delete(set);
    this.refuseId(set.id, reason);
  }

  /** The kernel refuses the set; it is tried again after a while that grows, or when its wish changes. */
  refuseForNow(set: TrackedSet, reason: string): void {
    set.retryDelayMs = Math.min(LAST_RETRY_MS, set.retryDelayMs === 0 ? FIRST_RETRY_MS : set.retryDelayMs * 2);
    set.retryAtMs = this.#clock.nowMs() + set.retryDelayMs;
    this.#waiting.add(set);
    this.refuseId(set.id, reason);
  }

  /** Refuses something that has no set in the plane. */
  refuseId(id: string, reason: string): void {
    if (this.#reasons.get(id) !== reason) {
      this.#log.error(`IP set ${id} is refused; what needs it is closed`, { family: this.#family, reason });
    }
    this.#reasons.set(id, reason);
  }

  /** The set is right, or no longer wanted. */
  clear(set: TrackedSet): void {
    set.retryAtMs = 0;
    set.retryDelayMs = 0;
    this.#waiting.delete(set);
    this.clearId(set.id);
  }

  clearId(id: string): void {
    if (this.#reasons.delete(id)) this.#log.info(`IP set ${id} is no longer refused`, { family: this.#family });
  }

  /** Whether the kernel refused the set so lately that it is left alone now. */
  mustWait(set: TrackedSet): boolean {
    return set.retryAtMs > this.#clock.nowMs();
  }

  /** Milliseconds until the next set is tried again; null if none waits. */
  nextRetryMs(): number | null {
    let nextMs: number | null = null;
    for (const set of this.#waiting) {
      const inMs = Math.max(1, set.retryAtMs - this.#clock.nowMs());
      if (nextMs === null || inMs < nextMs) nextMs = inMs;
    }
    return nextMs;
  }

  /** All refusals of now. */
  list(): Refusal[] {
    return [...this.#reasons].map(([object, reason]) => ({ family: this.#family, kind: 'set', object, reason }));
  }
}
