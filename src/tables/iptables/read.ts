// Reads what iptables-save prints into hashes per chain: all that a reconciler needs to know of the kernel
// (dataplane.md 4.4).
import { ownCopy } from '../../base/own-copy.js';
import type { TaggedRules } from '../../kernel/netlink/tagged-rules.js';
import type { TableName } from '../../model/family.js';
import { isOldRule, isOurChain } from '../ownership.js';

/** Stands for a rule of an old release in a hash list; never equal to a real hash. */
export const OLD_RULE = 'OLD INSERT RULE';

/** One chain of the kernel. */
export interface KnownChain {
  /** Hash of each rule in order; the empty text for a rule that is not ours, {@link OLD_RULE} for one of an old release. */
  readonly hashes: readonly string[];
  /**
   * Only for chains that are not ours but hold rules of ours, and only if the table was printed: these rules in order
   * (`-A FORWARD …`).
   */
  readonly ourLines?: readonly string[];
}

/** A table as read: every chain by name. */
export type KnownTable = Map<string, KnownChain>;

const TAG_HASH = /^[A-Za-z0-9_-]+/;
const POSTROUTING = 'POSTROUTING';
const MASQUERADE = 'MASQUERADE';
const HASH_COMMENT = /--comment "?cali:([A-Za-z0-9_-]+)"?/;

interface ChainInProgress {
  readonly hashes: string[];
  ourLines?: string[];
}

/**
 * Parses the output of `iptables-save -t <table>`. Unknown lines are skipped, as are other tables than the one asked
 * for. Rules of a chain that was never declared declare it.
 */
export function parseSave(text: string, table: TableName): KnownTable {
  const chains = new Map<string, ChainInProgress>();
  let inTable = true;
  let last: { name: string; chain: ChainInProgress } | undefined;
  const chainOf = (name: string): ChainInProgress => {
    if (last?.name === name) return last.chain;
    let chain = chains.get(name);
    if (chain === undefined) {
      chain = { hashes: [] };
      chains.set(name, chain);
    }
    last = { name, chain };
    return chain;
  };
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(start, end);
    start = end + 1;
    if (line.startsWith('*')) inTable = line.slice(1) === table;
    else if (!inTable) continue;
    else if (line.startsWith(':')) chainOf(word(line, 1));
    else if (line.startsWith('-A ')) {
      const name = word(line, 3);
      addRule(chainOf(name), name, line, table);
    }
  }
  return chains;
}

function addRule(chain: ChainInProgress, name: string, line: string, table: TableName): void {
  const hash = HASH_COMMENT.exec(line)?.[1];
  if (hash === undefined && !isOldRule(line, table === 'nat')) {
    chain.hashes.push('');
    return;
  }
  chain.hashes.push(hash === undefined ? OLD_RULE : ownCopy(hash));
  if (isOurChain(name)) return;
  chain.ourLines ??= [];
  chain.ourLines.push(ownCopy(line));
}

/** The word that starts at `from`, as a string of its own. */
function word(line: string, from: number): string {
  const space = line.indexOf(' ', from);
  return ownCopy(line.slice(from, space < 0 ? line.length : space));
}

/**
 * The table by the tags of its rules, or null if only its text tells whether it holds rules of an old release, which have
 * no hash (see {@link isOldRule}). Lines are not known.
 */
export function readTagged({ tags, others }: TaggedRules, table: TableName): KnownTable | null {
  for (const [chain, targets] of others) {
    if (isOurChain(chain)) continue;
    for (const target of targets) {
      if (isOurChain(target)) return null;
      if (table === 'nat' && chain === POSTROUTING && target === MASQUERADE) return null;
    }
  }
  const known: KnownTable = new Map();
  for (const [name, found] of tags) known.set(name, { hashes: found.map(hashOf) });
  return known;
}

/**
 * Whether a table with these tags holds our chains, and others' chains with rules of ours, as they are known. What
 * others do in chains of their own is not looked at. A hash says all of a rule, as for {@link parseSave}.
 */
export function isAsKnown({ tags }: TaggedRules, known: KnownTable): boolean {
  for (const [name, { hashes }] of known) {
    const found = tags.get(name);
    if (found === undefined) {
      if (concernsUs(name, hashes)) return false;
    } else if (!matches(found, hashes) && (concernsUs(name, hashes) || found.some(hasHash))) return false;
  }
  for (const [name, found] of tags) if (!known.has(name) && (isOurChain(name) || found.some(hasHash))) return false;
  return true;
}

function concernsUs(name: string, hashes: readonly string[]): boolean {
  return isOurChain(name) || hashes.some((hash) => hash !== '');
}

function matches(found: readonly string[], hashes: readonly string[]): boolean {
  return found.length === hashes.length && hashes.every((hash, index) => hashOf(found[index] ?? '') === hash);
}

function hasHash(tag: string): boolean {
  return hashOf(tag) !== '';
}

function hashOf(tag: string): string {
  return tag === '' ? '' : (TAG_HASH.exec(tag)?.[0] ?? '');
}
