// The one message that there is of every pod at a start, put together by hand: a status that hands an endpoint back,
// whose bytes go out as they came in.
import type { UnknownField } from '@bufbuild/protobuf';
import { writeUtf8 } from '../base/buffer-text.js';
import {
  EndpointStatusSchema,
  FromDataplaneSchema,
  WorkloadEndpointIDSchema,
  WorkloadEndpointStatusUpdateSchema,
  type WorkloadEndpointStatusUpdate,
} from './gen/felix/felixbackend_pb.js';

const LENGTH_DELIMITED = 2;
const VARINT = 0;

function tagOf(field: { readonly number: number }, wireType: number): number {
  // One byte: all numbers here are below 16.
  return (field.number << 3) | wireType;
}

const { id: idField, status: statusField, endpoint: endpointField } = WorkloadEndpointStatusUpdateSchema.field;
const { orchestratorId, workloadId, endpointId } = WorkloadEndpointIDSchema.field;
const TAGS = {
  update: tagOf(FromDataplaneSchema.field.workloadEndpointStatusUpdate, LENGTH_DELIMITED),
  sequence: tagOf(FromDataplaneSchema.field.sequenceNumber, VARINT),
  id: tagOf(idField, LENGTH_DELIMITED),
  status: tagOf(statusField, LENGTH_DELIMITED),
  endpoint: tagOf(endpointField, LENGTH_DELIMITED),
  orchestratorId: tagOf(orchestratorId, LENGTH_DELIMITED),
  workloadId: tagOf(workloadId, LENGTH_DELIMITED),
  endpointId: tagOf(endpointId, LENGTH_DELIMITED),
  statusText: tagOf(EndpointStatusSchema.field.status, LENGTH_DELIMITED),
} as const;

/** Longest head of a field: its tag and a length. */
const HEAD_BYTES = 6;
/** Tag and sixty-four bits. */
const SEQUENCE_BYTES = 11;

/** Writes fields from the last one to the first, so that lengths are known when they are due. */
class BackwardWriter {
  readonly #bytes: Buffer;
  #at: number;

  constructor(size: number) {
    this.#bytes = Buffer.allocUnsafe(size);
    this.#at = size;
  }

  get position(): number {
    return this.#at;
  }

  bytes(value: Uint8Array): void {
    this.#at -= value.length;
    this.#bytes.set(value, this.#at);
  }

  /** A field with a text; nothing for an empty one. */
  text(tag: number, text: string): void {
    if (text === '') return;
    const end = this.#at;
    this.#at -= Buffer.byteLength(text);
    writeUtf8(this.#bytes, text, this.#at);
    this.head(tag, end);
  }

  /** Tag and length of what was written since the writer was at `end`. */
  head(tag: number, end: number): void {
    this.#varint(end - this.#at);
    this.#at -= 1;
    this.#bytes[this.#at] = tag;
  }

  /** A number below 2^53: we count messages. */
  number(tag: number, value: bigint): void {
    this.#varint(Number(value));
    this.#at -= 1;
    this.#bytes[this.#at] = tag;
  }

  unknown({ no, wireType, data }: UnknownField): void {
    this.bytes(data);
    this.#varint(no * 8 + wireType);
  }

  finish(): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, this.#bytes.length - this.#at);
  }

  #varint(value: number): void {
    let length = 1;
    for (let left = value; left >= 0x80; left = Math.floor(left / 0x80)) length += 1;
    this.#at -= length;
    let at = this.#at;
    let left = value;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.#bytes[at++] = (left % 0x80) | 0x80;
    this.#bytes[at] = left;
  }
}

/** Bytes of the FromDataplane envelope, as the schema says. */
export function encodeStatus(
  { id, status }: WorkloadEndpointStatusUpdate,
  endpoint: Uint8Array,
  sequence: bigint,
): Uint8Array {
  const unknown = id?.$unknown ?? [];
  const texts = [id?.orchestratorId, id?.workloadId, id?.endpointId, status?.status];
  let size = endpoint.length + 4 * HEAD_BYTES + SEQUENCE_BYTES;
  for (const text of texts) size += HEAD_BYTES + 3 * (text ?? '').length;
  for (const { data } of unknown) size += HEAD_BYTES + data.length;
  const writer = new BackwardWriter(size);
  if (sequence !== 0n) writer.number(TAGS.sequence, sequence);
  const end = writer.position;
  writer.bytes(endpoint);
  writer.head(TAGS.endpoint, end);
  if (status !== undefined) {
    const statusEnd = writer.position;
    writer.text(TAGS.statusText, status.status);
    writer.head(TAGS.status, statusEnd);
  }
  if (id !== undefined) {
    const idEnd = writer.position;
    for (const field of [...unknown].reverse()) writer.unknown(field);
    writer.text(TAGS.endpointId, id.endpointId);
    writer.text(TAGS.workloadId, id.workloadId);
    writer.text(TAGS.orchestratorId, id.orchestratorId);
    writer.head(TAGS.id, idEnd);
  }
  writer.head(TAGS.update, end);
  return writer.finish();
}
