// The nftables seam inside our own process: by netlink wherever we know the form, by a libnftables context kept open else.
// One core serves all planes, so that it can tell their commits from those of others.
import type { Clock } from '../../base/clock.js';
import { errorMessage, NetlinkError, ToolError } from '../../base/errors.js';
import { ownCopy } from '../../base/own-copy.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import type { LibNftables } from '../../kernel/netlink/libnftables.js';
import type { ElementKind, NfTablesNetlink } from '../../kernel/netlink/nf-tables.js';
import type { ListedSet, ListedTable, NfTablesReader } from '../../kernel/netlink/nf-tables-read.js';
import { canonicalElement } from '../../ipsets/nft-set-members.js';
import { CommitLedger } from '../commit-ledger.js';
import type { KernelNftMap, KernelNftTable, NftFamily, NftIo } from './io.js';
import { compileInSlices, elementKind } from './script-compiler.js';
import type { KernelNftSet } from '../../ipsets/nft-set.js';

const NEW_SET = /^add (set|map) (ip|ip6|arp) (\S+) (\S+) \{(.*)\}/u;

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

  /** See NftIo. */
  transaction(script: string): Promise<void> {
    return this.#serial(() => this.#ledger.own(() => this.#carryOut(script), script.length));
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
    return this.#serial(() => Promise.resolve(this.#ledger.epoch()));
  }

  async #carryOut(script: string): Promise<void> {
    const statements = script.split('\n').filter((line) => line !== '');
    try {
      if (await this.#commit(statements)) return;
    } catch (error) {
      // nft is asked once more, because it says what is wrong and with which statement. Nothing was changed.
      if (!(error instanceof NetlinkError)) throw error;
      await this.#options.fallback.transaction(script);
      this.#learnKinds(statements);
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

  /** Whether all statements could be said in netlink, and were. */
  async #commit(statements: readonly string[]): Promise<boolean> {
    let made: ReadonlyMap<string, ElementKind> = new Map();
    const slices = new TimeSlices(this.#options.clock, SLICE_MS);
    const isDone = await this.#options.netlink.commit(async (firstSequence) => {
      const compiled = await compileInSlices(statements, this.#kinds, firstSequence, slices);
      if (compiled === null) return null;
      made = compiled.made;
      return compiled.batch.finish();
    });
    if (isDone) {
      this.#forgetKinds(statements);
      for (const [set, kind] of made) this.#kinds.set(ownCopy(set), kind);
    }
    return isDone;
  }

  /** Sets that are gone are forgotten, or names of all that ever were would pile up. */
  #forgetKinds(statements: readonly string[]): void {
    for (const statement of statements) {
      if (!statement.startsWith('delete set ') && !statement.startsWith('delete map ')) continue;
      this.#kinds.delete(statement.slice('delete set '.length));
    }
  }

  #learnKinds(statements: readonly string[]): void {
    this.#forgetKinds(statements);
    for (const statement of statements) {
      const match = NEW_SET.exec(statement);
      if (match === null) continue;
      const [, , family, table, name, body = ''] = match;
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
          elements: set.elements.map(([key]) => canonicalElement(key)),
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
