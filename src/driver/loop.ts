// The deferred-work loop: messages, interface events and timers only mark work; one apply covers all that waited
// (dataplane.md 4.1). All time comes from the injected clock.
import type { Clock, Timer } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import { isPlainEqual } from '../base/plain-equal.js';
import type { Logger } from '../base/logger.js';
import { SLICE_MS, TimeSlices } from '../base/time-slices.js';
import type { DataplaneMessage } from '../managers/manager.js';
import type { InterfaceAddressEvent, InterfaceStateEvent } from '../model/interface.js';
import type { Refusal } from '../model/refusal.js';
import { applyOnce, type ApplyOutcome, type ApplyPhases } from './phases.js';
import { Throttle } from './throttle.js';

/** A periodic resync: every `intervalMs` (0 = never) the targets forget what they know of the kernel. */
export interface Refresh {
  readonly name: string;
  readonly intervalMs: number;
  queueResync(): void;
}

/** What the loop is built from and whom it tells. Callbacks must not throw. */
export interface LoopOptions {
  readonly phases: ApplyPhases;
  readonly refreshes: readonly Refresh[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Factor from 0 to 1 for the jitter of refresh timers (up to 10 %). */
  jitter(): number;
  /** Hands out the messages that wait, in legal order; called once at the start of each apply. */
  takeMessages(): readonly DataplaneMessage[];
  /** How many interface events the apply takes; called as `takeMessages`. */
  tookInterfaceEvents(states: number, addresses: number): void;
  /** The objects that are closed instead of programmed changed; called within the apply, before the statuses go out. */
  setRefusals(refusals: readonly Refusal[]): void;
  /** Sets are newly refused: the managers are to close what uses them before the tables of this apply are written. */
  closeUsersOfSets(refusals: readonly Refusal[]): void;
  /** Called when all of an apply is in force: send the statuses that are due. */
  publish(): void;
  /** Called after every apply, when leftovers of others are cleaned up as well. */
  afterApply(outcome: ApplyOutcome): void;
  /** Called once, after the statuses of the first apply that left nothing dirty. */
  onInSync(): void;
  /** The dataplane must not go on; nothing is applied any more. */
  onFatal(error: unknown): void;
}

/** A dirty dataplane without news is retried after 100 ms, 200 ms … up to Felix's retry tick of 10 s. */
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 10_000;

/** Runs applies: one at a time, not before `open` and the interface listing, as fast as the throttle permits. */
export class DataplaneLoop {
  readonly #options: LoopOptions;
  readonly #throttle: Throttle;
  readonly #interfaceStates: InterfaceStateEvent[] = [];
  readonly #interfaceAddresses: InterfaceAddressEvent[] = [];
  #opened = false;
  #interfacesInSync = false;
  #needsSync = false;
  #running: Promise<void> | null = null;
  #stopped = false;
  #reportedInSync = false;
  #timer: { readonly dueMs: number; readonly timer: Timer } | null = null;
  #refreshTimers: Timer[] = [];
  #retryMs = FIRST_RETRY_MS;
  /** As they were told last; null before the first apply, whose word counts in any case. */
  #refused: readonly Refusal[] | null = null;
  #lastProgressMs: number;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#throttle = new Throttle(options.clock);
    this.#lastProgressMs = options.clock.nowMs();
  }

