// Rules and chains as values: what managers want and printers print.
import type { Action } from './action.js';
import type { Match } from './match.js';

/** One rule. No action means a comment-only rule (or a verdict map lookup, where the match decides). */
export interface Rule {
  readonly match: readonly Match[];
  readonly action?: Action;
  /** Texts before escaping; the hash comment is not among them. */
  readonly comments?: readonly string[];
}

/** A named chain and all its rules, in order. */
export interface Chain {
  readonly name: string;
  readonly rules: readonly Rule[];
  /** Program the chain even if nothing refers to it (policy hint AssumeNeededOnEveryNode, filter table only). */
  readonly forced?: boolean;
  /**
   * Why the chain drops everything instead of doing what was asked for: the input could not be rendered (unknown
   * action, bad rate). Tables report it as a refusal while the chain is programmed.
   */
  readonly refused?: string;
}

/** An nft verdict map `interface name → goto chain`, e.g. `cali-from-wl-dispatch`. */
export interface VerdictMap {
  readonly name: string;
  /** Interface name → chain name (no layer prefix). */
  readonly elements: ReadonlyMap<string, string>;
}

/** The chains that a rule of `chain` jumps or goes to. */
export function referencedChains(chain: Chain): string[] {
  const names: string[] = [];
  for (const rule of chain.rules) {
    if (rule.action?.kind === 'jump' || rule.action?.kind === 'goto') names.push(rule.action.chain);
  }
  return names;
}
