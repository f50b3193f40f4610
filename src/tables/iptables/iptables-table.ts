// One iptables table of one family: keeps the desired state, knows the kernel's, and writes the difference with one
// iptables-restore per apply. Invariants and reasons: docs/design/tables.md.
import type { Clock } from '../../base/clock.js';
import { sleep } from '../../base/clock.js';
import { DataplaneError, errorMessage, ToolError } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import type { Chain, Rule, VerdictMap } from '../../model/chain.js';
import type { Family, TableName } from '../../model/family.js';
import type { Features } from '../../model/features.js';
import type { OperationObserver } from '../../model/operation.js';
import type { ApplyResult, Reconciler } from '../../model/reconciler.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import { CheckSchedule } from '../check-schedule.js';
import { DesiredTable, type DirtyObjects, type TableCounts } from '../desired-table.js';
import { MAX_WRITE_ATTEMPTS, READ_RETRY_DELAYS_MS, writeRetryDelayMs } from '../retry.js';
import type { RuleTable } from '../rule-table.js';
import type { SharedRenderings } from '../shared-renderings.js';
import { Turns } from '../turns.js';
import { BlameCounter } from './blame-counter.js';
import { renderChain, type RenderedChain } from './hash.js';
import { isRefusal, type IptablesIo } from './io.js';
import { equalLists, findDifferences, planTable, type TablePlan } from './plan.js';
import { parseSave, type KnownTable } from './read.js';
import { searchRefused } from './refusal-search.js';
import type { TextContext } from './render.js';
import type { LineOwner } from './restore-script.js';

/** What an {@link IptablesTable} is made of. Durations in milliseconds; `refreshIntervalMs` 0 disables the refresh. */
export interface IptablesTableOptions {
  readonly family: Family;
  readonly table: TableName;
  readonly backend: 'legacy' | 'nft';
  readonly insertMode: 'insert' | 'append';
  readonly refreshIntervalMs: number;
  readonly postWriteCheckIntervalMs: number;
  readonly features: Features;
  readonly io: IptablesIo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
  /** Shared by all tables: while a tool works for one, the script of the next is made. Own ones if left out. */
  readonly turns?: Turns;
  /** Shared with this table of the other family; left out where there is none. */
  readonly shared?: SharedRenderings<RenderedChain> | undefined;
}

/** Reasons to read for which it is enough to know the hashes of all rules; for others, what is printed counts. */
const READ_BY_TAGS: ReadonlySet<ResyncReason> = new Set(['start', 'asked for', 'refresh', 'post-write']);

type ResyncReason = 'start' | 'asked for' | 'refresh' | 'post-write' | 'edit of a kernel chain' | 'failed write';

/** A pod changes twenty. */
const MANY_CHAINS = 128;

/** The reconciler of one table. */
export class IptablesTable implements RuleTable, Reconciler {
  readonly name: string;
  readonly family: Family;
  readonly table: TableName;
  readonly #options: IptablesTableOptions;
  readonly #log: Logger;
  readonly #text: TextContext;
  readonly #desired: DesiredTable;
  readonly #schedule: CheckSchedule;
  readonly #turns: Turns;
  /** Hashes of wanted chains as last rendered; an entry counts only for the very same chain object. */
  readonly #rendered = new Map<string, { readonly rules: readonly Rule[]; readonly hashes: readonly string[] }>();
  readonly #undeletable = new Set<string>();
  #known: KnownTable | null = null;
  #resyncReason: ResyncReason = 'start';
  #readEpoch: number | null = null;

  constructor(options: IptablesTableOptions) {
    this.family = options.family;
    this.table = options.table;
    this.name = `iptables ${options.table} v${options.family}`;
    this.#options = options;
    this.#log = options.log.child({ table: `${options.table}/${options.family}` });
    this.#text = { family: options.family, features: options.features };
    this.#desired = new DesiredTable({ table: options.table, log: this.#log });
    this.#schedule = new CheckSchedule(options);
    this.#turns = options.turns ?? new Turns();
  }

  setInsertedRules(hook: string, rules: readonly Rule[]): void {
    this.#desired.setInsertedRules(hook, rules);
  }

  setAppendedRules(hook: string, rules: readonly Rule[]): void {
    this.#desired.setAppendedRules(hook, rules);
  }

  setChain(chain: Chain): void {
    this.#desired.setChain(chain);
  }

  deleteChain(name: string): void {
    this.#desired.deleteChain(name);
  }

  /** What is wanted, for metrics. */
  counts(): TableCounts {
    return this.#desired.counts();
  }

  /** Does nothing: iptables has no verdict maps. */
  setVerdictMap(_map: VerdictMap): void {
    // Managers call all tables alike.
  }

  /** Does nothing: iptables has no verdict maps. */
  changeVerdictMap(_name: string, _changes: ReadonlyMap<string, string | null>): void {
    // Dispatch is a tree of chains here.
  }

  /** Does nothing: iptables has no verdict maps. */
  deleteVerdictMap(_name: string): void {
    // Managers call all tables alike.
  }

