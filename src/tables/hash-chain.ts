// The hash that a rule carries in its comment: each rule's hash covers the chain name and every rule before it, so
// that equal hashes at an index mean equal chains up to there (dataplane.md 3.12).
import { readBase64Url, writeLatin1, writeUtf8 } from '../base/buffer-text.js';
import { sha224Latin1 } from '../base/digest.js';

/** Bytes of a digest that a hash tells: 16 characters of base64url. */
const HASH_BYTES = 12;
/** Bytes of a SHA-224 digest. */
const DIGEST_BYTES = 28;
const SCRATCH_BYTES = 1024;

/** Room for what is hashed next: the previous digest and a text. One for all chains, because nothing awaits in between. */
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
/** The first so many bytes of it: a view costs as much as a quarter of a digest. */
const heads: (Buffer | undefined)[] = [];

/** Running hash over the rules of one chain; use it once, rule by rule in order. */
export class HashChain {
  /** Digest of all so far, a character for each byte. */
  #digest: string;

  /** `chainName` as the back end hashes it: layer-prefixed in nft, with `*appends*` for always-appended rules. */
  constructor(chainName: string) {
    this.#digest = digestOf('', chainName);
  }

  /** Takes the next rule's text in and returns that rule's hash, 16 characters of base64url. */
  next(ruleText: string): string {
    this.#digest = digestOf(this.#digest, ruleText);
    // Not a slice of a longer text, which all of it would be kept with.
    writeLatin1(scratch, this.#digest, 0);
    return readBase64Url(scratch, 0, HASH_BYTES);
  }
}

function digestOf(previous: string, text: string): string {
  if (DIGEST_BYTES + text.length * 3 > SCRATCH_BYTES) {
    return sha224Latin1(Buffer.concat([Buffer.from(previous, 'latin1'), Buffer.from(text)]));
  }
  const start = writeLatin1(scratch, previous, 0);
  const length = start + writeUtf8(scratch, text, start);
  return sha224Latin1((heads[length] ??= scratch.subarray(0, length)));
}
