// What a connection is, seen from either end: decoded messages in, payloads out. Transports make these; the driver
// loop and the mock control plane are handed one and never see bytes.
import type { FromDataplane, ToDataplane } from './gen/felix/felixbackend_pb.js';

/** A decoded payload for the dataplane, `{ case: 'ipsetUpdate', value: … }`, never without a case. */
export type ToDataplanePayload = Exclude<ToDataplane['payload'], { case: undefined }>;
/** A decoded payload for the control plane, never without a case. */
export type FromDataplanePayload = Exclude<FromDataplane['payload'], { case: undefined }>;

/** Why a connection ended. Only `error` is a failure; `closed` is our own doing, `replaced` a take-over. */
export type CloseReason =
  | { readonly kind: 'eof' }
  | { readonly kind: 'closed' }
  | { readonly kind: 'replaced' }
  | { readonly kind: 'error'; readonly error: Error };

/** Where a message stood in its stream. */
export interface MessageOrigin {
  /** Envelope sequence number as the peer wrote it; the peer counts from 0. */
  readonly sequence: bigint;
  /** Encoded size: what a queue should count against its bound. */
  readonly sizeBytes: number;
}

/** Receives messages in stream order, each exactly once. Must not throw: a throw ends the connection with that error. */
export type MessageHandler<In> = (payload: In, origin: MessageOrigin) => void;

/**
 * One connection. Messages flow only between `start` and the end of `closed`, and not while paused: after `pause`
 * returns, no handler call happens until `resume`.
 */
export interface Connection<In, Out> {
  /** For logs: `pipe fd 3/4`, `unix /run/felix-dataplane.sock`. */
  readonly description: string;
  /** Begins reading. Once only. */
  start(handler: MessageHandler<In>): void;
  /** Stops reading, so that the peer feels back-pressure; the reason is logged. Repeated calls change nothing. */
  pause(reason: string): void;
  resume(): void;
  /**
   * Queues a payload; never blocks, never throws. Frames go out whole and in order of their first queueing. While the
   * reader is slow, a newer status of the same endpoint takes the place of the one still waiting.
   */
  send(payload: Out): void;
  /** Payloads queued and not yet handed to the system. */
  readonly sendBacklog: number;
  /** Settles once, after the last handler call; never rejects. */
  readonly closed: Promise<CloseReason>;
  /** Ends the connection: what was sent goes out if the peer reads on (at most `flushMs`), then `closed` settles. */
  close(flushMs?: number): Promise<void>;
}

/** The driver's end. */
export type Session = Connection<ToDataplanePayload, FromDataplanePayload>;
/** The control plane's end: mock, replay and tests. */
export type ControlSession = Connection<FromDataplanePayload, ToDataplanePayload>;
