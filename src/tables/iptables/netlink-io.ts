// The iptables seam inside our own process, for the nft variant: restores by netlink wherever we know the form of every
// line, by the tool else. Reading is the tool's.
import type { Clock } from '../../base/clock.js';
import { NetlinkError, ToolError } from '../../base/errors.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import type { IpsetIndex } from '../../kernel/netlink/ipset-index.js';
import { joinCompatBatches } from '../../kernel/netlink/compat-batch.js';
import type { NfTablesNetlink } from '../../kernel/netlink/nf-tables.js';
import type { Family, TableName } from '../../model/family.js';
import type { CommitLedger } from '../commit-ledger.js';
import type { IptablesIo } from './io.js';
import type { KnownTable } from './read.js';
import { type CompiledRestore, compileRestore, type SharedRules } from './restore-compiler.js';

type Socket = Pick<NfTablesNetlink, 'commit'>;

/** What the native form is made of. `tool` does what netlink does not, and names the line that is refused. */
export interface NetlinkIptablesIoOptions {
  /** One socket for long scripts of each family, whose commits go on at the same time, and one for short ones. */
  readonly netlink: Readonly<Record<Family | 'short', Socket>>;
  readonly sets: Pick<IpsetIndex, 'find'>;
  readonly tool: IptablesIo;
  readonly clock: Clock;
  /** Resolves when nothing that is under way can go on without the kernel or a timer. */
  allWait(): Promise<void>;
  readonly ledger?: CommitLedger;
}

/** A script on its way to the kernel. */
interface Restore {
  readonly family: Family;
  readonly script: string;
  readonly compiled: CompiledRestore;
}

/** Errors of the socket: whether the kernel did it is not known. */
const OUTCOME_UNKNOWN: ReadonlySet<string> = new Set(['EIO', 'ENOBUFS']);
/** Scripts up to this length, one policy say, wait for no other: packets wait for them. */
const TINY = 8 * 1024;
/** Scripts up to this length, an endpoint with its dispatch say, go to the kernel together with those of other tables. */
const SHORT = 64 * 1024;

/** {@link IptablesIo} by netlink. */
export class NetlinkIptablesIo implements IptablesIo {
  readonly #options: NetlinkIptablesIoOptions;
  /** What scripts of IPv4 that are under way leave for those of IPv6. */
  readonly #left = new Set<SharedRules>();
  readonly #queues: Record<Family | 'short', Promise<unknown>> = {
    4: Promise.resolve(),
    6: Promise.resolve(),
    short: Promise.resolve(),
  };
  /** Families whose socket failed: the next transaction is the tool's, so that no failure of a socket can last. */
  readonly #distrusted = new Set<Family>();
  /** Short scripts that wait for those of other tables, and what carries them out. */
  #short: { readonly restores: Restore[]; readonly result: Promise<boolean> } | null = null;

  constructor(options: NetlinkIptablesIoOptions) {
    this.#options = options;
  }

  /** See IptablesIo. */
  save(family: Family, table: TableName): Promise<string> {
    return this.#options.tool.save(family, table);
  }

  /** See IptablesIo. */
  readTags(family: Family, table: TableName): Promise<KnownTable | null> {
    return this.#options.tool.readTags(family, table);
  }

  /** See IptablesIo. */
  async restore(family: Family, script: string): Promise<void> {
    if (this.#distrusted.delete(family)) return this.#options.tool.restore(family, script);
    const shared: SharedRules = new Map(family === 4 ? [] : [...this.#left].flatMap((tables) => [...tables]));
    if (family === 4) this.#left.add(shared);
    try {
      const compiled = await this.#compile(family, script, shared);
      const isSent =
        compiled !== null && (await this.#tellingFailures(family, this.#send({ family, script, compiled })));
      // The tool says what is wrong with which line. Nothing of what was refused is in force.
      if (!isSent) await this.#options.tool.restore(family, script);
    } finally {
      this.#left.delete(shared);
    }
  }

  /** See IptablesIo. */
  isAsKnown(family: Family, table: TableName, known: KnownTable): Promise<boolean> {
    return this.#options.tool.isAsKnown(family, table, known);
  }

  /** See IptablesIo. */
  epoch(): number | null {
    return this.#options.tool.epoch();
  }

  #send(restore: Restore): Promise<boolean> {
    const { length } = restore.script;
    if (length <= TINY) return this.#queued('short', [restore]);
    return length <= SHORT ? this.#together(restore) : this.#queued(restore.family, [restore]);
  }

  #compile(family: Family, script: string, shared: SharedRules): Promise<CompiledRestore | null> {
    const { sets, clock } = this.#options;
    return compileRestore({
      family,
      script,
      shared,
      findSet: (name) => sets.find(name),
      slices: new TimeSlices(clock, SLICE_MS),
    });
  }

  /**
   * Carries a short script out with those of other tables that come before all wait: the kernel checks a table at each
   * commit and waits for what the one before deleted, which takes longer than the rules of one change.
   */
  #together(restore: Restore): Promise<boolean> {
    if (this.#short !== null) this.#short.restores.push(restore);
    else {
      const restores = [restore];
      const result = this.#options.allWait().then(() => {
        this.#short = null;
        return this.#queued('short', restores);
      });
      this.#short = { restores, result };
    }
    return this.#short.result;
  }

  #queued(queue: Family | 'short', restores: readonly Restore[]): Promise<boolean> {
    const result = this.#queues[queue].then(() => this.#carryOut(this.#options.netlink[queue], restores));
    this.#queues[queue] = result.catch(() => undefined);
    return result;
  }

  /** False if the kernel refuses one of the scripts; then nothing of them is in force. */
  async #carryOut(socket: Socket, restores: readonly Restore[]): Promise<boolean> {
    const { ledger } = this.#options;
    const length = restores.reduce((sum, { script }) => sum + script.length, 0);
    const work = (): Promise<void> => this.#commit(socket, restores);
    try {
      await (ledger === undefined ? work() : ledger.own(work, length));
      return true;
    } catch (error) {
      const isRefusal = error instanceof NetlinkError && !OUTCOME_UNKNOWN.has(error.code);
      if (!isRefusal && !(error instanceof SetsChangedError)) throw error;
      return false;
    }
  }

  /** All transactions of all scripts as one. @throws NetlinkError */
  async #commit(socket: Socket, restores: readonly Restore[]): Promise<void> {
    const batches = restores.flatMap(({ compiled }) => compiled.batches);
    try {
      if (!restores.every(({ compiled }) => this.#setsAreSame(compiled))) throw new SetsChangedError();
      await socket.commit(joinCompatBatches(batches));
    } finally {
      for (const batch of batches) batch.release();
    }
  }

  #setsAreSame({ sets }: CompiledRestore): boolean {
    for (const [name, { index }] of sets) if (this.#options.sets.find(name)?.index !== index) return false;
    return true;
  }

  /** A failure of the socket as an error after which the table is read again. */
  async #tellingFailures(family: Family, result: Promise<boolean>): Promise<boolean> {
    try {
      return await result;
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      this.#distrusted.add(family);
      const message = `Cannot tell whether the kernel took the rules: ${error.message}`;
      throw new ToolError(message, NO_PROCESS, { cause: error });
    }
  }
}

/** Sets of a script were made anew while it was compiled. */
class SetsChangedError extends Error {}

const NO_PROCESS = { argv: ['nf_tables'], exitCode: null, signal: null, stderrHead: '', durationMs: 0 } as const;
