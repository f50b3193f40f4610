// Follows live migrations of virtual machines endpoint by endpoint, and tells the endpoint managers of both families
// (dataplane.md 2.9). The swap of IPAM owners that Felix does needs its API client and is out of a driver's reach.
import type { Clock, Timer } from '../../base/clock.js';
import { errorMessage } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import type { InterfaceStateEvent } from '../../model/interface.js';
import {
  LiveMigrationRole,
  type WorkloadEndpointID,
  type WorkloadEndpointUpdate,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import { workloadEndpointKey } from '../endpoint-keys.js';
import type { LiveMigrationState } from '../endpoint-routes.js';
import type { DataplaneMessage, Manager } from '../manager.js';
import { type MigrationInput, nextMigrationState } from './migration-state.js';

/**
 * Watches the frames received on an interface and calls back at the first announcement (`isAnnouncement`). After
 * `stop` nothing is called. Throws when the interface cannot be watched.
 */
export type StartCapture = (interfaceName: string, onAnnouncement: () => void) => { stop(): void };

/** Who is told of states: an endpoint manager. */
export interface MigrationListener {
  setLiveMigrationState(id: WorkloadEndpointID, state: LiveMigrationState): void;
}

/** What the monitor is built from. */
export interface LiveMigrationMonitorOptions {
  readonly clock: Clock;
  /** LiveMigrationRouteConvergenceTime. */
  readonly convergenceTimeMs: number;
  /** Null without raw sockets: a migration then ends when the role goes, as if the announcement had been missed. */
  readonly startCapture: StartCapture | null;
  /** Something changed outside a batch: have the next apply run. */
  readonly wake: () => void;
  readonly log: Logger;
}

interface Migration {
  readonly id: WorkloadEndpointID;
  interfaceName: string;
  state: LiveMigrationState;
  timer: Timer | null;
  capture: { stop(): void } | null;
}

const ROLE_INPUTS: Readonly<Record<LiveMigrationRole, MigrationInput>> = {
  [LiveMigrationRole.NO_ROLE]: 'no-role',
  [LiveMigrationRole.SOURCE]: 'source',
  [LiveMigrationRole.TARGET]: 'target',
};

/** One state machine for each endpoint that has, or had, a part in a migration. */
export class LiveMigrationMonitor implements Manager {
  readonly name = 'live-migration';
  readonly #options: LiveMigrationMonitorOptions;
  readonly #migrations = new Map<string, Migration>();
  /** Roles of all endpoints that have one; they outlive a migration, or its last update would begin it anew. */
  readonly #roles = new Map<string, LiveMigrationRole>();
  readonly #changed = new Map<string, { readonly id: WorkloadEndpointID; readonly state: LiveMigrationState }>();
  #listeners: readonly MigrationListener[] = [];

  constructor(options: LiveMigrationMonitorOptions) {
    this.#options = options;
  }

  /** The endpoint managers of all families: one that is not told would leave its routes as they are (trap 39). */
  setListeners(listeners: readonly MigrationListener[]): void {
    this.#listeners = listeners;
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'workloadEndpointUpdate') this.#onUpdate(message.value);
    else if (message.case === 'workloadEndpointRemove' && message.value.id !== undefined) {
      const key = workloadEndpointKey(message.value.id);
      this.#roles.delete(key);
      const migration = this.#migrations.get(key);
      if (migration !== undefined) this.#feed(migration, 'deleted');
    }
  }

  /** An interface that appears while it is waited for can be watched only now. */
  onInterfaceState(event: InterfaceStateEvent): void {
    for (const migration of this.#migrations.values()) {
      if (migration.interfaceName !== event.name || migration.state !== 'target') continue;
      this.#stopCapture(migration);
      if (event.state !== 'absent') this.#startCapture(migration);
    }
  }

  resolveUpdateBatch(): void {
    for (const { id, state } of this.#changed.values()) {
      for (const listener of this.#listeners) listener.setLiveMigrationState(id, state);
    }
    this.#changed.clear();
  }

  completeDeferredWork(): boolean {
    return true;
  }

  /** Ends captures and timers. */
  stop(): void {
    for (const migration of this.#migrations.values()) this.#leave(migration);
  }

  #onUpdate(update: WorkloadEndpointUpdate): void {
    const { id, endpoint } = update;
    if (id === undefined || endpoint === undefined) return;
    const key = workloadEndpointKey(id);
    const role = endpoint.liveMigrationRole;
    const isNews = role !== (this.#roles.get(key) ?? LiveMigrationRole.NO_ROLE);
    if (role === LiveMigrationRole.NO_ROLE) this.#roles.delete(key);
    else this.#roles.set(key, role);
    let migration = this.#migrations.get(key);
    if (migration !== undefined && migration.interfaceName !== endpoint.name) {
      migration.interfaceName = endpoint.name;
      this.#stopCapture(migration);
      if (migration.state === 'target') this.#startCapture(migration);
    }
    if (!isNews) return;
    if (migration === undefined) {
      if (role !== LiveMigrationRole.TARGET) return;
      migration = { id, interfaceName: endpoint.name, state: 'base', timer: null, capture: null };
      this.#migrations.set(key, migration);
    }
    this.#feed(migration, ROLE_INPUTS[role]);
  }

  #feed(migration: Migration, input: MigrationInput): void {
    const next = nextMigrationState(migration.state, input);
    if (next === migration.state) return;
    const key = workloadEndpointKey(migration.id);
    this.#options.log.info('Live migration goes on', { endpoint: key, from: migration.state, to: next, input });
    this.#leave(migration);
    migration.state = next;
    this.#changed.set(key, { id: migration.id, state: next });
    if (next === 'target') this.#startCapture(migration);
    else if (next === 'time-wait') this.#startTimer(migration);
    else if (next === 'base') this.#migrations.delete(key);
  }

  /** Callbacks of what is stopped here may still be under way; they find another state and are dropped. */
  #leave(migration: Migration): void {
    this.#stopCapture(migration);
    migration.timer?.cancel();
    migration.timer = null;
  }

  #startTimer(migration: Migration): void {
    migration.timer = this.#options.clock.setTimer(this.#options.convergenceTimeMs, () => {
      if (migration.state !== 'time-wait') return;
      this.#feed(migration, 'timer');
      this.#options.wake();
    });
  }

  #startCapture(migration: Migration): void {
    const { startCapture, log, wake } = this.#options;
    if (startCapture === null) return;
    try {
      const capture = startCapture(migration.interfaceName, () => {
        if (migration.capture !== capture || migration.state !== 'target') return;
        this.#feed(migration, 'announced');
        wake();
      });
      migration.capture = capture;
    } catch (error) {
      log.warn('Interface cannot be watched for the end of a migration; the role will tell', {
        interface: migration.interfaceName,
        error: errorMessage(error),
      });
    }
  }

  #stopCapture(migration: Migration): void {
    migration.capture?.stop();
    migration.capture = null;
  }
}
