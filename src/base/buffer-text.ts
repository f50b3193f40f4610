// Buffer's own writers of texts, without the checks of `write`, which cost more than short texts do. Node has them on
// every Buffer since its first releases, but only its C++ side is documented.

interface TextWriters {
  utf8Write(text: string, at: number): number;
  base64urlWrite(text: string, at: number): number;
}

const NATIVE = Buffer.prototype as unknown as Partial<TextWriters>;

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
/** Writes the bytes that a base64url text stands for; returns how many. There must be room for them. */
export const writeBase64Url = writerOf('base64urlWrite', 'base64url');
