// Hashes and texts of whole chains for iptables, made in one pass (dataplane.md 3.12).
import type { Rule } from '../../model/chain.js';
import { HashChain } from '../hash-chain.js';
import { hashComment, renderBody, type TextContext } from './render.js';

/** Hash and text (what follows `-A <chain> `) of every rule, index by index. */
export interface RenderedChain {
  readonly hashes: readonly string[];
  readonly texts: readonly string[];
}

/** The name under which the rules that always go to the end of a kernel chain are hashed. */
export function appendedChainName(chainName: string): string {
  return `${chainName}*appends*`;
}

/** The hashes that the rules carry if they are all of `chainName`'s rules of ours, in order. */
export function ruleHashes(chainName: string, rules: readonly Rule[], ctx: TextContext): string[] {
  const chain = new HashChain(chainName);
  const start = hashStart(chainName);
  return rules.map((rule) => chain.next(start + renderBody(rule, ctx)));
}

/** {@link ruleHashes} and the texts with these hashes in them. */
export function renderChain(chainName: string, rules: readonly Rule[], ctx: TextContext): RenderedChain {
  const chain = new HashChain(chainName);
  const start = hashStart(chainName);
  const hashes: string[] = [];
  const texts: string[] = [];
  for (const rule of rules) {
    const text = start + renderBody(rule, ctx);
    const hash = chain.next(text);
    hashes.push(hash);
    // Cut out of what was hashed, which is in one piece by now: of the rule as it was put together each piece would be kept.
    texts.push(hashComment(hash) + text.slice(start.length));
  }
  return { hashes, texts };
}

// The word HASH stands where the hash comment goes: the hash can't cover itself.
function hashStart(chainName: string): string {
  return `-A ${chainName} HASH`;
}
