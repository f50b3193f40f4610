// A connection over byte streams with Felix's framing: the common part of the pipe and socket transports.
import type { Readable, Writable } from 'node:stream';
import { encodeFrame, FrameDecoder } from '../protocol/frame.js';
import type { CloseReason, Connection, MessageHandler } from '../protocol/session.js';
import { Inbox } from './inbox.js';
import { Outbox } from './outbox.js';
import { type Codec, type ConnectionOptions, newTransportCounters } from './session.js';

/** Error codes that only say that the peer went away, which is no failure of ours. */
const PEER_GONE = new Set(['EPIPE', 'ECONNRESET']);

/** Both directions; the same object twice for a socket. */
export interface StreamPair {
  readonly description: string;
  readonly readable: Readable;
  readonly writable: Writable;
}

function isPeerGone(error: Error): boolean {
  return 'code' in error && typeof error.code === 'string' && PEER_GONE.has(error.code);
}

/** A framed connection. Takes over both streams and destroys them when it ends. */
export class StreamConnection<In, Out> implements Connection<In, Out> {
  readonly description: string;
  readonly closed: Promise<CloseReason>;
  readonly #readable: Readable;
  readonly #writable: Writable;
  readonly #decoder: FrameDecoder;
  readonly #inbox: Inbox<In, Out>;
  readonly #outbox: Outbox<In, Out>;
  readonly #settle: (reason: CloseReason) => void;
  #isClosed = false;
  #isStarted = false;
  #hasEnded = false;

  constructor(pair: StreamPair, codec: Codec<In, Out>, options: ConnectionOptions) {
    this.description = pair.description;
    this.#readable = pair.readable;
    this.#writable = pair.writable;
    let settle: (reason: CloseReason) => void = () => undefined;
    this.closed = new Promise((resolve) => {
      settle = resolve;
    });
    this.#settle = settle;
    const counters = options.counters ?? newTransportCounters();
    this.#decoder = new FrameDecoder(
      options.maxFrameBytes === undefined ? {} : { maxFrameBytes: options.maxFrameBytes },
    );
    this.#inbox = new Inbox({
      codec,
      counters,
      logger: options.logger,
      flow: { stop: () => this.#readable.pause(), restart: () => this.#readable.resume() },
    });
    this.#outbox = new Outbox({
      codec,
      counters,
      sink: (message) => this.#writable.write(encodeFrame(message)),
      onOverflow: (error) => this.#finish({ kind: 'error', error }),
    });
    this.#listen();
  }

  get sendBacklog(): number {
    return this.#outbox.size;
  }

  start(handler: MessageHandler<In>): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#inbox.start(handler);
    this.#readable.on('data', (chunk: Buffer) => this.#guard(() => this.#accept(chunk)));
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
    this.#readable.pause();
    const flushed = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, flushMs);
      const finish = (): void => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#outbox.size === 0) this.#writable.end(finish);
      else this.#writable.on('drain', () => this.#outbox.size === 0 && this.#writable.end(finish));
      void this.closed.then(finish);
    });
    await flushed;
    this.#finish({ kind: 'closed' });
  }

  /** Ends it at once because another control plane took its place. */
  replace(): void {
    this.#finish({ kind: 'replaced' });
  }

  #listen(): void {
    this.#readable.on('end', () => this.#peerGone());
    for (const stream of new Set([this.#readable, this.#writable])) {
      stream.on('error', (error) => this.#fail(error));
      stream.on('close', () => this.#peerGone());
    }
    this.#writable.on('drain', () => this.#outbox.resume());
  }

  #accept(chunk: Buffer): void {
    this.#decoder.push(chunk, (frame) => {
      if (!this.#isClosed) this.#inbox.accept(frame);
    });
  }

  #guard(action: () => void): void {
    if (this.#isClosed) return;
    try {
      action();
    } catch (error) {
      this.#finish({ kind: 'error', error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  /** No more bytes will come; what already came is still delivered, after a resume if need be. */
  #peerGone(): void {
    this.#hasEnded = true;
    this.#finishIfDrained();
  }

  #finishIfDrained(): void {
    if (!this.#hasEnded || this.#inbox.backlog > 0) return;
    this.#guard(() => this.#decoder.end());
    this.#finish({ kind: 'eof' });
  }

  #fail(error: Error): void {
    if (isPeerGone(error)) this.#peerGone();
    else this.#finish({ kind: 'error', error });
  }

  #finish(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#outbox.stop();
    this.#readable.destroy();
    this.#writable.destroy();
    this.#settle(reason);
  }
}
