// One control plane connection from its first message to its end: collects until InSync, has the dataplane built, and
// from then on wakes the loop for every message. The reader never waits for the kernel.
import { create } from '@bufbuild/protobuf';
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { MessageQueue } from '../protocol/coalesce.js';
import {
  type ConfigUpdate,
  DataplaneInSyncSchema,
  type Encapsulation,
  EncapsulationSchema,
} from '../protocol/gen/felix/felixbackend_pb.js';
import type { CloseReason, Session, ToDataplanePayload } from '../protocol/session.js';
import type { DataplaneMessage } from '../managers/manager.js';
import { Heartbeat } from './heartbeat.js';
import type { DataplaneLoop } from './loop.js';
import type { StatusCombiner, WorkloadStatus } from './status-combiner.js';

/** What the dataplane is built from: known at InSync and fixed from then on. */
export interface DataplaneInput {
  readonly config: ConfigUpdate;
  readonly encapsulation: Encapsulation;
  /** For the loop's `takeMessages`; and how many messages newer ones replaced meanwhile. */
  takeMessages(): { readonly messages: readonly DataplaneMessage[]; readonly mergedAway: number };
  /** For the loop's `publish`. */
  publish(): void;
  /** For the loop's `onInSync`. */
  reportInSync(): void;
  /** For the loop's `onFatal`. */
  fail(error: unknown): void;
}

/** A dataplane that runs. */
export interface RunningDataplane {
  readonly loop: DataplaneLoop;
  readonly statuses: StatusCombiner;
  readonly reportingIntervalMs: number;
  /** A ConfigUpdate after InSync: takes over what can change in a running driver, logs the rest. */
  onConfigUpdate(update: ConfigUpdate): void;
  /** Told of every workload status that goes out: the status files. */
  onWorkloadStatuses(statuses: readonly WorkloadStatus[]): void;
  onInSync(): void;
  /** Stops starting work, finishes or abandons what runs, leaves the kernel as it is. */
  stop(): Promise<void>;
}

export interface SessionDriverOptions {
  readonly session: Session;
  readonly clock: Clock;
  readonly log: Logger;
  /** Process start on the clock's `nowMs` scale. */
  readonly startedMs: number;
  /** Called at the first ConfigUpdate, so that slow detection overlaps with the snapshot. */
  prepare(config: ConfigUpdate): void;
  build(input: DataplaneInput): Promise<RunningDataplane>;
}

/** How a session ended: the connection's own reason, or a dataplane that must not go on. */
export type SessionEnd =
  | { readonly kind: 'connection'; readonly reason: CloseReason }
  | { readonly kind: 'fatal'; readonly error: unknown };

/** Runs one session. */
export class SessionDriver {
  readonly #options: SessionDriverOptions;
  readonly #queue = new MessageQueue();
  readonly #heartbeat: Heartbeat;
  #config: ConfigUpdate | null = null;
  #encapsulation: Encapsulation = create(EncapsulationSchema);
  #building = false;
  #dataplane: RunningDataplane | null = null;
  #fail: (error: unknown) => void = () => undefined;
  #stopped = false;

  constructor(options: SessionDriverOptions) {
    this.#options = options;
    this.#heartbeat = new Heartbeat(options.clock, options.startedMs, (payload) => options.session.send(payload));
  }

  /** Runs until the connection ends, the dataplane fails, or `stop` is called. Never rejects. */
  async run(): Promise<SessionEnd> {
    const failed = new Promise<SessionEnd>((resolve) => {
      this.#fail = (error) => resolve({ kind: 'fatal', error });
    });
    const { session } = this.#options;
    session.start((payload, origin) => this.#onMessage(payload, origin.sizeBytes));
    const closed = session.closed.then((reason): SessionEnd => ({ kind: 'connection', reason }));
    const end = await Promise.race([closed, failed]);
    await this.stop();
    return end;
  }

  /** Stops work and leaves the kernel as it is. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#heartbeat.stop();
    await this.#dataplane?.stop();
  }

  /** Milliseconds that the running apply has taken so far; 0 when none runs. */
  stalledMs(): number {
    return this.#dataplane?.loop.stalledMs() ?? 0;
  }

  /** What waits, for /debug/state. */
  state(): { readonly queueDepth: number; readonly queueBytes: number; readonly sendBacklog: number } {
    const { depth, pendingBytes } = this.#queue;
    return { queueDepth: depth, queueBytes: pendingBytes, sendBacklog: this.#options.session.sendBacklog };
  }

  #onMessage(payload: ToDataplanePayload, sizeBytes: number): void {
    switch (payload.case) {
      case 'configUpdate':
        this.#onConfig(payload.value);
        return;
      case 'encapsulation':
        this.#onEncapsulation(payload.value);
        return;
      case 'inSync':
        this.#onInSync();
        return;
      default:
        this.#queue.add(payload, sizeBytes);
    }
    // Before InSync nothing can be applied, so a pause would never end.
    if (this.#dataplane === null) return;
    this.#dataplane.loop.wake();
    if (this.#queue.isFull) this.#options.session.pause('64 MiB of messages wait to be applied');
  }

  #onConfig(update: ConfigUpdate): void {
    if (this.#dataplane !== null) {
      this.#dataplane.onConfigUpdate(update);
      return;
    }
    this.#config = update;
    if (!this.#building) this.#options.prepare(update);
  }

  #onEncapsulation(encapsulation: Encapsulation): void {
    if (this.#building && JSON.stringify(encapsulation) !== JSON.stringify(this.#encapsulation)) {
      this.#options.log.warn('Encapsulation changed while running; Felix restarts the driver for it, waiting', {
        ipip: encapsulation.ipipEnabled,
        vxlan: encapsulation.vxlanEnabled,
        vxlanV6: encapsulation.vxlanEnabledV6,
        noEncap: encapsulation.noEncapEnabled,
      });
      return;
    }
    this.#encapsulation = encapsulation;
  }

  #onInSync(): void {
    const { log } = this.#options;
    if (this.#building) {
      log.warn('A second InSync in one stream is ignored');
      return;
    }
    if (this.#config === null) {
      log.error(
        'InSync came before any ConfigUpdate: nothing is programmed. The control plane has to send ConfigUpdate first',
      );
      return;
    }
    this.#building = true;
    this.#build(this.#config).catch((error: unknown) => this.#fail(error));
  }

  async #build(config: ConfigUpdate): Promise<void> {
    const dataplane = await this.#options.build({
      config,
      encapsulation: this.#encapsulation,
      takeMessages: () => {
        const batch = this.#queue.take();
        this.#options.session.resume();
        return batch;
      },
      publish: () => this.#publish(),
      reportInSync: () => this.#reportInSync(),
      fail: (error) => this.#fail(error),
    });
    this.#dataplane = dataplane;
    if (this.#stopped) {
      await dataplane.stop();
      return;
    }
    this.#heartbeat.start(dataplane.reportingIntervalMs);
    dataplane.loop.open();
  }

  #publish(): void {
    if (this.#dataplane === null) return;
    const { messages, workloads } = this.#dataplane.statuses.drain();
    for (const message of messages) this.#options.session.send(message);
    try {
      this.#dataplane.onWorkloadStatuses(workloads);
    } catch (error) {
      this.#options.log.error('Endpoint status files could not be queued', { error: errorMessage(error) });
    }
  }

  #reportInSync(): void {
    this.#options.session.send({ case: 'dataplaneInSync', value: create(DataplaneInSyncSchema) });
    this.#dataplane?.onInSync();
  }
}
