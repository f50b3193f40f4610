// One apply: everything that is wanted is brought into the kernel in the order that keeps it safe (dataplane.md 4.2).
import type { Logger } from '../base/logger.js';
import { errorMessage } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import { SLICE_MS, TimeSlices } from '../base/time-slices.js';
import type { IpSetReconciler } from '../ipsets/ip-sets.js';
import type { Manager } from '../managers/manager.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { Refusal } from '../model/refusal.js';

/** Everything that one apply runs, by phase. Within a phase all run at once, unless the name says otherwise. */
export interface ApplyPhases {
  readonly managers: readonly Manager[];
  /** Single-interface settings. Run one after the other, as statuses depend on them and packets do not wait for them. */
  readonly interfaceSettings: readonly Reconciler[];
  /** IP set planes: creations and updates before the tables, deletions after them. */
  readonly ipSets: readonly IpSetReconciler[];
  /** Tunnel devices, FDB and link addresses, one after the other: routes need them, policy does not. */
  readonly links: readonly Reconciler[];
  readonly routes: readonly Reconciler[];
  readonly tables: readonly Reconciler[];
  /** Resolves when no table is making its script: what is written then is the kernel's, and there is time for the rest. */
  readonly untilTablesAreSent: () => Promise<void>;
  /** Leftovers of other back ends and older versions: only after all of ours is in force and told, never a failure. */
  readonly cleanups: readonly Reconciler[];
}

/** Who is told of an apply while it runs. Must not throw. */
export interface ApplyListeners {
  /**
   * Told between sets and tables which sets are refused, before any rule that uses one is written. Returns whether the
   * managers have to close something for it.
   */
  readonly onRefusedSets: (refused: readonly Refusal[]) => boolean;
  /** Called whenever a reconciler ends: an apply that is long but moves does not hang. */
  readonly onProgress: () => void;
  /** Called when all that is ours has been applied. What the clean-ups do after it is added to the outcome. */
  readonly onApplied: (outcome: ApplyOutcome) => void;
}

const NOBODY: ApplyListeners = {
  onRefusedSets: () => false,
  onProgress: () => undefined,
  onApplied: () => undefined,
};

/** What an apply left behind. */
export interface ApplyOutcome {
  /** Something is still dirty; try again as soon as the throttle permits. */
  readonly dirty: boolean;
  /** Run again no later than this; null = no wish. */
  readonly rescheduleAfterMs: number | null;
  readonly refused: readonly Refusal[];
  readonly operations: number;
  /** Milliseconds per phase, for logs and metrics. */
  readonly phaseMs: Readonly<Record<string, number>>;
}

/** Set deletions that had to wait come back after this long (4.2 step 10). */
const MAX_DELETION_DELAY_MS = 100;

class OutcomeBuilder {
  dirty = false;
  rescheduleAfterMs: number | null = null;
  operations = 0;
  readonly refused: Refusal[] = [];
  readonly phaseMs: Record<string, number> = {};

  add(result: ApplyResult): void {
    this.operations += result.operations;
    this.refused.push(...result.refused);
    if (result.failed === true) this.dirty = true;
    if (result.rescheduleAfterMs !== undefined) this.reschedule(result.rescheduleAfterMs);
  }

  reschedule(afterMs: number): void {
    this.rescheduleAfterMs = Math.min(this.rescheduleAfterMs ?? Number.POSITIVE_INFINITY, Math.max(1, afterMs));
  }
}

/**
 * Runs one apply. Rejects only where the dataplane must not go on: a table or set plane that cannot be written by the
 * documented limit. Failures of routes, links and single-interface settings are logged and leave the outcome dirty.
 */
