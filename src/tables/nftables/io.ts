// The seam between the nftables plane and the kernel: one transaction, one listing. The command form is in
// command-io.ts; a co-process or netlink form fits behind the same interface.
import { NetlinkError, ToolError } from '../../base/errors.js';
import type { KernelNftSet } from '../../ipsets/nft-set.js';

/** nft's name of a family that we have a table in. */
export type NftFamily = 'ip' | 'ip6' | 'arp';

/** What makes a base chain, as a listing shows it. */
export interface BaseChainSpec {
  readonly type: 'filter' | 'nat' | 'route';
  readonly hook: string;
  readonly priority: number;
}

/** A chain of a listing. */
export interface KernelNftChain {
  /** Absent for a chain that is no base chain. */
  readonly base?: { readonly type: string; readonly hook: string; readonly priority: number; readonly policy: string };
  /** What its rules say of themselves: `chainKey` of the hashes in their comments. */
  readonly tags: string;
}

/** A verdict map of a listing. Elements that are no `goto` have the text of their verdict as target. */
export interface KernelNftMap {
  /** Type of the key. */
  readonly type: string;
  readonly flags: string;
  /** Key → chain. */
  readonly elements: ReadonlyMap<string, string>;
}

/** All that the plane needs to know of a table; names are those of the kernel. */
export interface KernelNftTable {
  readonly chains: ReadonlyMap<string, KernelNftChain>;
  readonly sets: ReadonlyMap<string, KernelNftSet>;
  readonly maps: ReadonlyMap<string, KernelNftMap>;
  /** Flowtable → devices. */
  readonly flowtables: ReadonlyMap<string, ReadonlySet<string>>;
}

/** All rules that a chain is to have, in order, each as one `add rule` statement. */
export interface ChainRules {
  /** Family and name of the table: `ip calico`. */
  readonly table: string;
  readonly chain: string;
  /** What follows `add rule <table> <chain> `, without comments. */
  readonly texts: readonly string[];
  /** Comment of each rule, unquoted. May be made anew each time it is asked for. */
  readonly comments: readonly string[];
}

/** Elements to add to a set or to delete from one. */
export interface SetElements {
  readonly operation: 'add' | 'delete';
  /** Family and name of the table: `ip calico`. */
  readonly table: string;
  readonly set: string;
  /** As nft writes them: `10.0.0.0/26`, `10.0.0.1 . tcp . 80`. */
  readonly elements: readonly string[];
}

/** One nft statement as a line of text, or many of a kind, which nobody has to put together and take apart again. */
export type Statement = string | ChainRules | SetElements;

/** The statements as nft takes them, one a line. */
export function scriptText(statements: readonly Statement[]): string {
  let text = '';
  for (const statement of statements) {
    if (typeof statement === 'string') text += `${statement}\n`;
    else if ('chain' in statement) text += rulesText(statement);
    else
      text += `${statement.operation} element ${statement.table} ${statement.set} { ${statement.elements.join(', ')} }\n`;
  }
  return text;
}

function rulesText({ table, chain, texts, comments }: ChainRules): string {
  let text = '';
  for (const [index, rule] of texts.entries()) {
    text += `add rule ${table} ${chain} ${rule} comment "${comments[index] ?? ''}"\n`;
  }
  return text;
}

/** How many lines the statement has in {@link scriptText}. */
export function lineCount(statement: Statement): number {
  return typeof statement === 'object' && 'chain' in statement ? statement.texts.length : 1;
}

/** Everything that the nftables plane asks of the kernel. Failures are ToolError or NetlinkError. */
export interface NftIo {
  /**
   * Carries out nft statements, all or none. After a rejection nobody may assume that nothing happened, unless the error
   * names a line ({@link refusedLines}). `onReady` is called when the rest is the kernel's or a tool's work, so that
   * somebody else's transaction can be prepared meanwhile; not if it fails before.
   */
  transaction(statements: readonly Statement[], onReady?: () => void): Promise<void>;
  /** Rejects where {@link transaction} would, and changes nothing. */
  check(statements: readonly Statement[]): Promise<void>;
  /** The table, or null if there is none. Never looks at other tables. */
  listTable(family: NftFamily, table: string): Promise<KernelNftTable | null>;
  /** Names of all tables of a family. */
  listTables(family: NftFamily): Promise<string[]>;
  /** Names of the chains of a table; empty if there is no such table. */
  listChains(family: NftFamily, table: string): Promise<string[]>;
  /**
   * A number that changes when anyone but this object changed any nftables state of the network namespace, and only
   * then; null if that cannot be told cheaply.
   */
  generation(): Promise<number | null>;
}

/** Errors of the kernel that say that somebody else changed the ruleset meanwhile. */
const CONFLICTS: ReadonlySet<string> = new Set(['ERESTART', 'EINTR', 'EAGAIN', 'EBUSY']);
const CONFLICT_TEXT = /Interrupted system call|Resource temporarily unavailable|cache initialization failed/u;
/** Errors of the machine, whatever the statement. */
const MACHINE_TEXT =
  /Cannot allocate memory|No buffer space|Operation not permitted|Permission denied|Message too long/u;
const STATEMENT_LINE = /^\S+?:(\d+):\d+(?:-\d+)?: Error: /gmu;

/** A clash with another writer: worth another try at once. */
export function isConflict(error: unknown): boolean {
  if (error instanceof NetlinkError) return CONFLICTS.has(error.code);
  return error instanceof ToolError && CONFLICT_TEXT.test(error.failure.stderrHead);
}

/**
 * The lines (from 1) of the script that a refused transaction names, each once and in order. Empty if the failure is
 * not about statements (killed, no memory, not found); otherwise the kernel is as it was before.
 */
export function refusedLines(error: unknown): number[] {
  if (!(error instanceof ToolError) || isConflict(error)) return [];
  const { exitCode, stderrHead, inputLine } = error.failure;
  if (exitCode !== 1 || MACHINE_TEXT.test(stderrHead)) return [];
  const lines = new Set<number>();
  for (const [, line] of stderrHead.matchAll(STATEMENT_LINE)) lines.add(Number(line));
  if (lines.size === 0 && inputLine !== undefined) lines.add(inputLine);
  return [...lines].sort((a, b) => a - b);
}

/** The first complaint of nft, without the place, for reasons and logs. */
export function complaint(error: unknown): string {
  if (!(error instanceof ToolError)) return error instanceof Error ? error.message : String(error);
  const match = /Error: (.*)/u.exec(error.failure.stderrHead);
  return match?.[1] ?? error.message;
}
