// A clock that stands still until a test moves it.
import type { Clock, Timer } from '../../src/base/clock.js';

interface PendingTimer {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Rounds of the microtask queue that are let run between two timers; deep promise chains need many. */
const FLUSH_ROUNDS = 50;

/** Lets promise callbacks that are ready run, however deep they are chained (within reason). */
export async function flushMicrotasks(): Promise<void> {
  for (let round = 0; round < FLUSH_ROUNDS; round++) await Promise.resolve();
}

/** A fake clock. Time starts at 1,000,000 ms and only moves in {@link FakeClock.advance}. */
export class FakeClock implements Clock {
  #nowMs: number;
  readonly #wallOffsetMs: number;
  #order = 0;
  readonly #timers = new Set<PendingTimer>();

  constructor(options: { startMs?: number; wallStartMs?: number } = {}) {
    this.#nowMs = options.startMs ?? 1_000_000;
    this.#wallOffsetMs = (options.wallStartMs ?? 1_750_000_000_000) - this.#nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#timers.add(timer);
    return {
      cancel: () => {
        this.#timers.delete(timer);
      },
    };
  }

  nextTurn(callback: () => void): void {
    this.setTimer(0, callback);
  }

  /** Number of timers that wait. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Milliseconds until the next timer, or null if none waits. */
  nextTimerInMs(): number | null {
    const next = this.#next();
    return next === undefined ? null : next.dueMs - this.#nowMs;
  }

  /**
   * Moves time on by `ms`, running due timers in order (those that they set too, if due) and letting promise callbacks
   * run before, between and after them.
   */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await flushMicrotasks();
    for (let next = this.#next(); next !== undefined && next.dueMs <= endMs; next = this.#next()) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.callback();
      await flushMicrotasks();
    }
    // A callback may have moved time itself (`skip`): it never goes back.
    this.#nowMs = Math.max(this.#nowMs, endMs);
    await flushMicrotasks();
  }

  /** Moves time without running anything: what a busy event loop looks like. */
  skip(ms: number): void {
    this.#nowMs += ms;
  }

  #next(): PendingTimer | undefined {
    let best: PendingTimer | undefined;
    for (const timer of this.#timers) {
      if (best === undefined || timer.dueMs < best.dueMs || (timer.dueMs === best.dueMs && timer.order < best.order)) {
        best = timer;
      }
    }
    return best;
  }
}
