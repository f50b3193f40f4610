// The tracker against two plain sets, and time slices on a fake clock.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DeltaTracker } from '../../../src/base/delta-tracker.js';
import { TimeSlices } from '../../../src/base/time-slices.js';
import { FakeClock } from '../../fakes/clock.js';

describe('DeltaTracker', () => {
  test('always equals the difference of two sets', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd');
    const step = fc.tuple(fc.constantFrom('want', 'unwant', 'setPresent', 'setAbsent'), key);
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const tracker = new DeltaTracker();
        const wanted = new Set<string>();
        const present = new Set<string>();
        for (const [verb, each] of steps) {
          if (verb === 'want') {
            tracker.want(each);
            wanted.add(each);
          } else if (verb === 'unwant') {
            tracker.unwant(each);
            wanted.delete(each);
          } else if (verb === 'setPresent') {
            tracker.setPresent(each);
            present.add(each);
          } else {
            tracker.setAbsent(each);
            present.delete(each);
          }
        }
        const sorted = (keys: Iterable<string>): string[] => [...keys].sort();
        expect(sorted(tracker.missing)).toEqual(sorted([...wanted].filter((each) => !present.has(each))));
        expect(sorted(tracker.surplus)).toEqual(sorted([...present].filter((each) => !wanted.has(each))));
        expect(sorted(tracker.wanted())).toEqual(sorted(wanted));
        expect(sorted(tracker.present())).toEqual(sorted(present));
        expect([tracker.wantedCount, tracker.presentCount]).toEqual([wanted.size, present.size]);
        expect(tracker.isInSync).toBe(tracker.missing.size + tracker.surplus.size === 0);
        expect([tracker.isWanted('a'), tracker.isPresent('a')]).toEqual([wanted.has('a'), present.has('a')]);
      }),
    );
  });

  test('confirming while iterating visits every element once', () => {
    const tracker = new DeltaTracker();
    for (const key of ['a', 'b', 'c']) tracker.want(key);
    const seen: string[] = [];
    for (const key of tracker.missing) {
      seen.push(key);
      tracker.setPresent(key);
    }
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(tracker.isInSync).toBe(true);
  });
});

describe('TimeSlices', () => {
  test('is due only after its time, and anew after a pause', async () => {
    const clock = new FakeClock();
    const slices = new TimeSlices(clock, 25);
    const dueWithin = (elements: number): boolean =>
      Array.from({ length: elements }, () => slices.isDue()).includes(true);
    expect(dueWithin(2000)).toBe(false);
    clock.skip(25);
    expect(dueWithin(2000)).toBe(true);
    const pause = slices.pause();
    await clock.advance(0);
    await pause;
    expect(dueWithin(2000)).toBe(false);
  });
});
