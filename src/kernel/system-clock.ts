// The real clock.
import { performance } from 'node:perf_hooks';
import type { Clock } from '../base/clock.js';

/** Time of this machine. Timers keep the process alive until they fire or are cancelled. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, Math.max(0, delayMs));
    return { cancel: () => clearTimeout(timer) };
  },
};
