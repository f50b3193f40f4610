// The nftables back end of one family: everything of a table (rules, maps, sets) wanted by managers, written to the
// kernel by one transaction an apply (dataplane.md section 5).
import type { Clock } from '../../base/clock.js';
import { sleep } from '../../base/clock.js';
import { BugError, DataplaneError, errorMessage } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import type { IpSetReconciler } from '../../ipsets/ip-sets.js';
import type { TableName } from '../../model/family.js';
import type { Features } from '../../model/features.js';
import type { OperationObserver } from '../../model/operation.js';
import type { ApplyResult, Reconciler } from '../../model/reconciler.js';
import type { TableCounts } from '../desired-table.js';
import type { RuleTable } from '../rule-table.js';
import { Turns } from '../turns.js';
import { type Culprits, findCulprits } from './culprits.js';
import { isConflict, type NftFamily, type NftIo } from './io.js';
import { operationsOf } from './operations.js';
import { buildScript, type Script } from './script.js';
import type { SharedChains } from './rendered-chains.js';
import { NftSetFacade } from './set-facade.js';
import { type TablePlan, TableState } from './table-state.js';

/** Name of the IPv4 and the IPv6 table. */
export const IP_TABLE_NAME = 'calico';
/** Name of the ARP table. */
export const ARP_TABLE_NAME = 'calico-arp';

/** What a plane is built with. */
export interface NftablesPlaneOptions {
  readonly family: NftFamily;
  readonly features: Features;
  /** NftablesRefreshInterval in milliseconds; 0 = never. */
  readonly refreshIntervalMs: number;
  readonly io: NftIo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
  /** False for a table that the node can do without (ARP): giving up is then logged instead of rejected. */
  readonly required: boolean;
  /**
   * Shared by all planes: while the kernel works on the transaction of one, the next one is prepared, and not both at the
   * same time, which would keep the kernel waiting. Own ones if left out.
   */
  readonly turns?: Turns;
  /** Shared by the planes of both families; left out where there is no second one. */
  readonly shared?: SharedChains | undefined;
  /** Names of all network devices; asked only while a flowtable with devices is wanted. */
  readonly listDevices?: () => Promise<readonly string[]>;
}

/** How much of each a table wants, over all layers. */
export interface NftCounts extends TableCounts {
  readonly sets: number;
  readonly flowtableDevices: number;
  /** Of those, devices that did not exist when the table was last written. */
  readonly missingFlowtableDevices: number;
}

/** What was refused, and how it was. */
interface Refusal {
  readonly error: unknown;
  readonly script: Script;
}

const MAX_ATTEMPTS = 11;
/** So many failures in a row, and the table is made anew: what is in it may be what blocks the change. */
const FAILURES_BEFORE_REBUILD = 5;
/** After giving up, or when a listing for refresh failed, with refresh off. */
const DEFAULT_RETRY_MS = 180_000;
const LISTING_RETRY_MS = 10_000;
const MISSING_DEVICE_RETRY_MS = 5_000;
const MISSING_DEVICE_RETRIES = 5;
/** Foreign changes make us read again, but never for more than a twentieth of the time. */
const MIN_READ_GAP_MS = 1_000;
const READ_SHARE = 20;

/**
 * One table of nftables: `ip calico`, `ip6 calico` or `arp calico-arp`.
 *
 * Adopts what it finds by the hashes in rule comments and by the elements of sets and maps, so a restart over an
 * unchanged kernel writes nothing. Reads only at start, at refresh, after a failure and when the generation moved
 * without it. A transaction that the kernel refuses leaves the old ruleset in force; the object to blame is closed
 * (see Refusal), all else is written.
 */
