// Buffer's own writers and readers of texts, without the checks of `write` and `toString`, which cost more than short
// texts do. Node has them on every Buffer since its first releases, but only its C++ side is documented.

interface TextWriters {
  utf8Write(text: string, at: number): number;
  latin1Write(text: string, at: number): number;
}

interface TextReaders {
  base64urlSlice(start: number, end: number): string;
}

const NATIVE = Buffer.prototype as unknown as Partial<TextWriters & TextReaders>;

function writerOf(
  method: keyof TextWriters,
  encoding: BufferEncoding,
): (bytes: Buffer, text: string, at: number) => number {
  return NATIVE[method] === undefined
    ? (bytes, text, at) => bytes.write(text, at, encoding)
    : (bytes, text, at) => (bytes as Buffer & TextWriters)[method](text, at);
}

/** Writes the UTF-8 bytes of a text; returns how many. There must be room for them. */
export const writeUtf8 = writerOf('utf8Write', 'utf8');
/** Writes a byte for each character, all below 256; returns how many. There must be room for them. */
export const writeLatin1 = writerOf('latin1Write', 'latin1');

/** The bytes from `start` to before `end` in base64url, as a text of its own. */
export const readBase64Url: (bytes: Buffer, start: number, end: number) => string =
  NATIVE.base64urlSlice === undefined
    ? (bytes, start, end) => bytes.toString('base64url', start, end)
    : (bytes, start, end) => (bytes as Buffer & TextReaders).base64urlSlice(start, end);
