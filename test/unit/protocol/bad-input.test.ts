// Bad input on the wire: whatever bytes come, the outcome is one of three, and never a crash, a hang or an allocation
// that the bytes themselves don't pay for: refused with sequence number and offset, skipped and counted, or delivered.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../../src/base/errors.js';
import { encodeFrame, FrameDecoder } from '../../../src/protocol/frame.js';
import { decodeFromDataplane, type DecodeCounters, ToDataplaneDecoder } from '../../../src/protocol/messages.js';
import { MessageQueue } from '../../../src/protocol/coalesce.js';
import { loadRecording, splitFrames } from '../../fixtures/recording.js';
import { wire } from './wire.js';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const latin = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const id = wire([2, 'k8s'], [3, 'ns/pod'], [4, 'eth0']);

/** Streams that are no frames: [what, bytes, part of the message]. */
const BAD_STREAMS: readonly (readonly [string, Uint8Array, string])[] = [
  ['zero length', hex('00 00 00 00 00 00 00 00'), 'empty frame'],
  ['2 GiB claimed', hex('00 00 00 80 00 00 00 00'), 'claims 2147483648'],
  ['one byte above the limit', hex('01 00 00 40 00 00 00 00'), 'claims 1073741825'],
  ['length of all ones', hex('ff ff ff ff ff ff ff ff'), 'claims 18446744073709551615'],
  ['big-endian length', hex('00 00 00 00 00 00 00 05 01 02 03 04 05'), 'more than the limit'],
  ['varint length', Buffer.concat([hex('05'), wire([1, 'abc']), wire([1, 'abc'])]), 'more than the limit'],
  ['text', latin('hello, dataplane\n'), 'more than the limit'],
  ['HTTP', latin('GET /metrics HTTP/1.1\r\n'), 'more than the limit'],
  ['TLS client hello', hex('16 03 01 02 00 01 00 01 fc 03 03'), 'more than the limit'],
  ['cut in the length', hex('05 00 00'), 'inside a frame length: 3 of 8'],
  ['cut in the message', hex('05 00 00 00 00 00 00 00 01 02'), 'inside a frame: 2 of 5'],
];

/** Messages that are no protobuf of this schema. */
const NOT_MESSAGES: readonly (readonly [string, Uint8Array])[] = [
  ['one open byte', hex('ff')],
  ['varint of 11 bytes', hex('78 ff ff ff ff ff ff ff ff ff ff 01')],
  ['tag without value', hex('0a')],
  ['length beyond the end', hex('12 7f 01')],
  ['length of 4 GiB', hex('12 ff ff ff ff 0f 01')],
  ['field number 0', hex('02 00')],
  ['end group without start', hex('0c')],
  ['group without end', hex('a3 06 08 01')],
  ['wire type 6', hex('0e 00')],
  ['wire type 7', hex('0f 00')],
  ['fixed32 cut short', hex('a5 06 01 02')],
  ['fixed64 cut short', hex('a1 06 01 02 03 04 05 06')],
  ['nested message cut short', wire([11, hex('0a 05 12')])],
  ['rule cut short, four levels down', wire([7, wire([1, wire([2, 'p'])], [2, wire([1, hex('22 ff')])])])],
  ['tier cut short', wire([11, wire([1, id], [5, wire([7, hex('12 09 61')])])])],
  ['host metadata of old form cut short', wire([35, hex('0a 09 61')])],
  ['map entry cut short', wire([13, wire([1, hex('0a 05 61')])])],
  ['text', latin('not protobuf at all')],
];

