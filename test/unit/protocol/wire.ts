// Writes protobuf by hand, for encodings that the present schema can't make.
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** A field of a message: text, bytes (a message) or a number. */
export type WireField = readonly [field: number, value: string | Uint8Array | number];

/** The bytes of a message with these fields in this order. */
export function wire(...fields: readonly WireField[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, value] of fields) {
    if (typeof value === 'number') writer.tag(field, WireType.Varint).uint64(value);
    else if (typeof value === 'string') writer.tag(field, WireType.LengthDelimited).string(value);
    else writer.tag(field, WireType.LengthDelimited).bytes(value);
  }
  return writer.finish();
}
