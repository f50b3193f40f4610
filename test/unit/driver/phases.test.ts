// A manager's long work is cut into slices, and counts as a whole.
import { expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { SLICE_MS } from '../../../src/base/time-slices.js';
import { applyOnce, type ApplyPhases } from '../../../src/driver/phases.js';
import type { Manager } from '../../../src/managers/manager.js';
import { WorkClock } from '../../fakes/slices.js';

function phasesOf(manager: Manager): ApplyPhases {
  return {
    managers: [manager],
    interfaceSettings: [],
    ipSets: [],
    links: [],
    routes: [],
    tables: [],
    untilTablesAreSent: () => Promise.resolve(),
    cleanups: [],
  };
}

test('applyOnce, a manager with many steps, pauses after each slice and takes its word', async () => {
  const clock = new WorkClock();
  let steps = 0;
  const manager: Manager = {
    name: 'slow',
    onMessage: () => undefined,
    completeDeferredWork: () => {
      throw new Error('the steps are there instead');
    },
    *deferredSteps() {
      for (; steps < 100; steps += 1) {
        clock.ms += 5;
        yield;
      }
      return false;
    },
  };
  const outcome = await applyOnce(phasesOf(manager), clock, silentLogger);
  expect(steps).toBe(100);
  expect(clock.pauses).toBe((100 * 5) / SLICE_MS);
  expect(outcome.dirty, 'it asked to be called again').toBe(true);
});

test('applyOnce, a step that throws, is logged, and the apply goes on dirty', async () => {
  const clock = new WorkClock();
  const manager: Manager = {
    name: 'broken',
    onMessage: () => undefined,
    completeDeferredWork: () => true,
    *deferredSteps() {
      throw new Error('broken');
    },
  };
  const outcome = await applyOnce(phasesOf(manager), clock, silentLogger);
  expect(outcome.dirty).toBe(true);
});
