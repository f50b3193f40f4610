// Runs a sweep over leftovers of other back ends at an interval of its own: never fatal, never finished
// (dataplane.md 4.6, tests.md B24).
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';

/** Pace when the refresh is disabled; Felix's figure. */
const DEFAULT_INTERVAL_MS = 180_000;

/** What one pass did: operations carried out, and what could not be cleaned, in words. */
export interface SweepResult {
  readonly operations: number;
  readonly failures: readonly string[];
}

/** What a clean-up is made of. `refreshIntervalMs` 0 means 180 s. */
export interface PacedCleanupOptions {
  readonly name: string;
  readonly refreshIntervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** One pass. May reject: like failures, that is logged and tried again at the next pass. */
  readonly sweep: () => Promise<SweepResult>;
}

/** A sweep as a reconciler. The first apply sweeps, later ones when the interval is over. */
export class PacedCleanup implements Reconciler {
  readonly name: string;
  readonly #options: PacedCleanupOptions;
  readonly #intervalMs: number;
  #nextMs: number;
  #lastFailure = '';

  constructor(options: PacedCleanupOptions) {
    this.name = options.name;
    this.#options = options;
    this.#intervalMs = options.refreshIntervalMs > 0 ? options.refreshIntervalMs : DEFAULT_INTERVAL_MS;
    this.#nextMs = options.clock.nowMs();
  }

  /** Does nothing: every sweep reads anew, at its own pace. */
  queueResync(): void {
    // Nothing is remembered that could be forgotten.
  }

  /** Never rejects. */
  async apply(): Promise<ApplyResult> {
    const waitMs = this.#nextMs - this.#options.clock.nowMs();
    if (waitMs > 0) return { refused: [], operations: 0, rescheduleAfterMs: waitMs };
    const { operations, failures } = await this.#sweep();
    if (operations > 0) this.#options.log.info('Cleaned up leftovers', { cleanup: this.name, operations });
    this.#complain(failures.join('; '));
    this.#nextMs = this.#options.clock.nowMs() + this.#intervalMs;
    return { refused: [], operations, rescheduleAfterMs: this.#intervalMs };
  }

  async #sweep(): Promise<SweepResult> {
    try {
      return await this.#options.sweep();
    } catch (error) {
      return { operations: 0, failures: [errorMessage(error)] };
    }
  }

  /** The same failure again and again is worth one warning. An empty reason means success. */
  #complain(reason: string): void {
    const isNew = reason !== this.#lastFailure;
    this.#lastFailure = reason;
    if (reason === '') return;
    const fields = { cleanup: this.name, reason, retryInMs: this.#intervalMs };
    if (isNew) this.#options.log.warn('Leftovers cannot be cleaned up now; they are tried again', fields);
    else this.#options.log.debug('Leftovers still cannot be cleaned up', fields);
  }
}
