// Hashes and texts of whole chains for nft, made in one pass, and the comments with these hashes (dataplane.md 3.12).
import type { Rule } from '../../model/chain.js';
import { HashChain } from '../hash-chain.js';
import { layerName, type NftTextContext, renderComment, renderRuleText } from './render.js';

/** Hash and text (what follows `add rule <table> <chain> `) of every rule, index by index. */
export interface RenderedNftChain {
  readonly hashes: readonly string[];
  readonly texts: readonly string[];
}

/** The name under which the rules that always go to the end of a base chain are hashed. */
export function appendedChainName(chainName: string): string {
  return `${chainName}*appends*`;
}

/** The hashes that the rules carry if they are the whole of `chainName`; the layer prefix is added here. */
export function ruleHashes(chainName: string, rules: readonly Rule[], ctx: NftTextContext): string[] {
  const chain = new HashChain(layerName(ctx.layer, chainName));
  return rules.map((rule) => chain.next(renderRuleText(rule, ctx)));
}

/** {@link ruleHashes} with the texts that go with them. */
export function renderChain(chainName: string, rules: readonly Rule[], ctx: NftTextContext): RenderedNftChain {
  const chain = new HashChain(layerName(ctx.layer, chainName));
  const hashes: string[] = [];
  const texts: string[] = [];
  for (const rule of rules) {
    const text = renderRuleText(rule, ctx);
    hashes.push(chain.next(text));
    texts.push(text);
  }
  return { hashes, texts };
}

/** The unquoted comment of each rule. */
export function ruleComments(rules: readonly Rule[], hashes: readonly string[]): string[] {
  return rules.map((rule, at) => renderComment(rule, hashes[at] ?? ''));
}
