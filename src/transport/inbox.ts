// The reading side of a connection: decodes messages and delivers them in order, and keeps the promise that nothing is
// delivered while paused, though a transport may hand over several messages at once.
import type { Logger } from '../base/logger.js';
import type { MessageHandler } from '../protocol/session.js';
import type { Codec, TransportCounters } from './session.js';

/** One message as a transport got it. */
export interface RawMessage {
  readonly sequence: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Stops and restarts the flow of the transport below. */
export interface Flow {
  stop(): void;
  restart(): void;
}

/** Inbox options. */
export interface InboxOptions<In, Out> {
  readonly codec: Codec<In, Out>;
  readonly counters: TransportCounters;
  readonly logger: Logger;
  readonly flow: Flow;
}

/** Decodes and delivers. `accept` and `resume` throw what decoding or the handler throws. */
export class Inbox<In, Out> {
  readonly #options: InboxOptions<In, Out>;
  #handler: MessageHandler<In> | null = null;
  #backlog: RawMessage[] = [];
  #isPaused = false;

  constructor(options: InboxOptions<In, Out>) {
    this.#options = options;
  }

  /** Messages received and not delivered yet: those that came together with the one during which reading was paused. */
  get backlog(): number {
    return this.#backlog.length;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  start(handler: MessageHandler<In>): void {
    this.#handler = handler;
  }

  pause(reason: string): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#options.counters.pauses += 1;
    this.#options.logger.info('Reading is paused', { reason });
    this.#options.flow.stop();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const waiting = this.#backlog;
    this.#backlog = [];
    for (const message of waiting) this.accept(message);
    // The handler may have paused again in between.
    if (!this.#isPaused) this.#options.flow.restart();
  }

  /** Takes the next message of the stream. */
  accept(message: RawMessage): void {
    if (this.#isPaused) {
      this.#backlog.push(message);
      return;
    }
    const { codec, counters } = this.#options;
    counters.framesIn += 1;
    counters.bytesIn += message.bytes.byteLength;
    const decoded = codec.decode(message.bytes, message.sequence, message.offset);
    if (decoded !== null) {
      this.#handler?.(decoded.payload, { sequence: decoded.sequence, sizeBytes: message.bytes.byteLength });
    }
  }
}