  queueResync(): void {
    this.#resync('asked for');
    this.#retryRefused();
  }

  /**
   * Reads if there is a reason to, plans, and writes with up to 11 attempts. What the kernel refuses to the end is
   * closed and reported. Rejects with a ToolError when the table cannot be read or written at all.
   */
  async apply(): Promise<ApplyResult> {
    const due = this.#schedule.takeDue();
    if (due !== null && !(await this.#isUntouched())) this.#resync(due);
    else if (due === 'refresh') this.#schedule.noteUntouched();
    if (due === 'refresh') this.#retryRefused();
    const operations = await this.#writeUntilDone();
    const next = this.#schedule.nextDueMs();
    return {
      ...(next === undefined ? {} : { rescheduleAfterMs: next }),
      refused: this.#desired.refusedChains().map(({ name, reason }) => ({
        family: this.family,
        kind: 'chain',
        object: name,
        reason,
      })),
      operations,
    };
  }

  async #writeUntilDone(): Promise<number> {
    const blame = new BlameCounter();
    for (let attempt = 1; ; attempt++) {
      const isFresh = this.#known === null;
      const known = this.#known ?? (await this.#read());
      const dirty = this.#desired.takeDirty();
      if (dirty.chains.size >= MANY_CHAINS) this.#options.io.expectLongScript?.(this.family, this.table);
      const plan = await this.#plan(known, dirty, isFresh);
      if (plan.needsFreshView) {
        this.#desired.putBack(dirty);
        this.#resync('edit of a kernel chain');
        attempt--;
        continue;
      }
      const script = plan.script.toString();
      if (script === '') return 0;
      try {
        await this.#write(script);
      } catch (error) {
        this.#desired.putBack(dirty);
        this.#resync('failed write');
        if (!(error instanceof ToolError)) throw error;
        if (await this.#handleFailure(error, plan, attempt, isFresh, blame)) attempt = 0;
        continue;
      }
      this.#commit(known, plan);
      if (attempt > 1) this.#log.info('Wrote the table after failures', { attempts: attempt });
      return plan.operations.length;
    }
  }

  async #plan(known: KnownTable, dirty: DirtyObjects, isFresh: boolean): Promise<TablePlan> {
    const endTurn = await this.#turns.take();
    const input = {
      ...this.#options,
      wanted: this.#desired,
      known,
      dirtyChains: dirty.chains,
      dirtyHooks: dirty.hooks,
      isFresh,
      undeletable: this.#undeletable,
      renderChain: (chain: Chain) => this.#renderChain(chain),
      renderHook: (hashedName: string, rules: readonly Rule[]) => this.#render(hashedName, rules),
    };
    try {
      return await planTable(input, new TimeSlices(this.#options.clock, SLICE_MS));
    } finally {
      if (this.family === 6) this.#options.shared?.clear();
      endTurn();
    }
  }

  async #write(script: string): Promise<void> {
    const startMs = this.#options.clock.nowMs();
    await this.#options.io.restore(this.family, script);
    this.#schedule.noteWrite(startMs);
  }

  #commit(known: KnownTable, plan: TablePlan): void {
    for (const [name, chain] of plan.effects) {
      if (chain === null) {
        known.delete(name);
        this.#rendered.delete(name);
      } else known.set(name, chain);
    }
    for (const operation of plan.operations) this.#options.onOperation(operation);
  }

  /** What a check after a write or a refresh would find is known: nobody else has committed since we read, or our rules are there. */
  async #isUntouched(): Promise<boolean> {
    const { io } = this.#options;
    if (this.#known === null) return false;
    const epoch = io.epoch();
    if (epoch !== null) return epoch === this.#readEpoch;
    return io.isAsKnown(this.family, this.table, this.#known);
  }

  /** Reads the table, makes it the known state and what differs dirty. */
  async #read(): Promise<KnownTable> {
    const startMs = this.#options.clock.nowMs();
    this.#readEpoch = this.#options.io.epoch();
    this.#log.debug('Reading the table', { reason: this.#resyncReason });
    const tagged = READ_BY_TAGS.has(this.#resyncReason)
      ? await this.#options.io.readTags(this.family, this.table)
      : null;
    const known = tagged ?? parseSave(await this.#saveWithRetries(), this.table);
    this.#schedule.noteRead(startMs);
    this.#known = known;
    this.#desired.putBack(
      findDifferences(known, this.#desired.referencedNames(), this.#desired.hookNames(), (name) =>
        this.#renderedHashes(name),
      ),
    );
    return known;
  }

  async #saveWithRetries(): Promise<string> {
    for (const delayMs of READ_RETRY_DELAYS_MS) {
      try {
        return await this.#options.io.save(this.family, this.table);
      } catch (error) {
        this.#log.warn('Cannot read the table, trying again', { error: errorMessage(error), delayMs });
        await sleep(this.#options.clock, delayMs);
      }
    }
    return this.#options.io.save(this.family, this.table);
  }

  /** Undefined also for a chain that was not rendered yet: then the plan does it, in slices, and compares itself. */
  #renderedHashes(name: string): readonly string[] | undefined {
    const rendered = this.#rendered.get(name);
    return rendered !== undefined && rendered.rules === this.#desired.chain(name)?.rules ? rendered.hashes : undefined;
  }

  #renderChain(chain: Chain): RenderedChain {
    const { family, shared } = this.#options;
    const made = family === 6 ? shared?.take(chain) : undefined;
    if (made !== undefined) {
      this.#remember(chain.name, chain.rules, made.hashes);
      return made;
    }
    const rendered = this.#render(chain.name, chain.rules);
    // What was refused just now is another chain now.
    if (family === 4 && this.#desired.chain(chain.name) === chain) shared?.leave(chain, rendered);
    return rendered;
  }

  #render(chainName: string, rules: readonly Rule[]): RenderedChain {
    let rendered: RenderedChain;
    try {
      rendered = renderChain(chainName, rules, this.#text);
    } catch (error) {
      // One chain that cannot be printed closes what needs it; hook rules and static chains have no stand-in.
      if (!(error instanceof DataplaneError) || !this.#refuse(chainName, error.message)) throw error;
      return renderChain(chainName, this.#desired.chain(chainName)?.rules ?? [], this.#text);
    }
    if (this.#desired.isReferenced(chainName)) this.#remember(chainName, rules, rendered.hashes);
    else this.#rendered.delete(chainName);
    return rendered;
  }

  /** Keeps the hashes of a wanted chain. What was read and is the same need not be kept besides. */
  #remember(name: string, rules: readonly Rule[], hashes: readonly string[]): void {
    this.#rendered.set(name, { rules, hashes });
    const known = this.#known?.get(name);
    if (known !== undefined && known.hashes !== hashes && equalLists(known.hashes, hashes)) {
      this.#known?.set(name, { ...known, hashes });
    }
  }

  #resync(reason: ResyncReason): void {
    this.#known = null;
    this.#resyncReason = reason;
  }

  #retryRefused(): void {
    this.#undeletable.clear();
    this.#desired.retryRefused();
  }

  /** Closes a chain. False if it is one that must not be closed: then the table cannot be written. */
  #refuse(name: string, reason: string): boolean {
    if (!this.#desired.refuse(name, reason)) return false;
    this.#log.error('The kernel refuses a chain; it is closed until it changes', { chain: name, reason });
    return true;
  }

  /** Decides after a failed write. Resolves to true if the plan will be another one and attempts count from the start. */
  async #handleFailure(
    error: ToolError,
    plan: TablePlan,
    attempt: number,
    isFresh: boolean,
    blame: BlameCounter,
  ): Promise<boolean> {
    const line = error.failure.inputLine;
    const owner = line === undefined ? null : plan.script.ownerOfLine(line);
    if (isFresh && blame.isEnough(owner) && (await this.#giveUpOn(owner, plan, error))) {
      blame.nextAtOnce();
      return true;
    }
    if (attempt < MAX_WRITE_ATTEMPTS) {
      const delayMs = writeRetryDelayMs(attempt);
      this.#log.warn('Cannot write the table, reading it again and trying once more', {
        error: error.message,
        attempt,
        delayMs,
      });
      await sleep(this.#options.clock, delayMs);
      return false;
    }
    throw new ToolError(
      `Table ${this.table} of IPv${this.family} could not be written in ${attempt} attempts; nothing of the last one is in force. ` +
        `Look for another program that changes the table, and at the kernel log: ${error.message}`,
      error.failure,
      { cause: error },
    );
  }

  /** Puts something that can be written in the place of what cannot. False if there is no such thing. */
  async #giveUpOn(owner: LineOwner | null, plan: TablePlan, error: ToolError): Promise<boolean> {
    switch (owner?.kind) {
      case 'chain':
        return this.#desired.chain(owner.name)?.refused === undefined && this.#refuse(owner.name, error.message);
      case 'delete':
        this.#log.warn('A chain that is no longer needed cannot be deleted; it is left empty', {
          chain: owner.name,
          error: error.message,
        });
        this.#undeletable.add(owner.name);
        return true;
      case 'hook':
        return false;
      case undefined:
        return this.#refuseWhatProbesRefuse(plan, error);
    }
  }

  /** For errors that name no rule. False if the rules by themselves are accepted, or the tool does not get to them. */
  async #refuseWhatProbesRefuse(plan: TablePlan, error: ToolError): Promise<boolean> {
    if (!isRefusal(error)) return false;
    const suspects: Chain[] = [];
    for (const name of plan.effects.keys()) {
      const chain = this.#desired.chain(name);
      if (chain !== undefined && chain.refused === undefined) suspects.push(chain);
    }
    const { io, family, table } = this.#options;
    const refused = await searchRefused({ io, family, table, text: this.#text }, suspects);
    const closed = refused.filter(({ name }) =>
      this.#refuse(name, `the kernel refuses one of its rules: ${error.message}`),
    );
    return closed.length > 0;
  }
}
