// Brings one kernel routing table, and the static neighbours of local pods, to what managers want (dataplane.md 6.1,
// 6.2). Reads the table once, then only interfaces that came up; writes what differs.
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { OperationObserver } from '../model/operation.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { Refusal } from '../model/refusal.js';
import type { RouteClass, RouteTarget } from '../model/route.js';
import type { ConntrackCleaner } from './conntrack-cleaner.js';
import { ConntrackOwners } from './conntrack-owners.js';
import { describeRoute, targetFault, type FibRoute } from './fib.js';
import type { RouteOwnership } from './ownership.js';
import type { KernelFailure, KernelOperation, RouteKernel } from './route-kernel.js';
import type { RoutePlan } from './route-plan.js';
import { RouteTableState } from './route-table-state.js';
import type { RouteTable } from './route-table.js';

/** Felix: `routeCleanupGracePeriod` as int_dataplane.go sets it. */
const GRACE_PERIOD_MS = 10_000;

/** How long an apply waits for flows to be removed before it leaves a moved route to the next apply. */
const CONNTRACK_WAIT_MS = 250;
const CONNTRACK_RETRY_MS = 100;

/** From this many interfaces on, one listing of the whole table is cheaper than one of each. */
const RESCAN_LIMIT = 64;

/** Interfaces that change while they are listed are listed again so often in one apply; the next one goes on. */
const RESCAN_ROUNDS = 3;

/** Durations in seconds, for the series of ops.md section 4. */
export interface RouteTimings {
  resync(seconds: number): void;
  partialResync(seconds: number): void;
  conntrackWait(seconds: number): void;
}

/** What a route table is made with. */
export interface RouteTableOptions {
  readonly family: Family;
  /** 254 = main. */
  readonly table: number;
  readonly kernel: RouteKernel;
  readonly ownership: RouteOwnership;
  /** Null leaves flows alone (wireguard tables). */
  readonly conntrack: ConntrackCleaner | null;
  /** Keep permanent ARP entries of local workloads: main IPv4 table only. */
  readonly staticNeighbours: boolean;
  /** RouteSyncDisabled: nothing is read or written. */
  readonly disabled: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observe: OperationObserver;
  readonly timings?: RouteTimings;
}

/** Result of one round of writes. */
interface Round {
  readonly plan: RoutePlan;
  readonly operations: number;
  /** Writes that wait for flows to be removed. */
  readonly waiting: readonly FibRoute[];
  /** An interface was not as we thought. */
  readonly interfaceTrouble: boolean;
  readonly failed: boolean;
}

function isInterfaceTrouble(failure: KernelFailure): boolean {
  return failure.reason === 'interface-missing' || failure.reason === 'interface-down';
}

/** One kernel table. `onInterfaceState` must be called with every event of the interface monitor. */
export class RouteTableReconciler implements RouteTable, Reconciler {
  readonly name: string;
  readonly family: Family;
  readonly table: number;
  readonly #options: RouteTableOptions;
  readonly #logger: Logger;
  readonly #owners: ConntrackOwners | null;
  readonly #state: RouteTableState;
  readonly #toRescan = new Set<string>();
  /** Interfaces of which was heard since a listing was begun: what it says of them may be older than what was heard. */
  readonly #heard = new Set<string>();
  readonly #faults = new Map<string, Refusal>();
  #needsFullResync = true;