export class NftablesPlane implements Reconciler {
  readonly name: string;
  readonly family: NftFamily;
  /** Sets of this family, for managers and the apply loop. Written with the table. */
  readonly sets: IpSetReconciler;
  readonly #options: NftablesPlaneOptions;
  readonly #log: Logger;
  readonly #state: TableState;
  readonly #turns: Turns;
  #needsRead = true;
  /** The kernel was listed at least once. */
  #known = false;
  #seenGeneration: number | null = null;
  #readAllowedAtMs = Number.NEGATIVE_INFINITY;
  #refreshedAtMs: number;
  #retryReadAtMs = Number.POSITIVE_INFINITY;
  #missingDeviceRetries = 0;
  #missingDevices = 0;
  /** A table that is not required was given up on until then. */
  #givenUpUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: NftablesPlaneOptions) {
    this.#options = options;
    this.family = options.family;
    const table = options.family === 'arp' ? ARP_TABLE_NAME : IP_TABLE_NAME;
    this.name = `nftables ${options.family} ${table}`;
    this.#log = options.log.child({ table: `${options.family} ${table}` });
    this.#state = new TableState({
      family: options.family,
      table,
      features: options.features,
      log: this.#log,
      shared: options.shared,
    });
    this.#turns = options.turns ?? new Turns();
    this.sets = new NftSetFacade({ sets: this.#state.sets, queueResync: () => this.queueResync() });
    this.#refreshedAtMs = options.clock.nowMs();
  }

  /** The desired state of a layer. The ARP table has `filter` only. */
  layer(table: TableName): RuleTable {
    const layer = this.#state.layers.get(table);
    if (layer === undefined) throw new BugError(`table ${this.name} has no layer ${table}`);
    return layer;
  }

  /** What is wanted, for metrics. */
  counts(): NftCounts {
    const { layers, sets, flowtableDevices } = this.#state;
    const total = { chains: 0, rules: 0, maps: 0, sets: sets.wantedCount };
    for (const layer of layers.values()) {
      const { chains, rules, maps } = layer.desired.counts();
      total.chains += chains;
      total.rules += rules;
      total.maps += maps;
    }
    return { ...total, flowtableDevices: flowtableDevices.size, missingFlowtableDevices: this.#missingDevices };
  }

  /** Devices whose established flows bypass the rules (5.6), or null for no flowtable. */
  setFlowtable(devices: ReadonlySet<string> | null): void {
    this.#state.flowtable = devices;
    this.#missingDeviceRetries = 0;
  }

  /** See Reconciler. What was refused is tried again too. Nothing is read if the generation says nothing changed. */
  queueResync(): void {
    this.#needsRead = true;
    this.#state.chains.retryRefused();
    this.#state.sets.retryRefused();
  }

  /** See Reconciler. Rejects after the eleventh failure, unless the table is not required. */
  async apply(): Promise<ApplyResult> {
    const { clock, refreshIntervalMs } = this.#options;
    // Eleven attempts at each apply would hold up the tables that are required.
    const givenUpForMs = this.#givenUpUntilMs - clock.nowMs();
    if (givenUpForMs > 0) return this.#result(0, [givenUpForMs]);
    if (refreshIntervalMs > 0 && clock.nowMs() - this.#refreshedAtMs >= refreshIntervalMs) {
      this.#refreshedAtMs = clock.nowMs();
      this.queueResync();
    }
    if (clock.nowMs() >= this.#retryReadAtMs) {
      this.#retryReadAtMs = Number.POSITIVE_INFINITY;
      this.#needsRead = true;
    }
    const wishes: number[] = [];
    try {
      await this.#lookAtGeneration(wishes);
      const operations = await this.#write(wishes);
      if (refreshIntervalMs > 0) wishes.push(this.#refreshedAtMs + refreshIntervalMs - clock.nowMs());
      return this.#result(operations, wishes);
    } catch (error) {
      this.#needsRead = true;
      if (this.#options.required) throw error;
      this.#log.error('The table is not programmed; it is tried again later', { reason: errorMessage(error) });
      const retryMs = refreshIntervalMs > 0 ? refreshIntervalMs : DEFAULT_RETRY_MS;
      this.#givenUpUntilMs = clock.nowMs() + retryMs;
      return this.#result(0, [retryMs]);
    }
  }

  #result(operations: number, wishes: readonly number[]): ApplyResult {
    const refused = this.#state.refusals();
    return wishes.length === 0
      ? { operations, refused }
      : { operations, refused, rescheduleAfterMs: Math.max(1, Math.min(...wishes)) };
  }

  /** Asks whether anyone else changed the ruleset; reads again if so, soon or when that is affordable. */
  async #lookAtGeneration(wishes: number[]): Promise<void> {
    const generation = await this.#options.io.generation();
    if (generation === null || !this.#known) return;
    if (generation === this.#seenGeneration) {
      this.#needsRead = false;
      return;
    }
    if (this.#needsRead) return;
    const waitMs = this.#readAllowedAtMs - this.#options.clock.nowMs();
    if (waitMs > 0) wishes.push(waitMs);
    else this.#needsRead = true;
  }

  /** Reads where needed and writes what differs, with retries. Returns the number of operations. */
  async #write(wishes: number[]): Promise<number> {
    const { clock } = this.#options;
    let fresh = false;
    for (let failures = 0; ; ) {
      try {
        if (this.#needsRead) fresh = await this.#read(failures > 0, wishes);
        if (failures >= FAILURES_BEFORE_REBUILD) this.#state.rebuild();
        const devices = await this.#existingDevices();
        const { plan, refusal } = await this.#planAndTry(devices, wishes);
        if (refusal === undefined) return this.#announce(plan);
        if (fresh && (await this.#closeCulprits(plan, refusal))) continue;
        throw refusal.error;
      } catch (error) {
        failures++;
        this.#needsRead = true;
        this.#complain(error, failures);
        await sleep(clock, 2 ** (failures - 1));
      }
    }
  }

  #complain(error: unknown, failures: number): void {
    const reason = errorMessage(error);
    if (failures < MAX_ATTEMPTS && !(error instanceof BugError)) {
      const message = isConflict(error)
        ? 'Another program changed nftables meanwhile'
        : 'nftables could not be written';
      this.#log.warn(`${message}; trying again`, { attempt: failures, reason });
      return;
    }
    throw new DataplaneError(
      error instanceof DataplaneError ? error.kind : 'tool',
      `${this.name} could not be programmed in ${failures} attempts, the rules in force stay as they are: ${reason}`,
      { cause: error },
    );
  }

  async #planAndTry(devices: ReadonlySet<string>, wishes: number[]): Promise<{ plan: TablePlan; refusal?: Refusal }> {
    const endTurn = await this.#turns.take();
    try {
      const slices = new TimeSlices(this.#options.clock, SLICE_MS);
      const plan = await this.#state.plan(devices, slices);
      this.#retryMissingDevices(plan, wishes);
      const refusal = plan.isEmpty ? undefined : await this.#tryTransaction(plan, slices, endTurn);
      return refusal === undefined ? { plan } : { plan, refusal };
    } finally {
      endTurn();
    }
  }

  async #tryTransaction(plan: TablePlan, slices: TimeSlices, onReady: () => void): Promise<Refusal | undefined> {
    const script = await buildScript(plan.changes, slices);
    try {
      await this.#options.io.transaction(script.statements, onReady);
      return undefined;
    } catch (error) {
      this.#state.abort(plan);
      return { error, script };
    }
  }

  /** Closes what the kernel refuses. False if nothing could be blamed. */
  async #closeCulprits(plan: TablePlan, refusal: Refusal): Promise<boolean> {
    const { io, clock } = this.#options;
    const culprits = await findCulprits({ io, clock }, this.#state.chains, plan.changes, refusal.script, refusal.error);
    return this.#close(culprits);
  }

  #close(culprits: Culprits): boolean {
    let closed = false;
    for (const [chain, reason] of culprits.chains) {
      this.#state.chains.refuse(chain, reason);
      this.#log.error('The kernel refuses a chain; it is closed until it changes', { chain: chain.fullName, reason });
      closed = true;
    }
    for (const [set, reason] of culprits.sets) {
      if (!this.#state.sets.refuse(set, reason)) continue;
      this.#log.error('The kernel refuses a set; the chains that use it are closed until it changes', { set, reason });
      closed = true;
    }
    return closed;
  }

  #announce(plan: TablePlan): number {
    this.#state.commit(plan);
    const operations = operationsOf(plan.changes);
    for (const operation of operations) this.#options.onOperation(operation);
    return operations.length;
  }

  /**
   * Lists the table. True if it did; false if a listing that was only for refresh failed, which changes nothing: the
   * table is never taken for empty because it cannot be seen.
   */
  async #read(afterFailure: boolean, wishes: number[]): Promise<boolean> {
    const { io, clock, family } = this.#options;
    const startMs = clock.nowMs();
    try {
      const generation = await io.generation();
      const listed = await io.listTable(family, this.#state.table);
      await this.#state.adopt(listed, new TimeSlices(clock, SLICE_MS));
      this.#seenGeneration = generation;
    } catch (error) {
      if (afterFailure || !this.#known) throw error;
      this.#log.warn('The table could not be listed; its last known state is used', { reason: errorMessage(error) });
      this.#needsRead = false;
      this.#retryReadAtMs = clock.nowMs() + LISTING_RETRY_MS;
      wishes.push(LISTING_RETRY_MS);
      return false;
    }
    this.#known = true;
    this.#needsRead = false;
    const nowMs = clock.nowMs();
    this.#readAllowedAtMs = nowMs + Math.max(MIN_READ_GAP_MS, READ_SHARE * (nowMs - startMs));
    return true;
  }

  async #existingDevices(): Promise<ReadonlySet<string>> {
    const { listDevices } = this.#options;
    if (listDevices === undefined || this.#state.flowtableDevices.size === 0) return new Set();
    return new Set(await listDevices());
  }

  #retryMissingDevices(plan: TablePlan, wishes: number[]): void {
    const missing = plan.changes.flowtable?.missing ?? [];
    this.#missingDevices = missing.length;
    if (missing.length === 0 || this.#missingDeviceRetries >= MISSING_DEVICE_RETRIES) return;
    this.#missingDeviceRetries++;
    this.#log.info('Devices of the flowtable do not exist yet', { devices: missing });
    wishes.push(MISSING_DEVICE_RETRY_MS);
  }
}
