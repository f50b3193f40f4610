import { expect, it } from 'vitest';
import { systemClock } from '../../../src/kernel/system-clock.js';

it('does not fire a timer of months at once', async () => {
  let fired = false;
  const timer = systemClock.setTimer(90 * 24 * 3_600_000, () => (fired = true));
  await new Promise((resolve) => systemClock.setTimer(20, () => resolve(undefined)));
  timer.cancel();
  expect(fired).toBe(false);
});

it('calls back in the next turn: after what is ready now, and before timers that are not due', async () => {
  const order: string[] = [];
  setImmediate(() => order.push('ready'));
  const timer = systemClock.setTimer(1_000, () => order.push('timer'));
  await new Promise<void>((resolve) => systemClock.nextTurn(resolve));
  timer.cancel();
  expect(order).toEqual(['ready']);
});
