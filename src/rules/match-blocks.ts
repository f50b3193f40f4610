// Expresses "any of these" in rules that can only say "all of these": alternatives set mark bits, and the main rule
// matches the bits (dataplane.md 3.5 steps 3 to 6).
import type { Rule } from '../model/chain.js';
import type { Match } from '../model/match.js';
import { clearMark, markClear, rule, setMark } from './context.js';
import type { MarkBits } from './mark-bits.js';

/** Collects the rules that go before a main rule; positive blocks must all be added before negative ones. */
export class MatchBlocks {
  readonly rules: Rule[] = [];
  readonly #allPass: number;
  readonly #thisPasses: number;
  #positiveBlocks = 0;

  constructor(marks: MarkBits) {
    this.#allPass = marks.scratch0;
    this.#thisPasses = marks.scratch1;
  }

  /** True once there is a block: then the main rule must match Scratch0. */
  get used(): boolean {
    return this.rules.length > 0;
  }

  /** At least one of the alternatives must match. */
  addPositive(alternatives: readonly (readonly Match[])[]): void {
    this.#reset(0);
    this.#positiveBlocks++;
    const first = this.#positiveBlocks === 1;
    // The reset covers the second block; without this the third would inherit the second's result and let through
    // what matches no alternative of it (differences.md row 1).
    if (this.#positiveBlocks > 2) this.rules.push(rule([], clearMark(this.#thisPasses)));
    const mark = setMark(first ? this.#allPass : this.#thisPasses);
    for (const match of alternatives) this.rules.push(rule(match, mark));
    if (!first) this.rules.push(rule([markClear(this.#thisPasses)], clearMark(this.#allPass)));
  }

  /** None of the matches may match. */
  addNegative(matches: readonly Match[]): void {
    this.#reset(this.#allPass);
    for (const match of matches) this.rules.push(rule([match], clearMark(this.#allPass)));
  }

  // Scratch0 starts clear for a positive block (someone must set it) and set for a negative one.
  #reset(value: number): void {
    if (this.used) return;
    this.rules.push({
      match: [],
      action: { kind: 'set-masked-mark', value, mask: (this.#allPass | this.#thisPasses) >>> 0 },
    });
  }
}
