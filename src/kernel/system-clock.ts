// The real clock.
import { performance } from 'node:perf_hooks';
import type { Clock } from '../base/clock.js';

/** Node fires a timer of more than 2³¹ - 1 ms (25 days) at once; early is harmless, at once and for ever is not. */
const MAX_TIMER_MS = 2_147_483_647;

/** Time of this machine. Timers keep the process alive until they fire or are cancelled. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(MAX_TIMER_MS, Math.max(0, delayMs)));
    return { cancel: () => clearTimeout(timer) };
  },
  nextTurn: (callback) => void setImmediate(callback),
};