export async function applyOnce(
  phases: ApplyPhases,
  clock: Clock,
  log: Logger,
  { onRefusedSets, onProgress, onApplied }: ApplyListeners = NOBODY,
): Promise<ApplyOutcome> {
  const outcome = new OutcomeBuilder();
  const timed = async (phase: string, work: () => Promise<void>): Promise<void> => {
    const startMs = clock.nowMs();
    await work();
    outcome.phaseMs[phase] = clock.nowMs() - startMs;
  };
  const soft = async (reconciler: Reconciler): Promise<void> => {
    try {
      outcome.add(await reconciler.apply());
    } catch (error) {
      outcome.dirty = true;
      log.warn(`${reconciler.name} could not be applied, will retry`, { error: errorMessage(error) });
    }
    onProgress();
  };
  const all = async (work: readonly Promise<ApplyResult>[]): Promise<ApplyResult[]> =>
    settleAll(work.map((one) => one.finally(onProgress)));

  await timed('managers', async () => {
    await runManagers(phases.managers, outcome, clock, log);
    onProgress();
  });
  const refusedSets: Refusal[] = [];
  const late = new LatePhase(async () => {
    await timed('links', async () => {
      for (const reconciler of phases.links) await soft(reconciler);
    });
    await timed('settings', async () => {
      for (const reconciler of phases.interfaceSettings) await soft(reconciler);
    });
    await timed('routes', async () => void (await Promise.all(phases.routes.map(soft))));
  });
  // Packets wait for sets and tables first of all, so the rest begins when those are written, or as soon as they wait for
  // the kernel.
  const timer = clock.setTimer(0, () => void phases.untilTablesAreSent().then(() => late.start()));
  try {
    await timed('sets', async () => {
      for (const result of await all(phases.ipSets.map((plane) => plane.apply()))) {
        outcome.add(result);
        refusedSets.push(...result.refused);
      }
    });
    // A rule over a set that is not as wanted must not be in force for one moment: its policy is written closed.
    if (onRefusedSets(refusedSets)) await runManagers(phases.managers, outcome, clock, log);
    await timed('tables', async () => {
      for (const result of await all(phases.tables.map((table) => table.apply()))) outcome.add(result);
    });
    late.start();
    await timed('deletions', async () => {
      for (const result of await all(phases.ipSets.map((plane) => plane.applyDeletions()))) {
        outcome.add(result);
        if (result.rescheduleAfterMs !== undefined)
          outcome.reschedule(Math.min(result.rescheduleAfterMs, MAX_DELETION_DELAY_MS));
      }
    });
  } finally {
    timer.cancel();
    // Never leave work of this apply running behind: the next one must not overlap it.
    await late.ended();
  }
  onApplied(outcome);
  await timed('cleanups', async () => {
    for (const cleanup of phases.cleanups) await soft(cleanup);
  });
  return outcome;
}

/** Work that begins at the first of several occasions. */
class LatePhase {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | null = null;
  #isOver = false;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Nothing after {@link ended}. */
  start(): void {
    if (!this.#isOver) this.#running ??= this.#work();
  }

  /** Resolves when what was started has ended; at once if nothing was. */
  async ended(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }
}

async function runManagers(
  managers: readonly Manager[],
  outcome: OutcomeBuilder,
  clock: Clock,
  log: Logger,
): Promise<void> {
  const slices = new TimeSlices(clock, SLICE_MS);
  for (const manager of managers) {
    if (slices.isOver()) await slices.pause();
    try {
      manager.resolveUpdateBatch?.();
    } catch (error) {
      outcome.dirty = true;
      log.error(`${manager.name} failed to resolve its batch`, { error: errorMessage(error) });
    }
  }
  for (const manager of managers) {
    if (slices.isOver()) await slices.pause();
    try {
      if (!(await completeInSlices(manager, slices))) outcome.dirty = true;
    } catch (error) {
      outcome.dirty = true;
      log.error(`${manager.name} failed to complete its work`, { error: errorMessage(error) });
    }
  }
}

async function completeInSlices(manager: Manager, slices: TimeSlices): Promise<boolean> {
  if (manager.deferredSteps === undefined) return manager.completeDeferredWork();
  const steps = manager.deferredSteps();
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    if (slices.isOver()) await slices.pause();
  }
}

/** Waits for all, also after a failure, and then throws the first failure. */
async function settleAll<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(work);
  const values: T[] = [];
  for (const result of results) {
    if (result.status === 'rejected') throw result.reason;
    values.push(result.value);
  }
  return values;
}