/** Messages that are skipped: [what, bytes, counter]. */
const SKIPPED: readonly (readonly [string, Uint8Array, keyof DecodeCounters])[] = [
  ['no payload at all', wire([15, 7]), 'unknownPayloads'],
  ['payload of the future', wire([40, wire([1, 'x'])], [15, 7]), 'unknownPayloads'],
  ['payload as a number', wire([77, 5]), 'unknownPayloads'],
  ['set without id', wire([2, wire([2, '10.0.0.1'])]), 'invalidMessages'],
  ['delta without id', wire([3, wire([2, '10.0.0.1'])]), 'invalidMessages'],
  ['set remove without id', wire([4, new Uint8Array()]), 'invalidMessages'],
  ['policy without id', wire([7, wire([2, wire([3, 1])])]), 'invalidMessages'],
  ['policy with empty id', wire([7, wire([1, new Uint8Array()])]), 'invalidMessages'],
  ['profile without name', wire([5, wire([1, new Uint8Array()])]), 'invalidMessages'],
  ['workload without id', wire([11, wire([5, wire([2, 'cali1'])])]), 'invalidMessages'],
  ['workload with empty id', wire([11, wire([1, new Uint8Array()], [5, wire([2, 'cali1'])])]), 'invalidMessages'],
  ['workload without endpoint', wire([11, wire([1, id])]), 'invalidMessages'],
  ['host endpoint without endpoint', wire([9, wire([1, wire([2, 'h'])])]), 'invalidMessages'],
  ['host endpoint remove without id', wire([10, new Uint8Array()]), 'invalidMessages'],
  ['pool without pool', wire([16, wire([1, '10.0.0.0-16'])]), 'invalidMessages'],
  ['route without destination', wire([23, wire([4, 'n1'])]), 'invalidMessages'],
  ['vtep without node', wire([25, wire([2, '02:00:00:00:00:01'])]), 'invalidMessages'],
  ['wireguard peer without host', wire([27, wire([2, 'key'])]), 'invalidMessages'],
  ['host metadata without host', wire([14, wire([2, '10.0.0.1'])]), 'invalidMessages'],
  ['service without name', wire([31, new Uint8Array()]), 'invalidMessages'],
];

function refusal(action: () => void): ProtocolError {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('bad stream', () => {
  it.each(BAD_STREAMS)('%s, is refused with its place', (_, bytes, text) => {
    const decoder = new FrameDecoder();
    const good = encodeFrame(Uint8Array.of(1, 2, 3));
    const error = refusal(() => {
      decoder.push(good, () => undefined);
      decoder.push(bytes, () => undefined);
      decoder.end();
    });
    expect(error.message).toContain(text);
    expect([error.sequence, error.offset]).toEqual([1, 11]);
    expect(error.message).toContain('Frame 1 at byte 11');
  });
});

describe('bad message', () => {
  it.each(NOT_MESSAGES)('%s, is refused with its place', (_, bytes) => {
    const error = refusal(() => new ToDataplaneDecoder().decode(bytes, 17, 4711));
    expect([error.kind, error.sequence, error.offset]).toEqual(['protocol', 17, 4711]);
    expect(error.message).toContain('Frame 17 at byte 4711');
  });

  it.each(SKIPPED)('%s, is skipped, counted and reported', (_, bytes, counter) => {
    const problems: string[] = [];
    const decoder = new ToDataplaneDecoder({ onIssue: (issue) => problems.push(issue.problem) });
    expect(decoder.decode(bytes, 0, 0)).toBeNull();
    expect(decoder.counters[counter]).toBe(1);
    expect(problems).toHaveLength(1);
  });

  it('from the driver, is refused with its place too', () => {
    expect(refusal(() => decodeFromDataplane(hex('ff'), 2, 30)).message).toContain('Frame 2 at byte 30');
  });
});

describe('any bytes', () => {
  it('as a stream, are refused or decoded, and never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const decoder = new FrameDecoder({ maxFrameBytes: 64 });
        try {
          decoder.push(bytes, (frame) => expect(frame.bytes.byteLength).toBeGreaterThan(0));
          decoder.end();
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('in place of some bytes of a real message, are refused, skipped or delivered, and the queue takes what is delivered', () => {
    const frames = [...splitFrames(loadRecording('rule-zoo').stream), ...splitFrames(loadRecording('vxlan').stream)];
    const change = fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }));
    fc.assert(
      fc.property(
        fc.nat({ max: frames.length - 1 }),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        (index, changes) => {
          const bytes = Uint8Array.from(frames[index] ?? []);
          for (const [place, replacement] of changes) {
            const at = place % bytes.byteLength;
            bytes.set(replacement.subarray(0, bytes.byteLength - at), at);
          }
          const queue = new MessageQueue();
          try {
            const decoded = new ToDataplaneDecoder().decode(bytes, 0, 0);
            if (decoded !== null) queue.add(decoded.payload, bytes.byteLength);
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
          expect(queue.take().messages.length).toBeLessThanOrEqual(1);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
