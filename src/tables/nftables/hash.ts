// Hashes, texts and comments of whole chains for nft, made in one pass (dataplane.md 3.12).
import type { Rule } from '../../model/chain.js';
import { HashChain } from '../hash-chain.js';
import { layerName, type NftTextContext, renderComment, renderRuleText } from './render.js';

/** Hash, text (what follows `add rule <table> <chain> `) and unquoted comment of every rule, index by index. */
export interface RenderedNftChain {
  readonly hashes: readonly string[];
  readonly texts: readonly string[];
  readonly comments: readonly string[];
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

/** {@link ruleHashes} with the texts and comments that go with them. */
export function renderChain(chainName: string, rules: readonly Rule[], ctx: NftTextContext): RenderedNftChain {
  const chain = new HashChain(layerName(ctx.layer, chainName));
  const hashes: string[] = [];
  const texts: string[] = [];
  const comments: string[] = [];
  for (const rule of rules) {
    const text = renderRuleText(rule, ctx);
    const hash = chain.next(text);
    hashes.push(hash);
    texts.push(text);
    comments.push(renderComment(rule, hash));
  }
  return { hashes, texts, comments };
}
