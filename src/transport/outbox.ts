// The one writer of a connection: takes payloads at any time, hands whole messages to the transport as fast as the
// peer reads, and replaces waiting statuses by newer ones so that a slow reader bounds memory.
import { DataplaneError } from '../base/errors.js';
import type { Codec, TransportCounters } from './session.js';

/** Most payloads that may wait for a peer that does not read: more than any node has endpoints. */
export const DEFAULT_MAX_WAITING = 250_000;

/** Where messages go. Returns false when the peer is slow; the outbox then waits for `resume`. */
export type MessageSink = (message: Uint8Array) => boolean;

/** Outbox options. */
export interface OutboxOptions<In, Out> {
  readonly codec: Codec<In, Out>;
  readonly sink: MessageSink;
  readonly counters: TransportCounters;
  /** Called once when too much waits; nothing is sent after it. */
  readonly onOverflow: (error: Error) => void;
  readonly maxWaiting?: number;
}

/** Queue of outgoing payloads. Sequence numbers begin at 0 and are given when a message leaves. */
export class Outbox<In, Out> {
  readonly #options: OutboxOptions<In, Out>;
  readonly #maxWaiting: number;
  readonly #waiting = new Map<string, Out>();
  #isBlocked = false;
  #isStopped = false;
  #sequence = 0n;
  #queued = 0;

  constructor(options: OutboxOptions<In, Out>) {
    this.#options = options;
    this.#maxWaiting = options.maxWaiting ?? DEFAULT_MAX_WAITING;
  }

  /** Payloads that wait for the peer. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Sends now if the peer keeps up, else queues. After `stop` payloads are dropped. */
  send(payload: Out): void {
    if (this.#isStopped) return;
    if (!this.#isBlocked) {
      this.#write(payload);
      return;
    }
    this.#queued += 1;
    // A replaced payload keeps its place in the queue, so a busy endpoint can't push itself back for ever.
    const key = this.#options.codec.replaceKey(payload) ?? `#${this.#queued}`;
    if (this.#waiting.has(key)) this.#options.counters.statusesReplaced += 1;
    this.#waiting.set(key, payload);
    if (this.#waiting.size > this.#maxWaiting) {
      const message = `The control plane does not read: ${this.#waiting.size} messages wait for it`;
      this.stop();
      this.#options.onOverflow(new DataplaneError('protocol', message));
    }
  }

  /** The peer reads again: sends what waits until it is slow once more. */
  resume(): void {
    this.#isBlocked = false;
    for (const [key, payload] of this.#waiting) {
      if (this.#isBlocked || this.#isStopped) return;
      this.#waiting.delete(key);
      this.#write(payload);
    }
  }

  /** Drops what waits and everything sent later. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting.clear();
  }

  #write(payload: Out): void {
    const { codec, counters, sink } = this.#options;
    const message = codec.encode(payload, this.#sequence);
    this.#sequence += 1n;
    counters.framesOut += 1;
    counters.bytesOut += message.byteLength;
    if (!sink(message)) this.#isBlocked = true;
  }
}
