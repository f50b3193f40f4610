// A connection over a pair of streams: the common part of all transports. What differs is handed in: the streams, where
// messages begin and end, and how to hang up.
import type { Readable, Writable } from 'node:stream';
import type { CloseReason, Connection, MessageHandler } from '../protocol/session.js';
import { type Framing, lengthPrefixed } from './framing.js';
import { Inbox } from './inbox.js';
import { Outbox } from './outbox.js';
import { type Codec, type ConnectionOptions, newTransportCounters } from './session.js';

/** Error codes that only say that the peer went away, which is no failure of ours. */
const PEER_GONE = new Set(['EPIPE', 'ECONNRESET']);

/**
 * libuv empties a full pipe, up to 2 MiB, before it turns to anything else, and reading messages takes longer than taking
 * bytes: after so long the stream waits until timers, sockets and answers had their turn.
 */
const SLICE_MS = 20;

/** Both directions; the same object twice for a socket. */
export interface StreamPair {
  readonly description: string;
  readonly readable: Readable;
  readonly writable: Writable;
  /** Default: Felix's length prefix. */
  readonly framing?: Framing;
  /** Tells the peer why and lets go of the streams. Default: destroys both. */
  readonly hangUp?: (reason: CloseReason) => void;
}

function isPeerGone(error: Error): boolean {
  return 'code' in error && typeof error.code === 'string' && PEER_GONE.has(error.code);
}

/** A connection that takes over both streams and lets go of them when it ends. */
export class StreamConnection<In, Out> implements Connection<In, Out> {
  readonly description: string;
  readonly closed: Promise<CloseReason>;
  readonly #pair: StreamPair;
  readonly #framing: Framing;
  readonly #inbox: Inbox<In, Out>;
  readonly #outbox: Outbox<In, Out>;
  readonly #settle: (reason: CloseReason) => void;
  #isClosed = false;
  #isStarted = false;
  #isPeerGone = false;
  #isClosing = false;
  /** When this turn of the event loop began to take over messages; null before the first. */
  #sliceStartMs: number | null = null;

  constructor(pair: StreamPair, codec: Codec<In, Out>, options: ConnectionOptions) {
    this.description = pair.description;
    this.#pair = pair;
    this.#framing = pair.framing ?? lengthPrefixed(options.maxFrameBytes);
    let settle: (reason: CloseReason) => void = () => undefined;
    this.closed = new Promise((resolve) => {
      settle = resolve;
    });
    this.#settle = settle;
    const counters = options.counters ?? newTransportCounters();
    const { readable } = pair;
    this.#inbox = new Inbox({
      codec,
      counters,
      logger: options.logger,
      flow: { stop: () => readable.pause(), restart: () => readable.resume() },
    });
    this.#outbox = new Outbox({
      codec,
      counters,
      sink: (message) => this.#write(message),
      onOverflow: (error) => this.#finish({ kind: 'error', error }),
    });
    this.#listen();
  }

  get sendBacklog(): number {
    return this.#outbox.size;
  }

  start(handler: MessageHandler<In>): void {
    if (this.#isStarted || this.#isClosed) return;
    this.#isStarted = true;
    this.#inbox.start(handler);
    const { readable } = this.#pair;
    readable.on('data', (chunk: Buffer) => this.#guard(() => this.#accept(chunk)));
    // A stream on which someone waited for `readable` does not begin to flow by itself.
    if (!this.#inbox.isPaused) readable.resume();
  }

  pause(reason: string): void {
    this.#inbox.pause(reason);
  }

  resume(): void {
    this.#guard(() => this.#inbox.resume());
    this.#finishIfDrained();
  }

  send(payload: Out): void {
    this.#outbox.send(payload);
  }

  async close(flushMs = 500): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosing = true;
    const { readable, writable } = this.#pair;
    readable.pause();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, flushMs);
      const finish = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const endIfEmpty = (): void => {
        if (this.#outbox.size > 0) return;
        // Not as a callback of `end`: grpc-js takes any argument of it for metadata.
        writable.once('finish', finish);
        writable.end();
      };
      writable.on('drain', endIfEmpty);
      endIfEmpty();
      void this.closed.then(finish);
    });
    this.#finish({ kind: 'closed' });
  }

  /** Ends it at once because another control plane took its place. */
  replace(): void {
    this.#finish({ kind: 'replaced' });
  }

  /** The peer is gone; what already came is still delivered, after a resume if need be. */
  peerGone(): void {
    this.#isPeerGone = true;
    this.#finishIfDrained();
  }

  /** Messages of one turn leave together: after a start there is one for each endpoint. */
  #write(message: Uint8Array): boolean {
    const { writable } = this.#pair;
    if (writable.writableCorked === 0 && !writable.writableObjectMode) {
      writable.cork();
      process.nextTick(() => writable.uncork());
    }
    return writable.write(this.#framing.wrap(message));
  }

  #listen(): void {
    const { readable, writable } = this.#pair;
    readable.on('end', () => this.peerGone());
    for (const stream of new Set([readable, writable])) {
      stream.on('error', (error) => this.#fail(error));
      stream.on('close', () => this.peerGone());
    }
    writable.on('drain', () => this.#outbox.resume());
  }

  #accept(chunk: Buffer): void {
    const startMs = performance.now();
    if (this.#sliceStartMs === null) {
      this.#sliceStartMs = startMs;
      setImmediate(() => this.#endSlice());
    }
    this.#framing.push(chunk, (message) => {
      if (!this.#isClosed) this.#inbox.accept(message);
    });
    if (performance.now() - this.#sliceStartMs >= SLICE_MS) this.#pair.readable.pause();
  }

  /** Everything else had its turn. */
  #endSlice(): void {
    this.#sliceStartMs = null;
    if (!this.#inbox.isPaused && !this.#isClosed && !this.#isClosing) this.#pair.readable.resume();
  }

  #guard(action: () => void): void {
    if (this.#isClosed) return;
    try {
      action();
    } catch (error) {
      this.#finish({ kind: 'error', error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  #finishIfDrained(): void {
    if (!this.#isPeerGone || this.#inbox.backlog > 0) return;
    this.#guard(() => this.#framing.end());
    this.#finish({ kind: 'eof' });
  }

  #fail(error: Error): void {
    if (isPeerGone(error)) this.peerGone();
    else this.#finish({ kind: 'error', error });
  }

  #finish(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#outbox.stop();
    const { readable, writable, hangUp } = this.#pair;
    // What was sent in this turn is not to be lost.
    writable.uncork();
    if (hangUp !== undefined) {
      hangUp(reason);
    } else {
      readable.destroy();
      writable.destroy();
    }
    // The peer hangs up in answer to our end: that is still our doing.
    this.#settle(this.#isClosing && reason.kind === 'eof' ? { kind: 'closed' } : reason);
  }
}
