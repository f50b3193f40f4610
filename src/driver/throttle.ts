// The token bucket that keeps applies from following each other too fast (dataplane.md 4.1).
import type { Clock } from '../base/clock.js';

/** Felix's figures: bursts of ten, then ten a second. */
const CAPACITY = 10;
const REFILL_INTERVAL_MS = 100;

/** A token bucket that starts with one token and gains one every 100 ms, up to ten. It arms no timers itself. */
export class Throttle {
  readonly #clock: Clock;
  #tokens = 1;
  #refilledAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#refilledAtMs = clock.nowMs();
  }

  /** Takes a token; returns 0, or the milliseconds until there is one (and takes none). */
  take(): number {
    this.#refill();
    if (this.#tokens === 0) return Math.max(1, this.#refilledAtMs + REFILL_INTERVAL_MS - this.#clock.nowMs());
    this.#tokens -= 1;
    return 0;
  }

  #refill(): void {
    const gained = Math.floor((this.#clock.nowMs() - this.#refilledAtMs) / REFILL_INTERVAL_MS);
    if (gained <= 0) return;
    this.#tokens = Math.min(CAPACITY, this.#tokens + gained);
    this.#refilledAtMs += gained * REFILL_INTERVAL_MS;
  }
}
