// The frame codec of the pipe and socket transports: 8 bytes little-endian length, then that many bytes of protobuf
// (dataplane.md 0.1). Knows nothing of the messages inside; imported by the relay, so it must stay light.
import { ProtocolError } from '../base/errors.js';

/** Bytes of the length that precedes every message. */
export const FRAME_HEADER_BYTES = 8;

/** Longest message accepted by default: 1 GiB. Felix itself has no limit; a real snapshot message is far below it. */
export const DEFAULT_MAX_FRAME_BYTES = 1024 * 1024 * 1024;

/** One whole message. `sequence` counts frames of the stream from 0, `offset` is where its length begins. */
export interface Frame {
  readonly sequence: number;
  readonly offset: number;
  /** The message without its length; may be a view of the chunk it came in, so decode it before the next turn. */
  readonly bytes: Uint8Array;
}

/** The frame of one message: length and payload in one buffer, so that one write carries all of it. */
export function encodeFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.byteLength);
  frame.writeBigUInt64LE(BigInt(payload.byteLength), 0);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

/**
 * Cuts a byte stream into frames. A claimed length is judged before anything is kept for it, and memory grows only
 * with bytes that really arrived. After the first error the decoder refuses all further bytes: a stream that lost its
 * frame boundaries can't be picked up again.
 */
export class FrameDecoder {
  readonly #maxFrameBytes: number;
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #headerFilled = 0;
  #payloadLength = 0;
  #parts: Uint8Array[] = [];
  #partsLength = 0;
  #sequence = 0;
  #offset = 0;
  #frameOffset = 0;
  #failed = false;

  constructor(options: { readonly maxFrameBytes?: number } = {}) {
    this.#maxFrameBytes = options.maxFrameBytes ?? DEFAULT_MAX_FRAME_BYTES;
  }

  /** Frames completed so far, which is also the sequence number of the next one. */
  get framesDecoded(): number {
    return this.#sequence;
  }

  /** Bytes kept for a frame that is not complete yet. */
  get pendingBytes(): number {
    return this.#headerFilled + this.#partsLength;
  }

  /**
   * Takes the next bytes of the stream, in any cut, and calls `onFrame` for each frame they complete, in order.
   * Throws ProtocolError for a length that is zero, above the limit or not a number, with the sequence number of the
   * frame and the offset of its length.
   */
  push(chunk: Uint8Array, onFrame: (frame: Frame) => void): void {
    if (this.#failed) throw this.#error('bytes after a framing error; the stream can not be resumed');
    let position = 0;
    while (position < chunk.byteLength) {
      if (this.#headerFilled < FRAME_HEADER_BYTES) {
        position += this.#fillHeader(chunk, position);
        continue;
      }
      const wanted = this.#payloadLength - this.#partsLength;
      const part = chunk.subarray(position, position + wanted);
      position += part.byteLength;
      this.#offset += part.byteLength;
      this.#partsLength += part.byteLength;
      this.#parts.push(part);
      if (this.#partsLength === this.#payloadLength) onFrame(this.#finishFrame());
    }
  }

  /** To be called at the end of the stream. Throws ProtocolError if it ends inside a frame. */
  end(): void {
    if (this.#failed || this.pendingBytes === 0) return;
    throw this.#error(
      this.#headerFilled < FRAME_HEADER_BYTES
        ? `stream ends inside a frame length: ${this.#headerFilled} of ${FRAME_HEADER_BYTES} bytes`
        : `stream ends inside a frame: ${this.#partsLength} of ${this.#payloadLength} bytes`,
    );
  }

  #fillHeader(chunk: Uint8Array, position: number): number {
    if (this.#headerFilled === 0) this.#frameOffset = this.#offset;
    const part = chunk.subarray(position, position + FRAME_HEADER_BYTES - this.#headerFilled);
    this.#header.set(part, this.#headerFilled);
    this.#headerFilled += part.byteLength;
    this.#offset += part.byteLength;
    if (this.#headerFilled === FRAME_HEADER_BYTES) this.#readLength();
    return part.byteLength;
  }

  #readLength(): void {
    const length = this.#header.readBigUInt64LE(0);
    if (length === 0n) throw this.#error('empty frame: a message has at least one byte');
    if (length > BigInt(this.#maxFrameBytes)) {
      throw this.#error(
        `frame claims ${length} bytes, more than the limit of ${this.#maxFrameBytes}; the peer does not speak this protocol or is broken`,
      );
    }
    this.#payloadLength = Number(length);
  }

  #finishFrame(): Frame {
    const [first] = this.#parts;
    const bytes =
      this.#parts.length === 1 && first !== undefined ? first : Buffer.concat(this.#parts, this.#payloadLength);
    const frame = { sequence: this.#sequence, offset: this.#frameOffset, bytes };
    this.#sequence += 1;
    this.#headerFilled = 0;
    this.#parts = [];
    this.#partsLength = 0;
    return frame;
  }

  #error(message: string): ProtocolError {
    this.#failed = true;
    this.#parts = [];
    return new ProtocolError(
      `Frame ${this.#sequence} at byte ${this.#frameOffset}: ${message}`,
      this.#sequence,
      this.#frameOffset,
    );
  }
}
