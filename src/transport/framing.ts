// Where messages begin and end on a stream: by Felix's length prefix on byte streams, by the stream itself on gRPC.
import { ProtocolError } from '../base/errors.js';
import { DEFAULT_MAX_FRAME_BYTES, encodeFrame, FrameDecoder } from '../protocol/frame.js';
import type { RawMessage } from './inbox.js';

/** Cuts one connection's incoming chunks into messages and wraps outgoing ones. Holds state. */
export interface Framing {
  /** Throws ProtocolError for what can be no message. */
  push(chunk: Uint8Array, onMessage: (message: RawMessage) => void): void;
  /** Throws ProtocolError if the stream may not end here. */
  end(): void;
  /** What is to be written for a message. */
  wrap(message: Uint8Array): Uint8Array;
}

/** 8 bytes little-endian length before each message (dataplane.md 0.1). */
export function lengthPrefixed(maxFrameBytes: number | undefined): Framing {
  const decoder = new FrameDecoder(maxFrameBytes === undefined ? {} : { maxFrameBytes });
  return {
    push: (chunk, onMessage) => decoder.push(chunk, onMessage),
    end: () => decoder.end(),
    wrap: encodeFrame,
  };
}

/** Each chunk is one message; offsets count the bytes of all messages before it. */
export function oneMessagePerChunk(maxFrameBytes = DEFAULT_MAX_FRAME_BYTES): Framing {
  let sequence = 0;
  let offset = 0;
  return {
    push: (bytes, onMessage) => {
      if (bytes.byteLength === 0 || bytes.byteLength > maxFrameBytes) {
        const problem = `message of ${bytes.byteLength} bytes; it must have 1 to ${maxFrameBytes}`;
        throw new ProtocolError(`Message ${sequence} at byte ${offset}: ${problem}`, sequence, offset);
      }
      const message = { sequence, offset, bytes };
      sequence += 1;
      offset += bytes.byteLength;
      onMessage(message);
    },
    end: () => undefined,
    // grpc-js takes Buffers only; this is a view, not a copy.
    wrap: (message) => Buffer.from(message.buffer, message.byteOffset, message.byteLength),
  };
}
