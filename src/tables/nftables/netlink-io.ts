// The nftables seam inside our own process: rules by a libnftables context kept open, elements and listings by netlink.
// One core serves all planes, so that it can tell their commits from those of others.
import { errorMessage, NetlinkError, ToolError } from '../../base/errors.js';
import type { LibNftables } from '../../kernel/netlink/libnftables.js';
import type { ElementChange, ElementKind, NfTablesNetlink } from '../../kernel/netlink/nf-tables.js';
import type { ListedSet, ListedTable, NfTablesReader } from '../../kernel/netlink/nf-tables-read.js';
import { canonicalElement } from '../../ipsets/nft-set-members.js';
import type { KernelNftMap, KernelNftTable, NftFamily, NftIo } from './io.js';
import type { KernelNftSet } from '../../ipsets/nft-set.js';

const ELEMENT_STATEMENT = /^(add|delete) element (ip|ip6|arp) (\S+) (\S+) \{ ?(.*?) ?\}$/u;
const NEW_SET = /^add (set|map) (ip|ip6|arp) (\S+) (\S+) \{(.*)\}/u;

/** What the native form is made of. `fallback` names the refused statement, and serves what netlink does not. */
export interface NetlinkNftIoOptions {
  readonly library: LibNftables;
  readonly netlink: NfTablesNetlink;
  readonly reader: NfTablesReader;
  readonly fallback: NftIo;
}

/** {@link NftIo} by netlink. Calls are carried out one after the other, whatever plane they come from. */
export class NetlinkNftIo implements NftIo {
  readonly #options: NetlinkNftIoOptions;
  /** `family table set` → kind of its keys; known from listings and from the statements that made the set. */
  readonly #kinds = new Map<string, ElementKind>();
  #queue: Promise<unknown> = Promise.resolve();
  #lastGeneration: number | null = null;
  #foreignCommits = 0;

  constructor(options: NetlinkNftIoOptions) {
    this.#options = options;
  }

  /** See NftIo. */
  transaction(script: string): Promise<void> {
    return this.#serial(async () => {
      this.#noteGeneration();
      try {
        await this.#carryOut(script);
      } finally {
        this.#expectOwnCommit();
      }
    });
  }

  /** See NftIo. */
  check(script: string): Promise<void> {
    return this.#serial(() => this.#options.fallback.check(script));
  }

  /** See NftIo. */
  listTable(family: NftFamily, table: string): Promise<KernelNftTable | null> {
    return this.#serial(() => {
      const listed = this.#options.reader.listTable(family, table);
      return Promise.resolve(listed === null ? null : this.#adopt(family, table, listed));
    });
  }

  /** See NftIo. */
  listTables(family: NftFamily): Promise<string[]> {
    return this.#serial(() => Promise.resolve(this.#options.reader.listTables(family)));
  }

  /** See NftIo. */
  listChains(family: NftFamily, table: string): Promise<string[]> {
    return this.#serial(() => Promise.resolve(this.#options.reader.listChains(family, table)));
  }

  /** See NftIo. */
  generation(): Promise<number> {
    return this.#serial(() => {
      this.#noteGeneration();
      return Promise.resolve(this.#foreignCommits);
    });
  }

  async #carryOut(script: string): Promise<void> {
    const statements = script.split('\n').filter((line) => line !== '');
    const elements = this.#elementsOnly(statements);
    if (elements !== null) {
      try {
        this.#options.netlink.changeElements(elements.family, elements.table, elements.changes);
        return;
      } catch (error) {
        // The kernel's answer to a batch does not name the statement: nft is asked to say which one it is.
        if (!(error instanceof NetlinkError)) throw error;
      }
      await this.#options.fallback.transaction(script);
      return;
    }
    try {
      await this.#options.library.run(script);
    } catch (error) {
      if (!(error instanceof ToolError)) throw new ToolError(errorMessage(error), NO_PROCESS, { cause: error });
      // libnftables names no line for a buffer. A refused transaction changed nothing, so it may be tried again.
      await this.#options.fallback.transaction(script);
    }
    this.#learnKinds(statements);
  }

  /** The script as element changes of one table, or null when it holds anything else or a set of unknown kind. */
  #elementsOnly(statements: readonly string[]): { family: NftFamily; table: string; changes: ElementChange[] } | null {
    const changes: ElementChange[] = [];
    let owner: { family: NftFamily; table: string } | null = null;
    for (const statement of statements) {
      const match = ELEMENT_STATEMENT.exec(statement);
      if (match === null) return null;
      const [, operation, family, table = '', set = '', list = ''] = match;
      const kind = this.#kinds.get(`${family} ${table} ${set}`);
      if (kind === undefined || (owner !== null && (owner.family !== family || owner.table !== table))) return null;
      owner = { family: family as NftFamily, table };
      const members = list.split(', ');
      changes.push({
        operation: operation as 'add' | 'delete',
        set,
        kind,
        elements: members.map((member) => member.replaceAll('"', '')),
      });
    }
    return owner === null ? null : { ...owner, changes };
  }

  #learnKinds(statements: readonly string[]): void {
    for (const statement of statements) {
      const match = NEW_SET.exec(statement);
      if (match === null) continue;
      const [, , family, table, name, body = ''] = match;
      const kind = kindOf(/type ([^;]+?) *[;}]/u.exec(`${body};`)?.[1] ?? '', body.includes('interval'));
      if (kind !== null) this.#kinds.set(`${family} ${table} ${name}`, kind);
    }
  }

  #adopt(family: NftFamily, table: string, listed: ListedTable): KernelNftTable {
    const sets = new Map<string, KernelNftSet>();
    const maps = new Map<string, KernelNftMap>();
    for (const [name, set] of listed.sets) {
      const kind = kindOf(set.isMap ? `${set.type} : verdict` : set.type, set.flags.includes('interval'));
      if (kind !== null) this.#kinds.set(`${family} ${table} ${name}`, kind);
      if (set.isMap) maps.set(name, mapOf(set));
      else
        sets.set(name, {
          type: set.type,
          flags: set.flags,
          elements: set.elements.map(([key]) => canonicalElement(key)),
        });
    }
    return { chains: listed.chains, sets, maps, flowtables: listed.flowtables };
  }

  /** Counts a commit of somebody else if the generation moved since we last looked. */
  #noteGeneration(): void {
    const generation = this.#options.netlink.generation();
    if (this.#lastGeneration !== null && generation !== this.#lastGeneration) this.#foreignCommits += 1;
    this.#lastGeneration = generation;
  }

  /** A commit of ours moves the generation by one; more means that somebody else committed meanwhile. */
  #expectOwnCommit(): void {
    const generation = this.#options.netlink.generation();
    if (this.#lastGeneration !== null && generation > this.#lastGeneration + 1) this.#foreignCommits += 1;
    this.#lastGeneration = generation;
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

const NO_PROCESS = { argv: ['libnftables'], exitCode: null, signal: null, stderrHead: '', durationMs: 0 } as const;

function kindOf(type: string, isInterval: boolean): ElementKind | null {
  if (type === 'ipv4_addr' || type === 'ipv6_addr') return isInterval ? 'interval' : 'address';
  if (/^ipv[46]_addr \. inet_proto \. inet_service$/u.test(type)) return 'address-port';
  return type === 'ifname : verdict' ? 'interface-goto' : null;
}

function mapOf(set: ListedSet): KernelNftMap {
  return { type: set.type, flags: set.isVerdictMap ? set.flags : 'to data', elements: new Map(set.elements) };
}
