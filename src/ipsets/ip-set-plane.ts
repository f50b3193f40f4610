// The IP sets of one family in the kernel: what managers want, what the kernel is known to have, and the applies
// that make the two equal (dataplane.md 4.7). Reading happens at start, after failures and by the refresh timer only.
import { sleep, type Clock } from '../base/clock.js';
import { DataplaneError, errorMessage, ToolError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { TimeSlices } from '../base/time-slices.js';
import type { Family } from '../model/family.js';
import { ipSetName, type IpSetSpec } from '../model/ip-set.js';
import type { Operation, OperationObserver } from '../model/operation.js';
import type { ApplyResult } from '../model/reconciler.js';
import type { IpSetReconciler } from './ip-sets.js';
import type { IpSetIo } from './kernel-set.js';
import { isTempIpSetName, ownsIpSet, tempIpSetName } from './ownership.js';
import { PendingDeletions } from './pending-deletions.js';
import { RefusalLedger } from './refusal-ledger.js';
import { SetWriter } from './set-writer.js';
import { isToolBroken } from './tool-failure.js';
import { TrackedSet } from './tracked-set.js';

/** What the plane is built from. */
export interface IpSetPlaneOptions {
  readonly family: Family;
  /** Sets destroyed by one `applyDeletions`; Felix's figure is 1. */
  readonly maxDeletionsPerApply: number;
  readonly io: IpSetIo;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
}

/** Attempts of one apply that ipset itself may fail, with 1, 2, 4 … ms between; then the dataplane must not go on. */
const MAX_ATTEMPTS = 10;
const FIRST_WAIT_MS = 1;
const LAST_WAIT_MS = 512;
/** From this attempt on everything is read again before the next. */
const FULL_RESYNC_FROM_ATTEMPT = 5;
/** Times that the kernel may refuse one set in an apply before the set counts as refused. */
const MAX_REFUSALS_PER_APPLY = 3;
/** Time that one apply gives to the re-reading of sets in the background. */
const BACKGROUND_SLICE_MS = 100;
const RESCHEDULE_MS = 100;
/** Longest time that this plane holds the event loop. */
const LOOP_SLICE_MS = 25;
const TEMP_DELETIONS_PER_APPLY = 1;

/** Reconciler of the ipset sets of one family. Managers call the `IpSets` half, the apply loop the other. */
export class IpSetPlane implements IpSetReconciler {
  readonly family: Family;
  readonly name: string;
  readonly #options: IpSetPlaneOptions;
  readonly #writer: SetWriter;
  /** By name in the kernel: wanted sets, and withdrawn ones until they are destroyed. */
  readonly #sets = new Map<string, TrackedSet>();
  readonly #dirty = new Set<TrackedSet>();
  readonly #mustList = new Set<TrackedSet>();
  readonly #background = new Set<TrackedSet>();
  readonly #deletions: PendingDeletions;
  readonly #tempDeletions: PendingDeletions;
  readonly #refusals: RefusalLedger;
  #fullResync = true;
  #backgroundResync = false;
  #nextTemp = 0;
  #operations = 0;

  constructor(options: IpSetPlaneOptions) {
    this.#options = options;
    this.family = options.family;
    this.name = `ipsets/${options.family}`;
    const onOperation = (operation: Operation): void => {
      this.#operations++;
      options.onOperation(operation);
    };
    const { io, log } = options;
    this.#deletions = new PendingDeletions({ io, log, onOperation });
    this.#tempDeletions = new PendingDeletions({ io, log, onOperation });
    this.#refusals = new RefusalLedger(options.family, options.clock, log);
    this.#writer = new SetWriter({
      io,
      onOperation,
      claimTempName: () => this.#claimTempName(),
      releaseTempName: (name) => this.#tempDeletions.add(name),
    });
  }

  setSet(spec: IpSetSpec, members: Iterable<string>): void {
    const name = ipSetName(this.family, spec.id);
    let set = this.#sets.get(name);
    if (set === undefined || (set.id !== spec.id && !set.wanted)) {
      set = new TrackedSet(this.family, spec);
      this.#sets.set(name, set);
      // All names are known from the last listing: a new one needs no look at the kernel.
      if (!this.#fullResync && !this.#deletions.has(name)) set.kernel = 'absent';
    } else if (set.id !== spec.id) {
      this.#refusals.refuseId(spec.id, `its kernel name ${name} is taken by the set ${set.id}`);
      return;
    }
    if (set.spec.type !== spec.type || set.spec.maxSize !== spec.maxSize) set.kernel = 'unknown';
    if (this.#deletions.hasFailed(name)) set.kernel = 'unknown';
    set.spec = spec;
    set.wanted = true;
    this.#deletions.drop(name);
    set.queue({ kind: 'replace', members });
    this.#dirty.add(set);
  }

  /** Sets that are wanted. */
  get wantedCount(): number {
    let count = 0;
    for (const set of this.#sets.values()) if (set.wanted) count += 1;
    return count;
  }

  addMembers(id: string, members: Iterable<string>): void {
    this.#queue(id, 'add', members);
  }

  removeMembers(id: string, members: Iterable<string>): void {
    this.#queue(id, 'remove', members);
  }

  removeSet(id: string): void {
    this.#refusals.clearId(id);
    const set = this.#find(id);
    if (set === null) return;
    set.wanted = false;
    this.#refusals.clear(set);
    this.#dirty.delete(set);
    this.#mustList.delete(set);
    this.#background.delete(set);
    // Before the first listing nothing is known: the listing then finds it, if it is there.
    if (set.kernel === 'absent' || this.#fullResync) this.#sets.delete(set.name);
    else this.#deletions.add(set.name);
  }

  hasSet(id: string): boolean {
    return this.#find(id) !== null;
  }

  /** The refresh timer: the next applies list the names and re-read the sets, a slice of time in each (4.7). */
  queueResync(): void {
    this.#backgroundResync = true;
  }

  async apply(): Promise<ApplyResult> {
    this.#operations = 0;
    const slices = new TimeSlices(this.#options.clock, LOOP_SLICE_MS);
    for (const set of this.#dirty) await set.settle(slices);
    await this.#reconcile(slices);
    await this.#tempDeletions.destroySome(TEMP_DELETIONS_PER_APPLY);
    const waits = [this.#refusals.nextRetryMs()];
    if (this.#background.size > 0 || this.#tempDeletions.hasWaiting) waits.push(RESCHEDULE_MS);
    return this.#result(waits);
  }

  async applyDeletions(): Promise<ApplyResult> {
    this.#operations = 0;
    for (const name of await this.#deletions.destroySome(this.#options.maxDeletionsPerApply)) {
      if (this.#sets.get(name)?.wanted === false) this.#sets.delete(name);
    }
    return this.#result(this.#deletions.hasWaiting ? [RESCHEDULE_MS] : []);
  }

  #result(waits: readonly (number | null)[]): ApplyResult {
    const times = waits.filter((wait) => wait !== null);
    return {
      refused: this.#refusals.list(),
      operations: this.#operations,
      ...(times.length === 0 ? {} : { rescheduleAfterMs: Math.min(...times) }),
    };
  }

  #find(id: string): TrackedSet | null {
    const set = this.#sets.get(ipSetName(this.family, id));
    return set !== undefined && set.wanted && set.id === id ? set : null;
  }

  #queue(id: string, kind: 'add' | 'remove', members: Iterable<string>): void {
    const set = this.#find(id);
    if (set === null) {
      this.#options.log.warn(`Members for the IP set ${id}, which is not wanted; ignored`, { family: this.family });
      return;
    }
    set.queue({ kind, members });
    this.#dirty.add(set);
  }

  /** Reads what must be read and writes what differs, until nothing is left or the attempts are used up. */
  async #reconcile(slices: TimeSlices): Promise<void> {
    const { clock, log } = this.#options;
    const backgroundEndMs = clock.nowMs() + BACKGROUND_SLICE_MS;
    this.#refusals.startApply(this.#dirty);
    let failed = 0;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LAST_WAIT_MS)) {
      try {
        await this.#read(slices, backgroundEndMs);
        if (await this.#write(slices)) return;
      } catch (error) {
        failed++;
        if (failed === MAX_ATTEMPTS) throw this.#fatal(error);
        log.warn('IP sets cannot be read or written, trying again', { attempt: failed, error: errorMessage(error) });
        if (failed >= FULL_RESYNC_FROM_ATTEMPT) this.#fullResync = true;
      }
      await sleep(clock, waitMs);
    }
  }

  #fatal(error: unknown): unknown {
    const message = `IP sets of IPv${this.family} could not be programmed in ${MAX_ATTEMPTS} attempts: ${errorMessage(error)}`;
    return error instanceof ToolError
      ? new ToolError(message, error.failure, { cause: error })
      : new DataplaneError('tool', message, { cause: error });
  }

  async #read(slices: TimeSlices, backgroundEndMs: number): Promise<void> {
    if (this.#fullResync || this.#backgroundResync) await this.#listNames(slices);
    for (const set of this.#dirty) {
      if (set.kernel === 'unknown' && !this.#refusals.mustWait(set)) this.#mustList.add(set);
    }
    for (const set of this.#mustList) {
      await this.#list(set, slices);
      this.#mustList.delete(set);
    }
    for (const set of this.#background) {
      if (this.#options.clock.nowMs() >= backgroundEndMs) break;
      this.#background.delete(set);
      await this.#list(set, slices);
    }
  }

  async #listNames(slices: TimeSlices): Promise<void> {
    const names = new Set(await this.#options.io.listNames());
    const all = this.#fullResync;
    this.#fullResync = false;
    this.#backgroundResync = false;
    for (const set of this.#sets.values()) {
      if (!set.wanted) {
        if (!names.has(set.name)) this.#sets.delete(set.name);
      } else if (!names.has(set.name)) {
        if (set.kernel !== 'absent') await set.adopt(null, slices);
        this.#mustList.delete(set);
        this.#background.delete(set);
        this.#dirty.add(set);
      } else if (all || set.kernel === 'absent' || set.kernel === 'unknown') {
        this.#mustList.add(set);
      } else {
        this.#background.add(set);
      }
    }
    const unwanted = [...names].filter((name) => ownsIpSet(this.family, name) && this.#sets.get(name)?.wanted !== true);
    this.#tempDeletions.resync(unwanted.filter((name) => isTempIpSetName(this.family, name)));
    this.#deletions.resync(unwanted.filter((name) => !isTempIpSetName(this.family, name)));
  }

  async #list(set: TrackedSet, slices: TimeSlices): Promise<void> {
    try {
      if (await this.#isAsListed(set)) return;
      await set.adopt(await this.#options.io.list(set.name), slices);
    } catch (error) {
      if (error instanceof ToolError && isToolBroken(error)) {
        this.#mustList.add(set);
        throw error;
      }
      // ipset cannot print it, or not as we know it: whatever it is, it is not what we make.
      this.#options.log.warn(`IP set ${set.name} cannot be read and is built anew`, { error: errorMessage(error) });
      set.kernel = 'different';
    }
    if (!set.isInSync) this.#dirty.add(set);
  }

  /** Whether nobody has changed it since it was listed. */
  async #isAsListed(set: TrackedSet): Promise<boolean> {
    if (set.kernel !== 'matching' || set.digest === null) return false;
    return (await this.#options.io.digest(set.name)) === set.digest;
  }

  /** Writes every dirty set that may be written. Returns false when a refused set is to be tried again at once. */
  async #write(slices: TimeSlices): Promise<boolean> {
    const changed: TrackedSet[] = [];
    const rebuilt: TrackedSet[] = [];
    for (const set of this.#dirty) {
      // If somebody takes back what is written now, the listing is the old one, and what is known is not.
      if (!set.isInSync) set.digest = null;
      const reason = set.ownRefusal();
      if (reason !== null) {
        this.#refusals.refuse(set, reason);
        if (set.unfinished) await this.#writer.withdraw(set, slices);
      } else if (!this.#refusals.mustWait(set)) {
        if (set.kernel === 'absent' || set.kernel === 'matching') changed.push(set);
        else rebuilt.push(set);
      }
    }
    const failures = await this.#writer.writeChanges(changed, slices);
    for (const set of rebuilt) {
      // The wrong type in use stays so until the rules that use it are closed: no point in trying at once again.
      const tries = set.kernel === 'wrong-type' ? MAX_REFUSALS_PER_APPLY : 1;
      const failure = await this.#writer.rebuild(set, slices);
      if (failure === null) continue;
      failures.set(set, failure);
      set.failures += tries - 1;
    }
    for (const [set, error] of failures) {
      set.failures++;
      if (set.failures < MAX_REFUSALS_PER_APPLY) continue;
      this.#refusals.refuseForNow(set, errorMessage(error));
      if (set.unfinished) await this.#writer.withdraw(set, slices);
    }
    for (const set of this.#dirty) {
      if (!set.isInSync || set.hasQueuedChanges || set.ownRefusal() !== null) continue;
      this.#dirty.delete(set);
      set.unfinished = false;
      this.#refusals.clear(set);
    }
    return [...failures.keys()].every((set) => this.#refusals.mustWait(set));
  }

  #claimTempName(): string {
    let name: string;
    do {
      name = tempIpSetName(this.family, this.#nextTemp++);
    } while (this.#tempDeletions.has(name));
    return name;
  }
}
