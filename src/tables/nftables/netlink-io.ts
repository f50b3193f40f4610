// The nftables seam inside our own process: by netlink wherever we know the form, by a libnftables context kept open else.
// One core serves all planes, so that it can tell their commits from those of others.
import type { Clock } from '../../base/clock.js';
import { errorMessage, NetlinkError, ToolError } from '../../base/errors.js';
import { ownCopy } from '../../base/own-copy.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import type { LibNftables } from '../../kernel/netlink/libnftables.js';
import type { Batch, ElementKind, NfTablesNetlink } from '../../kernel/netlink/nf-tables.js';
import type { ListedSet, ListedTable, NfTablesReader } from '../../kernel/netlink/nf-tables-read.js';
import { CommitLedger } from '../commit-ledger.js';
import {
  type KernelNftMap,
  type KernelNftTable,
  type NftFamily,
  type NftIo,
  scriptText,
  type Statement,
} from './io.js';
import { compileInSlices, elementKind } from './script-compiler.js';
import type { KernelNftSet } from '../../ipsets/nft-set.js';

const OLD_SET = /^delete (?:set|map) (.+)$/u;
const NEW_SET = /^add (?:set|map) (ip|ip6|arp) (\S+) (\S+) \{(.*)\}/u;

/** What the native form is made of. `fallback` names the refused statement, and serves what netlink does not. */
export interface NetlinkNftIoOptions {
  readonly library: LibNftables;
  readonly netlink: NfTablesNetlink;
  readonly reader: NfTablesReader;
  readonly fallback: NftIo;
  readonly clock: Clock;
  /** Left out when nobody else of this process commits in this namespace. */
  readonly ledger?: CommitLedger;
}

/** {@link NftIo} by netlink. Calls are carried out one after the other, whatever plane they come from. */
export class NetlinkNftIo implements NftIo {
  readonly #options: NetlinkNftIoOptions;
  readonly #ledger: CommitLedger;
  /** `family table set` → kind of its keys; known from listings and from the statements that made the set. */
  readonly #kinds = new Map<string, ElementKind>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: NetlinkNftIoOptions) {
    this.#options = options;
    this.#ledger = options.ledger ?? new CommitLedger(() => options.netlink.generation());
  }

  /** See NftIo. What can be done before it is its turn is done at once. */
  async transaction(statements: readonly Statement[], onReady?: () => void): Promise<void> {
    const slices = new TimeSlices(this.#options.clock, SLICE_MS);
    const compiled = await this.#compile(statements, slices);
    onReady?.();
    const bytes = compiled instanceof NetlinkError ? 0 : (compiled?.bytes.length ?? scriptText(statements).length);
    await this.#serial(() => this.#ledger.own(() => this.#carryOut(statements, compiled), bytes));
  }

  /** See NftIo. */
  check(statements: readonly Statement[]): Promise<void> {
    return this.#serial(() => this.#options.fallback.check(statements));
  }

  /** See NftIo. */
  listTable(family: NftFamily, table: string): Promise<KernelNftTable | null> {
    return this.#serial(async () => {
      const slices = new TimeSlices(this.#options.clock, SLICE_MS);
      const listed = await this.#options.reader.listTable(family, table, slices);
      return listed === null ? null : this.#adopt(family, table, listed);
    });
  }

  /** See NftIo. */
  listTables(family: NftFamily): Promise<string[]> {
    return this.#serial(() => this.#options.reader.listTables(family));
  }

  /** See NftIo. */
  listChains(family: NftFamily, table: string): Promise<string[]> {
    return this.#serial(() => this.#options.reader.listChains(family, table));
  }

  /** See NftIo. */
  generation(): Promise<number> {
    return this.#serial(() => Promise.resolve(this.#ledger.epoch()));
  }

  /** Null for what cannot be said in netlink; an error for what cannot be right. */
  async #compile(statements: readonly Statement[], slices: TimeSlices): Promise<Batch | NetlinkError | null> {
    try {
      return await compileInSlices(statements, this.#kinds, slices);
    } catch (error) {
      if (error instanceof NetlinkError) return error;
      throw error;
    }
  }

  async #carryOut(statements: readonly Statement[], compiled: Batch | NetlinkError | null): Promise<void> {
    if (compiled === null) await this.#runLibrary(statements);
    else if (compiled instanceof NetlinkError || !(await this.#commit(compiled))) {
      // nft is asked once more, because it says what is wrong and with which statement. Nothing was changed.
      await this.#options.fallback.transaction(statements);
    }
    this.#learnKinds(statements);
  }

  /** False if the kernel refused it. */
  async #commit(batch: Batch): Promise<boolean> {
    try {
      await this.#options.netlink.commit(batch);
    } catch (error) {
      if (error instanceof NetlinkError) return false;
      throw error;
    }
    return true;
  }

  async #runLibrary(statements: readonly Statement[]): Promise<void> {
    try {
      await this.#options.library.run(scriptText(statements));
    } catch (error) {
      if (!(error instanceof ToolError)) throw new ToolError(errorMessage(error), NO_PROCESS, { cause: error });
      // libnftables names no line for a buffer. A refused transaction changed nothing, so it may be tried again.
      await this.#options.fallback.transaction(statements);
    }
  }

  /** Remembers which sets there are now. Those that are gone are forgotten, or names of all that ever were would pile up. */
  #learnKinds(statements: readonly Statement[]): void {
    for (const statement of statements) {
      if (typeof statement !== 'string') continue;
      const gone = OLD_SET.exec(statement)?.[1];
      if (gone !== undefined) this.#kinds.delete(gone);
      const [, family, table, name, body = ''] = NEW_SET.exec(statement) ?? [];
      if (family === undefined) continue;
      const kind = elementKind(/type ([^;]+?) *[;}]/u.exec(`${body};`)?.[1] ?? '', body.includes('interval'));
      if (kind !== null) this.#kinds.set(ownCopy(`${family} ${table} ${name}`), kind);
    }
  }

  #adopt(family: NftFamily, table: string, listed: ListedTable): KernelNftTable {
    const sets = new Map<string, KernelNftSet>();
    const maps = new Map<string, KernelNftMap>();
    for (const [name, set] of listed.sets) {
      const kind = elementKind(set.isMap ? `${set.type} : verdict` : set.type, set.flags.includes('interval'));
      if (kind !== null) this.#kinds.set(`${family} ${table} ${name}`, kind);
      if (set.isMap) maps.set(name, mapOf(set));
      else
        sets.set(name, {
          type: set.type,
          flags: set.flags,
          elements: set.elements.map(([key]) => key),
        });
    }
    return { chains: listed.chains, sets, maps, flowtables: listed.flowtables };
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

const NO_PROCESS = { argv: ['libnftables'], exitCode: null, signal: null, stderrHead: '', durationMs: 0 } as const;

function mapOf(set: ListedSet): KernelNftMap {
  return { type: set.type, flags: set.isVerdictMap ? set.flags : 'to data', elements: new Map(set.elements) };
}
