// Bytes of one frame ↔ one message. Decoding lifts old encodings, skips and counts what it does not know, and refuses
// only what is not protobuf; the transports call it for every frame.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { errorMessage, ProtocolError } from '../base/errors.js';
import {
  type FromDataplane,
  FromDataplaneSchema,
  type ToDataplane,
  ToDataplaneSchema,
} from './gen/felix/felixbackend_pb.js';
import { messageFault } from './keys.js';
import { bytesOf, readMessage, type ReadMessage } from './message-reader.js';
import { HostMetadataJoiner, isLegacyHostPayload, upgradePolicyIds, upgradeTierPolicies } from './legacy.js';
import type { FromDataplanePayload, ToDataplanePayload } from './session.js';
import { encodeStatus } from './status-encoder.js';
import { countUnknownFields } from './unknown-fields.js';

/** What decoding met so far; all counts only grow. */
export interface DecodeCounters {
  /** Frames seen, whatever became of them. */
  frames: number;
  /** Frames whose payload our schema does not have (or that have none): skipped. */
  unknownPayloads: number;
  /** Fields that our schema does not have, inside payloads that were delivered all the same. */
  unknownFields: number;
  /** Messages without the id that says what they are about: skipped. */
  invalidMessages: number;
  /** Messages in an older encoding, lifted to the present one. */
  legacyMessages: number;
}

/** A message that was skipped, for the log. */
export interface DecodeIssue {
  readonly sequence: number;
  readonly offset: number;
  readonly problem: string;
}

/** A decoded envelope whose payload is known and complete enough to act on. */
export interface Decoded<Payload> {
  readonly sequence: bigint;
  readonly payload: Payload;
}

/** Counters at zero. */
export function newDecodeCounters(): DecodeCounters {
  return { frames: 0, unknownPayloads: 0, unknownFields: 0, invalidMessages: 0, legacyMessages: 0 };
}

/** Decodes the ToDataplane stream of one connection. Holds what old encodings need to be joined. */
export class ToDataplaneDecoder {
  /** Handed in where counts go on over several connections. */
  readonly counters: DecodeCounters;
  readonly #hosts = new HostMetadataJoiner();
  readonly #onIssue: (issue: DecodeIssue) => void;

  constructor(options: { readonly counters?: DecodeCounters; readonly onIssue?: (issue: DecodeIssue) => void } = {}) {
    this.counters = options.counters ?? newDecodeCounters();
    this.#onIssue = options.onIssue ?? (() => undefined);
  }

  /**
   * The message of a frame, or null when it was skipped and counted. `sequence` and `offset` are the frame's, for
   * errors. Throws ProtocolError when the bytes are not a ToDataplane.
   */
  decode(bytes: Uint8Array, sequence: number, offset: number): Decoded<ToDataplanePayload> | null {
    this.counters.frames += 1;
    const { message: envelope, hasUnknown } = this.#parse(bytes, sequence, offset);
    const payload = this.#payloadOf(envelope, sequence, offset);
    const unknown = hasUnknown ? countUnknownFields(ToDataplaneSchema, envelope) : 0;
    if (payload === undefined) {
      this.counters.unknownPayloads += 1;
      const numbers = (envelope.$unknown ?? []).map((field) => field.no).join(', ');
      this.#onIssue({
        sequence,
        offset,
        problem: numbers === '' ? 'message without payload' : `unknown payload, field ${numbers}`,
      });
      return null;
    }
    this.counters.unknownFields += unknown;
    const fault = messageFault(payload);
    if (fault !== null) {
      this.counters.invalidMessages += 1;
      this.#onIssue({ sequence, offset, problem: `${payload.case} ${fault}` });
      return null;
    }
    return { sequence: envelope.sequenceNumber, payload: this.#hosts.joinPresent(payload) };
  }

  #parse(bytes: Uint8Array, sequence: number, offset: number): ReadMessage<typeof ToDataplaneSchema> {
    try {
      const upgraded = upgradeTierPolicies(bytes);
      const read = readMessage(ToDataplaneSchema, upgraded);
      const envelope = read.message;
      const legacyIds = envelope.payload.case !== undefined && upgradePolicyIds(envelope.payload);
      if (upgraded !== bytes || legacyIds) this.counters.legacyMessages += 1;
      return read;
    } catch (error) {
      throw notAMessage('ToDataplane', bytes, sequence, offset, error);
    }
  }

  #payloadOf(envelope: ToDataplane, sequence: number, offset: number): ToDataplanePayload | undefined {
    if (envelope.payload.case !== undefined) return envelope.payload;
    const legacy = envelope.$unknown?.find((field) => isLegacyHostPayload(field.no));
    if (legacy === undefined) return undefined;
    this.counters.legacyMessages += 1;
    try {
      return this.#hosts.joinLegacy(legacy.no, new BinaryReader(legacy.data).bytes());
    } catch (error) {
      throw notAMessage('host metadata message', legacy.data, sequence, offset, error);
    }
  }
}

function notAMessage(what: string, bytes: Uint8Array, sequence: number, offset: number, cause: unknown): ProtocolError {
  return new ProtocolError(
    `Frame ${sequence} at byte ${offset}: ${bytes.byteLength} bytes are not a ${what}: ${errorMessage(cause)}`,
    sequence,
    offset,
    { cause },
  );
}

/**
 * The message of one FromDataplane frame, or null for a payload that our schema does not have (Felix skips those too).
 * Throws ProtocolError when the bytes are not a FromDataplane.
 */
export function decodeFromDataplane(
  bytes: Uint8Array,
  sequence: number,
  offset: number,
): Decoded<FromDataplanePayload> | null {
  let envelope: FromDataplane;
  try {
    envelope = fromBinary(FromDataplaneSchema, bytes);
  } catch (error) {
    throw notAMessage('FromDataplane', bytes, sequence, offset, error);
  }
  if (envelope.payload.case === undefined) return null;
  return { sequence: envelope.sequenceNumber, payload: envelope.payload };
}

/** Bytes of a ToDataplane envelope, without frame. */
export function encodeToDataplane(payload: ToDataplanePayload, sequence: bigint): Uint8Array {
  return toBinary(ToDataplaneSchema, create(ToDataplaneSchema, { sequenceNumber: sequence, payload }));
}

/** Bytes of a FromDataplane envelope, without frame. Felix ignores the sequence number (0.1). */
export function encodeFromDataplane(payload: FromDataplanePayload, sequence: bigint): Uint8Array {
  if (payload.case === 'workloadEndpointStatusUpdate' && payload.value.endpoint !== undefined) {
    const endpoint = bytesOf(payload.value.endpoint);
    if (endpoint !== undefined) return encodeStatus(payload.value, endpoint, sequence);
  }
  return toBinary(FromDataplaneSchema, create(FromDataplaneSchema, { sequenceNumber: sequence, payload }));
}
