// Turns wanted chains into the rules to write: prints them once per change, remembers what identifies them, and puts a
// closed form in the place of a chain that cannot be programmed as asked.
import { BugError, errorMessage } from '../../base/errors.js';
import type { NftSets } from '../../ipsets/nft-sets.js';
import type { Chain, Rule } from '../../model/chain.js';
import type { TableName } from '../../model/family.js';
import type { Features } from '../../model/features.js';
import type { Match } from '../../model/match.js';
import { closedForm } from '../closed-forms.js';
import { HASH_COMMENT_PREFIX } from '../ownership.js';
import type { SharedRenderings } from '../shared-renderings.js';
import type { BaseChain } from './base-chains.js';
import { appendedChainName, renderChain, ruleComments } from './hash.js';
import type { NftLayer } from './layer.js';
import { layerName, nftSetName } from './render.js';

/** A chain ready to be written. */
export interface PrintedChain {
  /** Name in the kernel. */
  readonly fullName: string;
  readonly layer: TableName;
  /** Name without layer prefix. */
  readonly name: string;
  /** Identifies all rules of the chain in their order: what a listing is compared with. */
  readonly key: string;
  /** What follows `add rule <family> <table> <chain> `, without comments. */
  readonly texts: readonly string[];
  /** What the texts were made of. */
  readonly rules: readonly Rule[];
  readonly base?: BaseChain;
}

/** A chain that stands closed, and why. */
export interface ClosedChain {
  readonly name: string;
  readonly layer: TableName;
  readonly reason: string;
}

