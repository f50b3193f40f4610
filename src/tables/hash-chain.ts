// The hash that a rule carries in its comment: each rule's hash covers the chain name and every rule before it, so
// that equal hashes at an index mean equal chains up to there (dataplane.md 3.12).
import { writeBase64Url, writeUtf8 } from '../base/buffer-text.js';
import { sha224Base64Url } from '../base/digest.js';

/** Characters of the base64url text that are kept. */
const HASH_LENGTH = 16;
/** Bytes of a SHA-224 digest. */
const DIGEST_BYTES = 28;
const SCRATCH_BYTES = 1024;

/** Room for what is hashed next: the previous digest and a text. One for all chains, because nothing awaits in between. */
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
/** The first so many bytes of it: a view costs as much as a quarter of a digest. */
const heads: (Buffer | undefined)[] = [];

/** Running hash over the rules of one chain; use it once, rule by rule in order. */
export class HashChain {
  /** Digest of all so far, in base64url. */
  #digest: string;

  /** `chainName` as the back end hashes it: layer-prefixed in nft, with `*appends*` for always-appended rules. */
  constructor(chainName: string) {
    this.#digest = digestOf('', chainName);
  }

  /** Takes the next rule's text in and returns that rule's hash, 16 characters of base64url. */
  next(ruleText: string): string {
    this.#digest = digestOf(this.#digest, ruleText);
    return this.#digest.slice(0, HASH_LENGTH);
  }
}

function digestOf(previous: string, text: string): string {
  if (DIGEST_BYTES + text.length * 3 > SCRATCH_BYTES) {
    return sha224Base64Url(Buffer.concat([Buffer.from(previous, 'base64url'), Buffer.from(text)]));
  }
  const start = previous === '' ? 0 : writeBase64Url(scratch, previous, 0);
  const length = start + writeUtf8(scratch, text, start);
  return sha224Base64Url((heads[length] ??= scratch.subarray(0, length)));
}
