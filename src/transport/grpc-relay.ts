// The relay's way over gRPC: a byte stream with Felix's framing on this side, one gRPC message per frame on the other.
// Loaded only by a relay that was told to use gRPC.
import { Duplex } from 'node:stream';
import { encodeFrame, FrameDecoder } from '../protocol/frame.js';
import { openStream } from './grpc.js';
import type { StreamAddress } from './stream-listener.js';

/**
 * A stream of frames to and from a driver. Back pressure goes through both ways. It ends when the driver ends the call,
 * and fails with the status when that is not OK.
 */
export function openFramedCall(address: StreamAddress): Promise<Duplex> {
  const { call, client } = openStream(address);
  const decoder = new FrameDecoder();
  const stream = new Duplex({
    read: () => call.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      let isFlowing = true;
      try {
        decoder.push(chunk, (frame) => {
          const { buffer, byteOffset, byteLength } = frame.bytes;
          isFlowing = call.write(Buffer.from(buffer, byteOffset, byteLength)) && isFlowing;
        });
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
        return;
      }
      if (isFlowing) done();
      else call.once('drain', () => done());
    },
    final: (done) => {
      call.end();
      call.once('status', () => done());
    },
    destroy: (error, done) => {
      call.cancel();
      client.close();
      done(error);
    },
  });
  call.on('data', (message: Buffer) => {
    if (!stream.push(encodeFrame(message))) call.pause();
  });
  call.on('end', () => stream.push(null));
  call.on('error', (error) => stream.destroy(error));
  return new Promise((resolve, reject) => {
    // gRPC connects in the background; an unreachable service is to be found out before Felix is read.
    client.waitForReady(Date.now() + CONNECT_TIMEOUT_MS, (error) => {
      if (error === undefined) {
        resolve(stream);
        return;
      }
      stream.once('error', () => undefined);
      stream.destroy();
      reject(error);
    });
  });
}

const CONNECT_TIMEOUT_MS = 5_000;
