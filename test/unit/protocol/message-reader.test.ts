import { fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ToDataplane, ToDataplaneSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { readMessage } from '../../../src/protocol/message-reader.js';
import { countUnknownFields } from '../../../src/protocol/unknown-fields.js';
import { loadRecording, recordingNames, splitFrames } from '../../fixtures/recording.js';
import { wire } from './wire.js';

const FRAMES = recordingNames().flatMap((name) => splitFrames(loadRecording(name).stream));

function attempt<T>(read: () => T): T | 'refused' {
  try {
    return read();
  } catch {
    return 'refused';
  }
}

/** What protobuf-es makes of the bytes. */
function byLibrary(bytes: Uint8Array): ToDataplane | 'refused' {
  return attempt(() => fromBinary(ToDataplaneSchema, bytes));
}

function byPlan(bytes: Uint8Array): ToDataplane | 'refused' {
  return attempt(() => {
    const { message, hasUnknown } = readMessage(ToDataplaneSchema, bytes);
    // It may have been in a message that a later one took the place of.
    if (!hasUnknown) expect(countUnknownFields(ToDataplaneSchema, message)).toBe(0);
    return message;
  });
}

describe('readMessage', () => {
  test('every recorded frame gives what protobuf-es gives, with its fields in the same order', () => {
    for (const frame of FRAMES) {
      const [mine, theirs] = [byPlan(frame), byLibrary(frame)];
      expect(mine).toStrictEqual(theirs);
      const text = (value: unknown): string =>
        JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part));
      expect(text(mine)).toBe(text(theirs));
      expect(readMessage(ToDataplaneSchema, frame).hasUnknown).toBe(false);
    }
  });

  test('damaged frames are refused or read as by protobuf-es', () => {
    const damage = fc.record({
      frame: fc.integer({ min: 0, max: FRAMES.length - 1 }),
      changes: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
      cut: fc.nat(20),
    });
    fc.assert(
      fc.property(damage, ({ frame, changes, cut }) => {
        const bytes = Buffer.from(FRAMES[frame] ?? []);
        for (const [at, value] of changes) bytes[at % Math.max(1, bytes.length)] = value;
        const damaged = bytes.subarray(0, cut < 10 ? bytes.length : Math.max(0, bytes.length - cut));
        expect(byPlan(damaged)).toStrictEqual(byLibrary(damaged));
      }),
      { numRuns: 2_000 },
    );
  });

  test('says that there are unknown fields', () => {
    const { message, hasUnknown } = readMessage(ToDataplaneSchema, wire([7, wire([15, 'new'])]));
    expect(hasUnknown).toBe(true);
    expect(countUnknownFields(ToDataplaneSchema, message)).toBe(1);
  });

  test.each([
    ['a message that comes twice is merged', wire([7, wire([1, wire([2, 'a'])])], [7, wire([1, wire([3, 'ns'])])])],
    ['the last of a oneof counts', wire([8, wire([1, wire([2, 'a'])])], [7, wire([1, wire([2, 'b'])])])],
    ['a map entry without key or value', wire([4, wire([1, wire()], [1, wire([1, 'k'])], [1, wire([2, 'v'])])])],
    ['a text outside of ASCII', wire([7, wire([1, wire([2, 'prüfung-Ω'])])])],
    ['a long text', wire([7, wire([1, wire([2, 'x'.repeat(300)])])])],
    ['nothing', wire()],
  ])('%s', (_name, bytes) => {
    expect(byLibrary(bytes)).not.toBe('refused');
    expect(byPlan(bytes)).toStrictEqual(byLibrary(bytes));
  });
});
