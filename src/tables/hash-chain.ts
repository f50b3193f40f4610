// The hash that a rule carries in its comment: each rule's hash covers the chain name and every rule before it, so
// that equal hashes at an index mean equal chains up to there (dataplane.md 3.12).
import { SHA224_LENGTH, sha224Into } from '../base/digest.js';

/** Characters of the base64url text that are kept. */
const HASH_LENGTH = 16;
const HASH_BYTES = (HASH_LENGTH * 3) / 4;

/** Room for what is hashed next: the previous digest and a text. One for all chains, because nothing awaits in between. */
let scratch = Buffer.allocUnsafeSlow(4096);

/** Running hash over the rules of one chain; use it once, rule by rule in order. */
export class HashChain {
  readonly #previous = Buffer.allocUnsafe(SHA224_LENGTH);

  /** `chainName` as the back end hashes it: layer-prefixed in nft, with `*appends*` for always-appended rules. */
  constructor(chainName: string) {
    this.#take(chainName, 0);
  }

  /** Takes the next rule's text in and returns that rule's hash, 16 characters of base64url. */
  next(ruleText: string): string {
    this.#previous.copy(scratch);
    this.#take(ruleText, SHA224_LENGTH);
    return this.#previous.toString('base64url', 0, HASH_BYTES);
  }

  #take(text: string, offset: number): void {
    const room = offset + text.length * 3;
    if (room > scratch.length) {
      const larger = Buffer.allocUnsafeSlow(room * 2);
      scratch.copy(larger, 0, 0, offset);
      scratch = larger;
    }
    sha224Into(this.#previous, scratch.subarray(0, offset + scratch.write(text, offset)));
  }
}
