import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../../src/base/errors.js';
import { encodeFrame, type Frame, FrameDecoder } from '../../../src/protocol/frame.js';
import { loadRecording, splitFrames } from '../../fixtures/recording.js';

function decodeAll(decoder: FrameDecoder, chunks: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  for (const chunk of chunks) decoder.push(chunk, (frame) => frames.push(frame));
  return frames;
}

/** Cuts bytes at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.byteLength + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((start, index) => bytes.subarray(start, sorted[index] ?? bytes.byteLength));
}

function header(length: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(length);
  return bytes;
}

function failure(action: () => void): ProtocolError {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('FrameDecoder', () => {
  it('push, any cut of the stream, gives the same frames', () => {
    const payload = fc.uint8Array({ minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(fc.array(payload, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 20 }), (payloads, places) => {
        const stream = Buffer.concat(payloads.map(encodeFrame));
        const decoder = new FrameDecoder();
        const frames = decodeAll(decoder, cut(stream, places));
        decoder.end();
        expect(frames.map((frame) => Buffer.from(frame.bytes).toString('hex'))).toEqual(
          payloads.map((bytes) => Buffer.from(bytes).toString('hex')),
        );
        expect(frames.map((frame) => frame.sequence)).toEqual(payloads.map((_, index) => index));
      }),
    );
  });

  it('push, byte by byte, gives the frames of a recording', () => {
    const { stream } = loadRecording('pod-lifecycle');
    const bytes = [...stream].map((byte) => Uint8Array.of(byte));
    const frames = decodeAll(new FrameDecoder(), bytes);
    expect(frames.map((frame) => Buffer.from(frame.bytes))).toEqual(splitFrames(stream));
  });

  it('push, frame with its length, reports where it began', () => {
    const stream = Buffer.concat([encodeFrame(Uint8Array.of(1, 2, 3)), encodeFrame(Uint8Array.of(4))]);
    expect(decodeAll(new FrameDecoder(), [stream]).map((frame) => frame.offset)).toEqual([0, 11]);
  });

  it('push, claim of 2 GiB, is refused before anything is kept for it', () => {
    const decoder = new FrameDecoder();
    const error = failure(() => decodeAll(decoder, [encodeFrame(Uint8Array.of(1)), header(2n ** 31n)]));
    expect(error.message).toContain('claims 2147483648 bytes');
    expect([error.sequence, error.offset]).toEqual([1, 9]);
    expect(decoder.pendingBytes).toBeLessThanOrEqual(8);
  });

  it('push, claim within the limit, keeps only what arrived', () => {
    const decoder = new FrameDecoder();
    decodeAll(decoder, [header(2n ** 30n), Buffer.alloc(10)]);
    expect(decoder.pendingBytes).toBe(18);
  });

  it('push, empty frame, is refused', () => {
    expect(failure(() => decodeAll(new FrameDecoder(), [header(0n)])).message).toContain('empty frame');
  });

  it('push, after an error, refuses everything', () => {
    const decoder = new FrameDecoder();
    failure(() => decodeAll(decoder, [header(0n)]));
    expect(failure(() => decodeAll(decoder, [encodeFrame(Uint8Array.of(1))])).message).toContain('can not be resumed');
  });

  it.each([
    ['inside the length', Buffer.alloc(3), 'inside a frame length: 3 of 8'],
    ['right after the length', header(5n), 'inside a frame: 0 of 5'],
    ['inside the message', Buffer.concat([header(5n), Buffer.alloc(4)]), 'inside a frame: 4 of 5'],
  ])('end, %s, is a truncated stream', (_, bytes, text) => {
    const decoder = new FrameDecoder();
    decodeAll(decoder, [bytes]);
    expect(failure(() => decoder.end()).message).toContain(text);
  });

  it('end, between frames, is fine', () => {
    const decoder = new FrameDecoder();
    decodeAll(decoder, [encodeFrame(Uint8Array.of(1))]);
    expect(() => decoder.end()).not.toThrow();
  });
});
