// The digests that names and rule hashes are made of (dataplane.md 3.11 and 3.12).
import * as crypto from 'node:crypto';

const { createHash } = crypto;
/** The one-shot form, twice as fast; Node has it since 20.12. */
const oneShot = 'hash' in crypto ? crypto.hash : null;

/** Unpadded base64url of SHA-256 of the UTF-8 text. */
export function sha256Base64Url(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('base64url');
}

/** Unpadded base64url of SHA3-224 of the UTF-8 text. */
export function sha3224Base64Url(text: string): string {
  return createHash('sha3-224').update(text, 'utf8').digest('base64url');
}

/** Raw 28 bytes of SHA-224 over the parts in order; strings are taken as UTF-8. */
export function sha224(...parts: readonly (string | Uint8Array)[]): Buffer {
  const hash = createHash('sha224');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** SHA-224 of the bytes, a character for each of its 28 bytes. */
export function sha224Latin1(data: Uint8Array): string {
  return oneShot === null ? createHash('sha224').update(data).digest('binary') : oneShot('sha224', data, 'binary');
}

/** Lower-case hex of SHA-512 of the UTF-8 text (names of bandwidth devices, 2.10). */
export function sha512Hex(text: string): string {
  return createHash('sha512').update(text, 'utf8').digest('hex');
}
