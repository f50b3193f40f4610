// Time as a dependency: everything outside `kernel`, `transport` and `cli` gets its time from here.

/** A timer that can be cancelled; cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/** Monotonic and wall-clock time, and one-shot timers. */
export interface Clock {
  /** Milliseconds from an arbitrary start, never going back. */
  nowMs(): number;
  /** Milliseconds since the epoch. */
  wallMs(): number;
  /** Calls `callback` once after `delayMs` (at least 0). */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Calls `callback` once, after all that is ready now had its turn: sooner than any timer, which takes a millisecond. */
  nextTurn(callback: () => void): void;
}

/** Resolves after `delayMs` of the given clock. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve);
  });
}
