// Long work cut into slices, so that heartbeats, sockets and health answers are served in between.
import type { Clock } from './clock.js';

/** So long a piece of work may hold the event loop before heartbeats, health and the reader have their turn. */
export const SLICE_MS = 20;

/** Looking at the clock costs as much as the work on one element; this many elements go between two looks. */
const ELEMENTS_PER_LOOK = 512;

/** Hands the event loop back whenever the work has held it for `sliceMs`. */
export class TimeSlices {
  readonly #clock: Clock;
  readonly #sliceMs: number;
  #startMs: number;
  #elements = 0;

  constructor(clock: Clock, sliceMs: number) {
    this.#clock = clock;
    this.#sliceMs = sliceMs;
    this.#startMs = clock.nowMs();
  }

  /** Call once for each element; when it answers true, await {@link pause} before the next. */
  isDue(): boolean {
    this.#elements++;
    if (this.#elements < ELEMENTS_PER_LOOK) return false;
    this.#elements = 0;
    return this.isOver();
  }

  /** Pauses if the slice is over: for work that comes in pieces of some milliseconds. */
  async breathe(): Promise<void> {
    if (this.isOver()) await this.pause();
  }

  /** Lets everything else run, then starts a new slice. */
  async pause(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.nextTurn(resolve));
    this.#startMs = this.#clock.nowMs();
  }

  /** Whether the slice is over, for elements that take their time: asked before {@link pause}, they cost no promise. */
  isOver(): boolean {
    return this.#clock.nowMs() - this.#startMs >= this.#sliceMs;
  }
}
