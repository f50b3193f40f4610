// What tests of sliced work share: a clock that only work moves, and a count of the event loop's turns.
import type { Clock, Timer } from '../../src/base/clock.js';

/** Time moves by `lookMs` with each look at the clock, and by what a test adds to `ms`. Timers end in the next turn. */
export class WorkClock implements Clock {
  pauses = 0;
  ms = 0;
  readonly #lookMs: number;

  constructor(lookMs = 0) {
    this.#lookMs = lookMs;
  }

  nowMs(): number {
    this.ms += this.#lookMs;
    return this.ms;
  }

  wallMs(): number {
    return this.ms;
  }

  setTimer(_delayMs: number, callback: () => void): Timer {
    setImmediate(callback);
    return { cancel: () => undefined };
  }

  nextTurn(callback: () => void): void {
    this.pauses += 1;
    setImmediate(callback);
  }
}

/** Counts turns of the event loop until it is stopped. */
export function countTurns(): { readonly turns: number; stop(): void } {
  let isDone = false;
  const counter = {
    turns: 0,
    stop: (): void => {
      isDone = true;
    },
  };
  const turn = (): void => {
    counter.turns += 1;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  return counter;
}
