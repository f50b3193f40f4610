// When a table that is believed right is read again: the refresh timer, and checks at growing intervals after each
// write, because other programs may undo it (dataplane.md 4.5, tests.md B11).
import type { Clock } from '../base/clock.js';

/** Shortest first check after a write (Felix `minPostWriteInterval`). */
const MIN_POST_WRITE_MS = 50;
/** From this interval on there are no more checks after a write. */
const MAX_POST_WRITE_MS = 3_600_000;
/** Share of a recorded peak duration that is left after each further sample. */
const PEAK_DECAY = 0.99;

/** Why the table is to be read again. */
export type CheckReason = 'refresh' | 'post-write';

/** Intervals in milliseconds. `refreshIntervalMs` 0 disables the refresh; `postWriteCheckIntervalMs` null the checks. */
export interface CheckScheduleOptions {
  readonly clock: Clock;
  readonly refreshIntervalMs: number;
  readonly postWriteCheckIntervalMs: number | null;
}

/** Keeps the times of the last read and write of one table and says when a re-read is due. */
export class CheckSchedule {
  readonly #clock: Clock;
  readonly #refreshIntervalMs: number;
  readonly #firstCheckMs: number | null;
  #postWriteIntervalMs: number;
  #lastReadMs: number;
  #lastWriteMs: number;
  #peakReadMs = 0;
  #peakWriteMs = 0;

  /** Construction counts as a write, so that checks follow the start too. */
  constructor(options: CheckScheduleOptions) {
    this.#clock = options.clock;
    this.#refreshIntervalMs = options.refreshIntervalMs;
    const first = options.postWriteCheckIntervalMs;
    this.#firstCheckMs = first === null ? null : Math.max(first, MIN_POST_WRITE_MS);
    this.#postWriteIntervalMs = this.#firstCheckMs ?? MAX_POST_WRITE_MS;
    this.#lastReadMs = this.#clock.nowMs();
    this.#lastWriteMs = this.#lastReadMs;
  }

  /** Why a re-read is due now, or null. A check after a write that is due is ticked off: the next is twice as far. */
  takeDue(): CheckReason | null {
    const now = this.#clock.nowMs();
    let due: CheckReason | null = null;
    while (this.#postWriteIntervalMs < MAX_POST_WRITE_MS && now >= this.#lastWriteMs + this.#postWriteIntervalMs) {
      this.#postWriteIntervalMs *= 2;
      due = 'post-write';
    }
    if (this.#refreshIntervalMs > 0 && now - this.#lastReadMs >= this.#refreshIntervalMs) due = 'refresh';
    return due;
  }

  /** The table was read in full, from `startMs` until now. */
  noteRead(startMs: number): void {
    this.#lastReadMs = startMs;
    this.#peakReadMs = Math.max(this.#peakReadMs * PEAK_DECAY, this.#clock.nowMs() - startMs);
  }

  /** The table was found to be as it is known. */
  noteUntouched(): void {
    this.#lastReadMs = this.#clock.nowMs();
  }

  /** The table was written, from `startMs` until now; on a slow kernel the first check comes later. */
  noteWrite(startMs: number): void {
    this.#lastWriteMs = this.#clock.nowMs();
    this.#peakWriteMs = Math.max(this.#peakWriteMs * PEAK_DECAY, this.#lastWriteMs - startMs);
    if (this.#firstCheckMs === null) return;
    this.#postWriteIntervalMs = Math.max(this.#firstCheckMs, 2 * (this.#peakReadMs + this.#peakWriteMs));
  }

  /** Milliseconds until {@link takeDue} has something, at least 1; undefined if never. */
  nextDueMs(): number | undefined {
    const now = this.#clock.nowMs();
    let next = Number.POSITIVE_INFINITY;
    if (this.#refreshIntervalMs > 0) next = this.#lastReadMs + this.#refreshIntervalMs - now;
    if (this.#postWriteIntervalMs < MAX_POST_WRITE_MS) {
      next = Math.min(next, this.#lastWriteMs + this.#postWriteIntervalMs - now);
    }
    return next === Number.POSITIVE_INFINITY ? undefined : Math.max(next, 1);
  }
}
