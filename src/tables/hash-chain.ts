// The hash that a rule carries in its comment: each rule's hash covers the chain name and every rule before it, so
// that equal hashes at an index mean equal chains up to there (dataplane.md 3.12).
import { sha224 } from '../base/digest.js';

/** Characters of the base64url text that are kept. */
const HASH_LENGTH = 16;

/** Running hash over the rules of one chain; use it once, rule by rule in order. */
export class HashChain {
  #previous: Buffer;

  /** `chainName` as the back end hashes it: layer-prefixed in nft, with `*appends*` for always-appended rules. */
  constructor(chainName: string) {
    this.#previous = sha224(chainName);
  }

  /** Takes the next rule's text in and returns that rule's hash, 16 characters of base64url. */
  next(ruleText: string): string {
    this.#previous = sha224(this.#previous, ruleText);
    return this.#previous.toString('base64url', 0, (HASH_LENGTH * 3) / 4);
  }
}
