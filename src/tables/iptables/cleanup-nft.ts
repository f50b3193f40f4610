// Sweeps what an iptables-nft Calico left, when the dataplane runs on iptables-legacy or nftables, also in tables that
// iptables-nft-save refuses to print because others put native rules into them (dataplane.md 4.6, tests.md B17, B18,
// B20).
import { ToolError } from '../../base/errors.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { Family, TableName } from '../../model/family.js';
import { isOurChain } from '../ownership.js';
import { PacedCleanup, type SweepResult } from '../paced-cleanup.js';
import { backendBinariesPresent } from './backend.js';
import type { IptablesCleanupOptions } from './cleanup-legacy.js';
import { CommandIptablesIo, toolError } from './command-io.js';
import { listNftChains, listNftJumps, type NftChain, nftFamily } from './nft-listing.js';
import { type KnownTable, OLD_RULE, parseSave } from './read.js';
import { SHARED_TABLES, sweepTable, sweepTables } from './table-sweep.js';

/** As for the legacy clean-up, which alone needs files. */
export interface NftCopiesCleanupOptions extends Omit<IptablesCleanupOptions, 'files'> {
  /** What the dataplane itself runs on; never iptables-nft. */
  readonly backendInUse: 'legacy' | 'nftables';
}

/**
 * Clean-up of the nft copies of one family's tables. On iptables-legacy it does nothing where the legacy binaries are
 * missing: what runs under the general names may be iptables-nft. A pass costs one `nft list chains`; rules are read only where
 * there is a chain of ours, and once at the start everywhere, for rules of ours without chains.
 */
export function createNftCopiesCleanup(options: NftCopiesCleanupOptions): PacedCleanup {
  const sweeper = new NftCopies(options);
  return new PacedCleanup({
    ...options,
    name: `cleanup of iptables-nft v${options.family}`,
    sweep: () => sweeper.sweep(),
  });
}

class NftCopies {
  readonly #options: NftCopiesCleanupOptions;
  readonly #runner: CommandRunner;
  readonly #family: Family;
  readonly #io: CommandIptablesIo;
  /** Tables whose base chains were seen to hold nothing of ours. */
  readonly #seenClean = new Set<TableName>();
  #isSafe: boolean | undefined;

  constructor(options: NftCopiesCleanupOptions) {
    this.#options = options;
    this.#runner = options.runner;
    this.#family = options.family;
    // In nftables mode the general tools are as good, because neither variant is in use.
    this.#io = new CommandIptablesIo({ ...options, backend: 'nft', exactNames: options.backendInUse === 'legacy' });
  }

  async sweep(): Promise<SweepResult> {
    this.#isSafe ??=
      this.#options.backendInUse === 'nftables' || (await backendBinariesPresent(this.#runner, 'legacy', this.#family));
    if (!this.#isSafe) return { operations: 0, failures: [] };
    const all = await listNftChains(this.#runner, this.#family);
    const chainsOf = (table: TableName): NftChain[] => all.filter((chain) => chain.table === table);
    const suspicious = SHARED_TABLES.filter((table) => {
      const chains = chainsOf(table);
      return chains.length > 0 && (!this.#seenClean.has(table) || chains.some(({ name }) => isOurChain(name)));
    });
    return sweepTables(suspicious, (table) => this.#sweepTable(table, chainsOf(table)));
  }

  async #sweepTable(table: TableName, chains: readonly NftChain[]): Promise<number> {
    const operations = await sweepTable({
      ...this.#options,
      backend: 'nft',
      table,
      io: this.#io,
      read: () => this.#read(table, chains),
    });
    this.#seenClean.add(table);
    return operations;
  }

  async #read(table: TableName, chains: readonly NftChain[]): Promise<KnownTable> {
    try {
      return parseSave(await this.#io.save(this.#family, table), table);
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      return this.#readChainByChain(table, chains);
    }
  }

  /** iptables-nft refuses a table as a whole, but each chain only for its own rules. */
  async #readChainByChain(table: TableName, chains: readonly NftChain[]): Promise<KnownTable> {
    const known: KnownTable = new Map();
    for (const { name, isBase } of chains) {
      if (isOurChain(name)) known.set(name, { hashes: await this.#readOurChain(table, name) });
      else if (isBase) for (const [chain, content] of await this.#readBaseChain(table, name)) known.set(chain, content);
    }
    return known;
  }

  /** Only whether it is empty matters: all of it goes. */
  async #readOurChain(table: TableName, chain: string): Promise<readonly string[]> {
    const result = await this.#runner.run({ argv: this.#listCommand(table, chain) });
    return result.exitCode === 0 ? (parseSave(result.stdout, table).get(chain)?.hashes ?? []) : [OLD_RULE];
  }

  #listCommand(table: TableName, chain: string): readonly string[] {
    return [this.#family === 4 ? 'iptables-nft' : 'ip6tables-nft', '-t', table, '-S', chain];
  }

  async #readBaseChain(table: TableName, chain: string): Promise<KnownTable> {
    const result = await this.#runner.run({ argv: this.#listCommand(table, chain) });
    if (result.exitCode === 0) return parseSave(result.stdout, table);
    // Only nft can read it: then our rules are those that jump to our chains, and they go at once, by handle.
    const jumps = await listNftJumps(this.#runner, this.#family, table, chain);
    const ours = jumps.filter(({ target }) => isOurChain(target));
    if (ours.length > 0) {
      const place = `${nftFamily(this.#family)} ${table} ${chain}`;
      const stdin = ours.map(({ handle }) => `delete rule ${place} handle ${handle}\n`).join('');
      const nft = ['nft', '-f', '-'];
      const deleted = await this.#runner.run({ argv: nft, stdin });
      if (deleted.exitCode !== 0) throw toolError(nft, deleted);
      const object = `${table}/${this.#family} ${chain}`;
      this.#options.onOperation({ room: 'tables', verb: 'write-hook', object, count: ours.length });
    }
    return new Map();
  }
}
