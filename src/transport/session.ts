// What every transport shares: the codec of each end, the counters, and the options that `listen` and `dial` take.
// Each transport file exports `listen` (the driver's end) and `dial` (the control plane's end) and nothing else of weight.
import type { Logger } from '../base/logger.js';
import { statusKey } from '../protocol/keys.js';
import {
  type Decoded,
  type DecodeCounters,
  decodeFromDataplane,
  encodeFromDataplane,
  encodeToDataplane,
  newDecodeCounters,
  ToDataplaneDecoder,
} from '../protocol/messages.js';
import type { ControlSession, FromDataplanePayload, Session, ToDataplanePayload } from '../protocol/session.js';

export type { CloseReason, Connection, ControlSession, Session } from '../protocol/session.js';

/** What went over all connections of a transport; all counts only grow. */
export interface TransportCounters {
  framesIn: number;
  bytesIn: number;
  framesOut: number;
  bytesOut: number;
  /** Statuses replaced by a newer one of the same endpoint before they could be sent. */
  statusesReplaced: number;
  /** Times that reading was paused. */
  pauses: number;
  readonly decode: DecodeCounters;
}

/** Counters at zero. */
export function newTransportCounters(): TransportCounters {
  return {
    framesIn: 0,
    bytesIn: 0,
    framesOut: 0,
    bytesOut: 0,
    statusesReplaced: 0,
    pauses: 0,
    decode: newDecodeCounters(),
  };
}

/** What every connection is made with. */
export interface ConnectionOptions {
  readonly logger: Logger;
  /** Shared by all connections whose traffic is to be counted together. */
  readonly counters?: TransportCounters;
  /** Longest message accepted; default 1 GiB. */
  readonly maxFrameBytes?: number;
}

/** Turns payloads of one direction into bytes and those of the other back. One per connection: it may hold state. */
export interface Codec<In, Out> {
  /** null = skipped and counted. Throws ProtocolError. */
  decode(bytes: Uint8Array, sequence: number, offset: number): Decoded<In> | null;
  encode(payload: Out, sequence: bigint): Uint8Array;
  /** Key under which a waiting payload may be replaced by a newer one; null = every payload counts. */
  replaceKey(payload: Out): string | null;
}

/** The driver's codec: ToDataplane in, FromDataplane out, statuses replaceable. */
export function driverCodec(options: ConnectionOptions): Codec<ToDataplanePayload, FromDataplanePayload> {
  const { logger } = options;
  const decoder = new ToDataplaneDecoder({
    ...(options.counters === undefined ? {} : { counters: options.counters.decode }),
    onIssue: (issue) => logger.warn('Skipping a message of the control plane', { ...issue }),
  });
  return {
    decode: (bytes, sequence, offset) => decoder.decode(bytes, sequence, offset),
    encode: encodeFromDataplane,
    replaceKey: statusKey,
  };
}

/** The control plane's codec: FromDataplane in, ToDataplane out, nothing replaced. */
export function controlCodec(): Codec<FromDataplanePayload, ToDataplanePayload> {
  return { decode: decodeFromDataplane, encode: encodeToDataplane, replaceKey: () => null };
}

/** Something that makes sessions until it is closed. Closing it leaves its open sessions alone. */
export interface Listener {
  /** Where it can be dialled: `unix:/run/x.sock`, `tcp:127.0.0.1:9443`, `pipe fd 3/4`. */
  readonly address: string;
  close(): Promise<void>;
}

/** Called for each control plane that is let in; at most one session is open at a time. */
export type SessionAcceptor = (session: Session) => void;

/** A dialled connection, seen from the control plane. */
export type Dialled = ControlSession;