/** What nft takes for the name of an object; it has no way to quote one. */
const NAME = /^[A-Za-z][A-Za-z0-9/_.-]*$/u;
/** Interface names that stay themselves between quotes; nft would take a trailing `*` for a wildcard. */
const INTERFACE = /^[\x21\x23-\x29\x2b-\x5b\x5d-\x7e]{1,15}$/u;
const QUOTED = /"[^"\n]*"/gu;
/** Outside of quotes any of these would end the statement or change its meaning. */
const UNSAFE = /[;\n#$\\"]/u;

/** The key of a chain from the hashes of its rules, as listings have it; a rule without hash counts as empty text. */
export function chainKey(hashes: readonly string[]): string {
  return `${hashes.length}:${hashes.join()}`;
}

/**
 * The comment of each rule of a chain. Made from its key when they are written and not kept: comments of 17,000 rules take
 * more memory than all the rest of a transaction.
 */
export function commentsOf({ key, rules }: Pick<PrintedChain, 'key' | 'rules'>): string[] {
  return ruleComments(rules, key.slice(key.indexOf(':') + 1).split(','));
}

/** The hash in a rule's comment, or empty text if it has none of ours. */
export function hashOfComment(comment: string): string {
  if (!comment.startsWith(HASH_COMMENT_PREFIX)) return '';
  const end = comment.indexOf(';');
  return comment.slice(HASH_COMMENT_PREFIX.length, end < 0 ? undefined : end);
}

/** Whether nft can name the chain. */
export function isPrintableName(fullName: string): boolean {
  return NAME.test(fullName);
}

/** Whether nft can be told an interface name (in quotes). */
export function isPrintableInterface(name: string): boolean {
  return INTERFACE.test(name);
}

/**
 * The text of a rule as nft takes it, or null if there is none: Felix's form, which is hashed, has interface names
 * without quotes, which nft refuses where they are words of its own (`vlan`, `bridge`).
 */
function statement(text: string, { match, action }: Rule): string | null {
  if ((action?.kind === 'jump' || action?.kind === 'goto') && !NAME.test(action.chain)) return null;
  let quoted = text;
  for (const part of match) {
    if (part.kind !== 'in-interface' && part.kind !== 'out-interface') continue;
    if (!isPrintableInterface(part.name)) return null;
    const key = part.kind === 'in-interface' ? 'iifname' : 'oifname';
    const name = part.wildcard === true ? `${part.name}*` : part.name;
    // The first occurrence is the match: texts of other matches hold no interface names, and actions come later.
    quoted = quoted.replace(`${key} ${name}`, () => `${key} "${name}"`);
  }
  // A quote is among what is looked for: a text without one needs no second look.
  return UNSAFE.test(quoted) && UNSAFE.test(quoted.replace(QUOTED, '')) ? null : quoted;
}

/** Names of the sets that the rules look into, each once. */
function usedSets(rules: readonly Rule[]): readonly string[] {
  let names: Set<string> | undefined;
  for (const { match } of rules) {
    for (const part of match) {
      // Most matches are none of these: told by their kind, which costs less than `in` for two dozen shapes of objects.
      if (!LOOKUPS.has(part.kind) || !('set' in part)) continue;
      names ??= new Set();
      names.add(nftSetName(part.set));
    }
  }
  return names === undefined ? NO_SETS : [...names];
}

const LOOKUPS: ReadonlySet<Match['kind']> = new Set<Extract<Match, { set: string }>['kind']>([
  'source-set',
  'dest-set',
  'source-port-set',
  'dest-port-set',
]);
const NO_SETS: readonly string[] = [];

interface Remembered {
  readonly layer: NftLayer;
  readonly name: string;
  readonly key: string;
  /** Sets that the programmed form uses: they must not be deleted. */
  readonly uses: readonly string[];
  /** Sets that the wanted form uses: a change of their state changes the programmed form. */
  readonly watches: readonly string[];
}

/** What chains are printed with. */
export interface RenderedChainsOptions {
  readonly family: 4 | 6 | 'arp';
  readonly features: Features;
  readonly sets: NftSets;
  /** Left out where there is no second family. */
  readonly shared?: SharedChains | undefined;
}

/** Chains of each layer that IPv4 printed and IPv6 may want. */
export type SharedChains = ReadonlyMap<TableName, SharedRenderings<PrintedChain>>;

/** Prints chains and remembers their keys. One per table. */
export class RenderedChains {
  readonly #family: 4 | 6 | 'arp';
  readonly #features: Features;
  readonly #sets: NftSets;
  readonly #shared: SharedChains | undefined;
  readonly #remembered = new Map<string, Remembered>();
  /** Set → kernel names of the chains whose wanted form uses it. */
  readonly #watchers = new Map<string, Set<string>>();
  /** Definitions that the kernel refused, by kernel name; another definition is tried again. */
  readonly #refused = new Map<string, { readonly key: string; readonly reason: string }>();
  readonly #closed = new Map<string, ClosedChain>();
  /**
   * Texts of rules, as rendered → as nft takes them, until the end of the plan. Most rules of a node are alike: each text
   * is looked at and kept once.
   */
  readonly #statements = new Map<string, string>();

  constructor(options: RenderedChainsOptions) {
    this.#family = options.family;
    this.#features = options.features;
    this.#sets = options.sets;
    this.#shared = options.shared;
  }

  /** The form to program. Throws for a chain that cannot be printed and must not be closed. */
  print(layer: NftLayer, chain: Chain): PrintedChain {
    const fullName = layerName(layer.table, chain.name);
    const wanted = this.#tryPrint(layer.table, chain);
    const watches = usedSets(chain.rules);
    const reason = wanted instanceof Error ? errorMessage(wanted) : this.#reasonToClose(fullName, wanted.key, watches);
    if (reason === undefined && !(wanted instanceof Error)) {
      this.#closed.delete(fullName);
      this.#remember(fullName, { layer, name: chain.name, key: wanted.key, uses: watches, watches });
      return wanted;
    }
    const form = closedForm(layer.table, chain.name, 'closed');
    if (form === undefined) throw wanted instanceof Error ? wanted : new BugError(`chain ${fullName}: ${reason}`);
    this.#closed.set(fullName, { name: chain.name, layer: layer.table, reason: reason ?? '' });
    const printed = this.#print(layer.table, form);
    this.#remember(fullName, { layer, name: chain.name, key: printed.key, uses: [], watches });
    return printed;
  }

  /** A base chain with our hook rules. Hashed as IPv4 in both families (dataplane.md 3.12). */
  printBase(base: BaseChain, layer: NftLayer): PrintedChain {
    const context = {
      family: this.#family === 'arp' ? this.#family : 4,
      features: this.#features,
      layer: base.layer,
    } as const;
    const insertedRules = layer.desired.insertedRules(base.hookName);
    const appendedRules = layer.desired.appendedRules(base.hookName);
    const inserted = renderChain(base.hookName, insertedRules, context);
    const appended = renderChain(appendedChainName(base.hookName), appendedRules, context);
    const key = chainKey([...inserted.hashes, ...appended.hashes]);
    const texts = [
      ...this.#safeTexts(inserted.texts, insertedRules, base.name),
      ...this.#safeTexts(appended.texts, appendedRules, base.name),
    ];
    const rules = [...insertedRules, ...appendedRules];
    const printed = { fullName: base.name, layer: base.layer, name: base.hookName, key, texts, rules, base };
    this.#remember(base.name, { layer, name: base.hookName, key, uses: [], watches: [] });
    return printed;
  }

  /** The closed form of a chain that was printed, or undefined if it must not be closed. */
  printClosed(printed: PrintedChain): PrintedChain | undefined {
    const form = printed.base === undefined ? closedForm(printed.layer, printed.name, 'closed') : undefined;
    return form === undefined ? undefined : this.#print(printed.layer, form);
  }

  /** All is printed for now: nothing of the other family is wanted any more. */
  endOfPlan(): void {
    this.#statements.clear();
    if (this.#family !== 6) return;
    for (const shared of this.#shared?.values() ?? []) shared.clear();
  }

  /** Key of the form that was printed last, if the chain is still wanted. */
  key(fullName: string): string | undefined {
    return this.#remembered.get(fullName)?.key;
  }

  /** The chain left the desired state. */
  forget(fullName: string): void {
    const old = this.#remembered.get(fullName);
    if (old === undefined) return;
    this.#remembered.delete(fullName);
    this.#refused.delete(fullName);
    this.#closed.delete(fullName);
    this.#unwatch(fullName, old);
    for (const set of old.uses) this.#sets.countUse(set, -1);
  }

  /** The kernel refused this definition: from now on it prints closed. */
  refuse(printed: PrintedChain, reason: string): void {
    this.#refused.set(printed.fullName, { key: printed.key, reason });
    this.#makeDirty(printed.fullName);
  }

  /** Wants everything that the kernel refused once more. */
  retryRefused(): void {
    const names = [...this.#refused.keys()];
    this.#refused.clear();
    for (const name of names) this.#makeDirty(name);
  }

  /** Makes the chains dirty whose form depends on the state of these sets. */
  setsChanged(nftNames: Iterable<string>): void {
    for (const nftName of nftNames) {
      for (const fullName of this.#watchers.get(nftName) ?? []) this.#makeDirty(fullName);
    }
  }

  /** Every chain that is closed by the kernel's or a set's refusal, or because it cannot be printed. */
  closed(): IterableIterator<ClosedChain> {
    return this.#closed.values();
  }

  #makeDirty(fullName: string): void {
    const remembered = this.#remembered.get(fullName);
    remembered?.layer.desired.putBack({ chains: [remembered.name] });
  }

  #reasonToClose(fullName: string, key: string, sets: readonly string[]): string | undefined {
    const refused = this.#refused.get(fullName);
    if (refused?.key === key) return refused.reason;
    this.#refused.delete(fullName);
    for (const set of sets) {
      const problem = this.#sets.problem(set);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #tryPrint(layer: TableName, chain: Chain): PrintedChain | Error {
    try {
      return this.#print(layer, chain);
    } catch (error) {
      return error instanceof Error ? error : new BugError(String(error));
    }
  }

  #print(layer: TableName, chain: Chain): PrintedChain {
    const shared = this.#shared?.get(layer);
    const made = this.#family === 6 ? shared?.take(chain) : undefined;
    if (made !== undefined) return made;
    const { name, rules } = chain;
    const rendered = renderChain(name, rules, { family: this.#family, features: this.#features, layer });
    const fullName = layerName(layer, name);
    const texts = this.#safeTexts(rendered.texts, rules, fullName);
    const printed = { fullName, layer, name, key: chainKey(rendered.hashes), texts, rules };
    if (this.#family === 4) shared?.leave(chain, printed);
    return printed;
  }

  #safeTexts(texts: readonly string[], rules: readonly Rule[], chainName: string): string[] {
    return texts.map((text, at) => {
      const known = this.#statements.get(text);
      if (known !== undefined) return known;
      const rule = rules[at];
      const safe = rule === undefined ? null : statement(text, rule);
      if (safe === null) {
        throw new BugError(
          `rule ${at + 1} of chain ${chainName} cannot be handed to nft safely: ${JSON.stringify(text)}`,
        );
      }
      this.#statements.set(text, safe);
      return safe;
    });
  }

  #remember(fullName: string, next: Remembered): void {
    const old = this.#remembered.get(fullName);
    this.#remembered.set(fullName, next);
    for (const set of next.uses) this.#sets.countUse(set, 1);
    for (const set of old?.uses ?? []) this.#sets.countUse(set, -1);
    if (old !== undefined) this.#unwatch(fullName, old);
    for (const set of next.watches) {
      const watchers = this.#watchers.get(set);
      if (watchers === undefined) this.#watchers.set(set, new Set([fullName]));
      else watchers.add(fullName);
    }
  }

  #unwatch(fullName: string, old: Remembered): void {
    for (const set of old.watches) {
      const watchers = this.#watchers.get(set);
      watchers?.delete(fullName);
      if (watchers?.size === 0) this.#watchers.delete(set);
    }
  }
}