  /** InSync was seen: kernel writes may begin once the interfaces are listed. Idempotent. */
  open(): void {
    if (this.#opened) return;
    this.#opened = true;
    for (const refresh of this.#options.refreshes) this.#armRefresh(refresh);
    this.wake();
  }

  /** The first full listing of interfaces was delivered. Idempotent. */
  setInterfacesInSync(): void {
    this.#interfacesInSync = true;
    this.wake();
  }

  onInterfaceState(event: InterfaceStateEvent): void {
    this.#interfaceStates.push(event);
    this.wake();
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    this.#interfaceAddresses.push(event);
    this.wake();
  }

  /** Something waits to be applied. Cheap; call as often as there is news. */
  wake(): void {
    this.#needsSync = true;
    this.#retryMs = FIRST_RETRY_MS;
    this.#schedule();
  }

  /** Milliseconds since the running apply last got on (a reconciler ended), 0 when idle: what a watchdog looks at. */
  stalledMs(): number {
    return this.#running === null ? 0 : this.#options.clock.nowMs() - this.#lastProgressMs;
  }

  /** Stops starting work and waits for the running apply. The kernel stays as it is. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.timer.cancel();
    for (const timer of this.#refreshTimers) timer.cancel();
    await this.#running;
  }

  #schedule(): void {
    if (this.#stopped || !this.#needsSync || this.#running !== null || !this.#opened || !this.#interfacesInSync) return;
    const waitMs = this.#throttle.take();
    if (waitMs > 0) {
      this.#arm(waitMs);
      return;
    }
    this.#needsSync = false;
    this.#lastProgressMs = this.#options.clock.nowMs();
    // A microtask later, so that all frames of one chunk are in the batch.
    this.#running = Promise.resolve()
      .then(() => this.#apply())
      .catch((error: unknown) => {
        this.#stopped = true;
        this.#options.onFatal(error);
      })
      .finally(() => {
        this.#running = null;
        this.#schedule();
      });
  }

  async #apply(): Promise<void> {
    const { phases, clock, log } = this.#options;
    await this.#deliver();
    const outcome = await applyOnce(phases, clock, log, {
      onRefusedSets: (refused) => this.#closeUsersOfSets(refused),
      onProgress: () => {
        this.#lastProgressMs = clock.nowMs();
      },
      onApplied: (applied) => this.#tell(applied),
    });
    this.#options.afterApply(outcome);
    if (outcome.dirty) {
      this.#arm(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    }
    if (outcome.rescheduleAfterMs !== null) this.#arm(outcome.rescheduleAfterMs);
  }

  #tell(outcome: ApplyOutcome): void {
    if (!isPlainEqual(outcome.refused, this.#refused)) {
      // What uses a refused set is closed, or opened again, by an apply of its own.
      if (outcome.refused.length > 0 || this.#refused !== null) this.#needsSync = true;
      this.#refused = outcome.refused;
      this.#options.setRefusals(outcome.refused);
    }
    this.#options.publish();
    if (!outcome.dirty && !this.#reportedInSync) {
      this.#reportedInSync = true;
      this.#options.onInSync();
    }
  }

  /** True if a set is refused that was not after the last apply. Those that are right again wait for the end of this one. */
  #closeUsersOfSets(refused: readonly Refusal[]): boolean {
    const idOf = ({ family, kind, object }: Refusal): string => `${family} ${kind} ${object}`;
    const before = this.#refused ?? [];
    const known = new Set(before.map(idOf));
    const fresh = refused.filter((refusal) => !known.has(idOf(refusal)));
    if (fresh.length === 0) return false;
    this.#options.closeUsersOfSets([...before, ...fresh]);
    return true;
  }

  /** What comes meanwhile waits for the next apply. */
  async #deliver(): Promise<void> {
    const { phases, log, clock } = this.#options;
    const slices = new TimeSlices(clock, SLICE_MS);
    const states = this.#interfaceStates.splice(0);
    const addresses = this.#interfaceAddresses.splice(0);
    this.#options.tookInterfaceEvents(states.length, addresses.length);
    const messages = this.#options.takeMessages();
    for (const manager of phases.managers) {
      try {
        for (const event of states) manager.onInterfaceState?.(event);
        for (const event of addresses) manager.onInterfaceAddresses?.(event);
      } catch (error) {
        log.error(`${manager.name} failed on an interface event`, { error: errorMessage(error) });
      }
    }
    for (const message of messages) {
      if (slices.isOver()) await slices.pause();
      for (const manager of phases.managers) {
        try {
          manager.onMessage(message);
        } catch (error) {
          log.error(`${manager.name} failed on a message`, { message: message.case, error: errorMessage(error) });
        }
      }
    }
  }

  /** Wakes the loop for work that is due later; the earliest wish wins. */
  #arm(afterMs: number): void {
    if (this.#stopped) return;
    const dueMs = this.#options.clock.nowMs() + afterMs;
    if (this.#timer !== null) {
      if (this.#timer.dueMs <= dueMs) return;
      this.#timer.timer.cancel();
    }
    const timer = this.#options.clock.setTimer(afterMs, () => {
      this.#timer = null;
      this.#needsSync = true;
      this.#schedule();
    });
    this.#timer = { dueMs, timer };
  }

  #armRefresh(refresh: Refresh): void {
    if (refresh.intervalMs <= 0) return;
    const arm = (): void => {
      const delayMs = refresh.intervalMs * (1 + 0.1 * this.#options.jitter());
      const timer = this.#options.clock.setTimer(delayMs, () => {
        this.#refreshTimers = this.#refreshTimers.filter((other) => other !== timer);
        if (this.#stopped) return;
        refresh.queueResync();
        this.wake();
        arm();
      });
      this.#refreshTimers.push(timer);
    };
    arm();
  }
}