  constructor(options: RouteTableOptions) {
    this.family = options.family;
    this.table = options.table;
    this.name = `routes-v${options.family}-table-${options.table}`;
    this.#options = options;
    this.#logger = options.logger.child({ table: this.name });
    this.#owners = options.conntrack === null ? null : new ConntrackOwners(options.family, options.conntrack);
    this.#state = new RouteTableState({
      family: options.family,
      ownership: options.ownership,
      owners: this.#owners,
      staticNeighbours: options.staticNeighbours,
      gracePeriodMs: GRACE_PERIOD_MS,
    });
  }

  /** Routes wanted right now, for felix_route_table_num_routes. */
  get routeCount(): number {
    return this.#state.wantedCount;
  }

  /** Interfaces known, for felix_route_table_num_ifaces. */
  get interfaceCount(): number {
    return this.#state.interfaceCount;
  }

  setRoutes(routeClass: RouteClass, interfaceName: string, targets: readonly RouteTarget[]): void {
    for (const id of [...this.#faults.keys()]) {
      if (id.startsWith(`${routeClass} ${interfaceName} `)) this.#faults.delete(id);
    }
    const good = targets.filter((target) => this.#accept(routeClass, interfaceName, target));
    this.#state.setRoutes(routeClass, interfaceName, good);
  }

  updateRoute(routeClass: RouteClass, interfaceName: string, target: RouteTarget): void {
    if (this.#accept(routeClass, interfaceName, target)) this.#state.updateRoute(routeClass, interfaceName, target);
  }

  removeRoute(routeClass: RouteClass, interfaceName: string, dst: string): void {
    this.#faults.delete(`${routeClass} ${interfaceName} ${dst}`);
    this.#state.removeRoute(routeClass, interfaceName, dst);
  }

  onInterfaceState(event: InterfaceStateEvent): void {
    this.#heard.add(event.name);
    if (this.#state.onInterfaceState(event, this.#options.clock.nowMs())) this.#toRescan.add(event.name);
    else this.#toRescan.delete(event.name);
  }

  queueResync(): void {
    this.#needsFullResync = true;
  }

  /** What the next apply would do, from what is known now. */
  plan(): RoutePlan {
    return this.#state.plan(this.#options.clock.nowMs());
  }

  async apply(): Promise<ApplyResult> {
    if (this.#options.disabled) return { refused: [], operations: 0 };
    try {
      await this.#resync();
      let round = await this.#write();
      let operations = round.operations;
      if (round.interfaceTrouble) {
        // The interface went while we wrote: see how it is now, then what is left is what can be done.
        this.#heard.clear();
        const links = await this.#options.kernel.listLinks();
        this.#state.adoptLinks(links, this.#options.clock.nowMs(), this.#heard);
        round = await this.#write();
        operations += round.operations;
      }
      const late = await this.#writeWaiting(round.waiting);
      return this.#result(round, operations + late.operations, late);
    } catch (error) {
      this.#logger.warn('Routes could not be programmed, will try again', { error: errorMessage(error) });
      this.#needsFullResync = true;
      return { refused: this.#refusals(), operations: 0, failed: true };
    }
  }

  #result(round: Round, operations: number, late: { waiting: number; failed: boolean }): ApplyResult {
    const failed = round.failed || late.failed || round.interfaceTrouble;
    const delays = [round.plan.graceEndsInMs, late.waiting > 0 ? CONNTRACK_RETRY_MS : null].filter(
      (delay) => delay !== null,
    );
    return {
      refused: this.#refusals(),
      operations,
      ...(failed ? { failed } : {}),
      ...(delays.length > 0 ? { rescheduleAfterMs: Math.min(...delays) } : {}),
    };
  }

  #accept(routeClass: RouteClass, interfaceName: string, target: RouteTarget): boolean {
    const id = `${routeClass} ${interfaceName} ${target.dst}`;
    const reason = targetFault(target, this.family);
    if (reason === null) {
      this.#faults.delete(id);
      return true;
    }
    this.#logger.error('Route is left out', { reason, routeClass, interfaceName });
    this.#faults.set(id, { family: this.family, kind: 'route', object: target.dst, reason });
    return false;
  }

  #refusals(): Refusal[] {
    const byKernel = [...this.#state.refused].map(
      ([object, reason]): Refusal => ({ family: this.family, kind: 'route', object, reason }),
    );
    return [...this.#faults.values(), ...byKernel];
  }

  async #resync(): Promise<void> {
    if (this.#needsFullResync || this.#toRescan.size > RESCAN_LIMIT) await this.#readAll();
    for (let round = 0; this.#toRescan.size > 0 && round < RESCAN_ROUNDS; round += 1) await this.#readInterfaces();
  }

  async #readAll(): Promise<void> {
    const { kernel, table, clock, staticNeighbours, timings } = this.#options;
    const startMs = clock.nowMs();
    this.#needsFullResync = false;
    this.#toRescan.clear();
    this.#heard.clear();
    const links = await kernel.listLinks();
    const routes = await kernel.listRoutes(this.family, table);
    const neighbours = staticNeighbours ? await kernel.listNeighbours(4) : [];
    this.#state.adoptLinks(links, clock.nowMs(), this.#heard);
    this.#state.adoptTable(routes);
    if (staticNeighbours) this.#state.neighbours.adopt(neighbours, null);
    timings?.resync((clock.nowMs() - startMs) / 1_000);
  }

  async #readInterfaces(): Promise<void> {
    const { kernel, table, clock, staticNeighbours, timings } = this.#options;
    const startMs = clock.nowMs();
    const names = [...this.#toRescan];
    this.#toRescan.clear();
    this.#heard.clear();
    const [routes, neighbours] = await Promise.all([
      kernel.listRoutes(this.family, table, names),
      staticNeighbours
        ? kernel.listNeighbours(
            4,
            names.filter((name) => this.#wantsNeighbours(name)),
          )
        : [],
    ]);
    const isCurrent = (name: string | null): boolean => name === null || !this.#heard.has(name);
    const current = names.filter(isCurrent);
    this.#state.adoptInterfaces(
      routes.filter((route) => isCurrent(route.interfaceName)),
      current,
    );
    if (staticNeighbours) {
      const listed = neighbours.filter((neighbour) => isCurrent(neighbour.interfaceName));
      this.#state.neighbours.adopt(listed, current);
    }
    timings?.partialResync((clock.nowMs() - startMs) / 1_000);
  }

  #wantsNeighbours(name: string): boolean {
    return this.#state.neighbours.wantedOn(name).size > 0;
  }

  async #write(): Promise<Round> {
    const plan = this.plan();
    this.#state.settle(plan.settled);
    const deleted = await this.#delete([...plan.deletes, ...plan.earlyDeletes]);
    this.#owners?.startCleaning(deleted.stuck);
    // A move whose old route could not be deleted must not be written over: its flows would stay.
    const writable = plan.writes.filter((route) => !deleted.stuck.has(route.dst));
    const isWaiting = (route: FibRoute): boolean => (this.#owners?.pendingFor(route.dst) ?? null) !== null;
    const waiting = writable.filter(isWaiting);
    const ready = waiting.length === 0 ? writable : writable.filter((route) => !isWaiting(route));
    const written = await this.#replace(ready, true);
    return {
      plan,
      operations: deleted.operations + written.operations,
      waiting,
      interfaceTrouble: written.interfaceTrouble,
      failed: deleted.stuck.size > 0 || written.failed,
    };
  }

  async #delete(routes: readonly FibRoute[]): Promise<{ operations: number; stuck: Set<string> }> {
    const { family, table } = this.#options;
    const stuck = new Set<string>();
    let operations = 0;
    const failures = await this.#apply(routes.map((route) => ({ op: 'delete-route', family, table, route })));
    for (const [index, route] of routes.entries()) {
      const failure = failures[index] ?? null;
      if (failure === null) {
        operations += 1;
        this.#announce('delete-route', describeRoute(route));
      } else if (failure.reason !== 'missing' && !isInterfaceTrouble(failure)) {
        this.#logger.warn('Route could not be deleted', { route: describeRoute(route), error: failure.message });
        stuck.add(route.dst);
        continue;
      }
      this.#state.onDeleted(route);
    }
    return { operations, stuck };
  }

  async #replace(
    routes: readonly FibRoute[],
    withNeighbours: boolean,
  ): Promise<{ operations: number; interfaceTrouble: boolean; failed: boolean }> {
    const { family, table, staticNeighbours } = this.#options;
    const exists = (name: string): boolean => this.#state.hasInterface(name);
    const neighbours = staticNeighbours && withNeighbours ? this.#state.neighbours.plan(exists) : [];
    const failures = await this.#apply([
      ...routes.map((route): KernelOperation => ({ op: 'replace-route', family, table, route })),
      ...neighbours.map((neighbour): KernelOperation => ({ op: 'replace-neighbour', neighbour })),
    ]);
    let operations = 0;
    let interfaceTrouble = false;
    let failed = false;
    const judge = (failure: KernelFailure | null, object: string, verb: string): boolean => {
      if (failure === null) {
        operations += 1;
        this.#announce(verb, object);
        return true;
      }
      if (isInterfaceTrouble(failure)) interfaceTrouble = true;
      else if (failure.reason !== 'invalid') failed = true;
      this.#logger.warn('Could not be written', { verb, object, error: failure.message });
      return false;
    };
    for (const [index, route] of routes.entries()) {
      const failure = failures[index] ?? null;
      if (judge(failure, describeRoute(route), 'replace-route')) this.#state.onWritten(route);
      else if (failure?.reason === 'invalid') this.#state.onRefused(route, failure.message);
    }
    for (const [index, neighbour] of neighbours.entries()) {
      const failure = failures[routes.length + index] ?? null;
      const object = `${neighbour.address} dev ${neighbour.interfaceName}`;
      // A malformed MAC gets no entry, as in Felix; the pod answers ARP itself.
      if (judge(failure, object, 'replace-neighbour') || failure?.reason === 'invalid') {
        this.#state.neighbours.confirm(neighbour);
      }
    }
    if (withNeighbours) this.#state.neighbours.settle(exists);
    return { operations, interfaceTrouble, failed };
  }

  /** Waits a moment for flows to be removed; routes whose flows take longer stay dirty for the next apply. */
  async #writeWaiting(waiting: readonly FibRoute[]): Promise<{ operations: number; waiting: number; failed: boolean }> {
    if (waiting.length === 0) return { operations: 0, waiting: 0, failed: false };
    const { clock, timings } = this.#options;
    const startMs = clock.nowMs();
    const removals = waiting.map((route) => this.#owners?.pendingFor(route.dst) ?? Promise.resolve());
    await new Promise<void>((resolve, reject) => {
      const timer = clock.setTimer(CONNTRACK_WAIT_MS, resolve);
      Promise.all(removals).then(() => {
        timer.cancel();
        resolve();
      }, reject);
    });
    timings?.conntrackWait((clock.nowMs() - startMs) / 1_000);
    const ready = waiting.filter((route) => (this.#owners?.pendingFor(route.dst) ?? null) === null);
    const written = await this.#replace(ready, false);
    return {
      operations: written.operations,
      waiting: waiting.length - ready.length,
      failed: written.failed || written.interfaceTrouble,
    };
  }

  async #apply(operations: readonly KernelOperation[]): Promise<readonly (KernelFailure | null)[]> {
    return operations.length === 0 ? [] : this.#options.kernel.apply(operations);
  }

  #announce(verb: string, object: string): void {
    this.#options.observe({ room: 'routes', verb, object });
  }
}
