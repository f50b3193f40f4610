// The state of one kernel routing table, without I/O: what is wanted, what is known, which keys may differ. Managers and
// interface events change it; `route-table-reconciler` reads the kernel into it and carries its plans out.
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import { NO_INTERFACE, type RouteClass, type RouteTarget } from '../model/route.js';
import type { ConntrackOwners } from './conntrack-owners.js';
import { keyOfRoute, sameRoute, singleAddress, type FibKey, type FibRoute } from './fib.js';
import { InterfaceTable } from './interface-table.js';
import type { RouteOwnership } from './ownership.js';
import { chooseRoute } from './route-choice.js';
import { RouteInputs } from './route-inputs.js';
import type { KernelLink, KernelRoute } from './route-kernel.js';
import { differingKeys, planRoutes, type RoutePlan } from './route-plan.js';
import { StaticNeighbours } from './static-neighbours.js';

/** `fe80::/64`: the kernel's own on every interface. */
const IPV6_LINK_LOCAL = 'fe80::/64';

/** What a table state is made with. */
export interface RouteTableStateOptions {
  readonly family: Family;
  readonly ownership: RouteOwnership;
  /** Null where no flows are to be removed (wireguard). */
  readonly owners: ConntrackOwners | null;
  /** Main IPv4 table only. */
  readonly staticNeighbours: boolean;
  readonly gracePeriodMs: number;
}

/** See the file's head. All calls are synchronous and cost what they change, except the two `adopt…` of a full listing. */
export class RouteTableState {
  readonly neighbours = new StaticNeighbours();
  readonly #options: RouteTableStateOptions;
  readonly #inputs: RouteInputs;
  readonly #interfaces: InterfaceTable;
  readonly #wanted = new Map<FibKey, FibRoute>();
  readonly #known = new Map<FibKey, FibRoute>();
  readonly #dirty = new Set<FibKey>();
  readonly #refused = new Map<FibKey, string>();
  #hasMultiPath = false;

  constructor(options: RouteTableStateOptions) {
    this.#options = options;
    this.#inputs = new RouteInputs(options.family);
    this.#interfaces = new InterfaceTable(options.gracePeriodMs);
  }

  get wantedCount(): number {
    return this.#wanted.size;
  }

  get interfaceCount(): number {
    return this.#interfaces.size;
  }

  /** Keys the kernel refused for what they say, with the reason. */
  get refused(): ReadonlyMap<FibKey, string> {
    return this.#refused;
  }

  hasInterface(name: string): boolean {
    return this.#interfaces.get(name) !== undefined;
  }

  setRoutes(routeClass: RouteClass, interfaceName: string, targets: readonly RouteTarget[]): void {
    const fresh = new Set(targets.map((target) => this.#inputs.keyOf(target)));
    const old = [...this.#inputs.targetsOf(routeClass, interfaceName).keys()].filter((key) => !fresh.has(key));
    for (const key of old) this.#deleteInput(routeClass, interfaceName, key);
    for (const target of targets) this.#putInput(routeClass, interfaceName, target);
    this.#setNeighbours(routeClass, interfaceName);
  }

  updateRoute(routeClass: RouteClass, interfaceName: string, target: RouteTarget): void {
    this.#putInput(routeClass, interfaceName, target);
    this.#setNeighbours(routeClass, interfaceName);
  }

  removeRoute(routeClass: RouteClass, interfaceName: string, dst: string): void {
    for (const key of this.#inputs.keysTo(routeClass, interfaceName, dst)) {
      this.#deleteInput(routeClass, interfaceName, key);
    }
    this.#setNeighbours(routeClass, interfaceName);
  }

  /** Takes an interface state in. Returns whether the table's routes on it should be read again (it came up). */
  onInterfaceState(event: InterfaceStateEvent, nowMs: number): boolean {
    const before = this.#interfaces.get(event.name);
    if (!this.#interfaces.set(event, nowMs)) return event.state === 'up';
    if (before?.ifindex !== event.ifindex || event.state !== 'up') this.neighbours.forgetKnown(event.name);
    for (const key of this.#inputs.keysOn(event.name)) this.#choose(key);
    if (this.#hasMultiPath) for (const key of this.#inputs.keysOn(NO_INTERFACE)) this.#choose(key);
    return event.state === 'up';
  }

  /** Brings the known interfaces to a full listing, apart from those of which newer is known. */
  adoptLinks(links: readonly KernelLink[], nowMs: number, except: ReadonlySet<string>): void {
    for (const event of this.#interfaces.eventsFor(links)) {
      if (!except.has(event.name)) this.onInterfaceState(event, nowMs);
    }
  }

  /** Takes a listing of the whole table in; everything that differs becomes dirty. */
  adoptTable(routes: readonly KernelRoute[]): void {
    const gone = new Map(this.#known);
    const known = [...routes].map((route) => this.#own(route)).filter((route) => route !== null);
    this.#known.clear();
    for (const own of known) {
      const key = keyOfRoute(own);
      this.#known.set(key, own);
      gone.delete(key);
    }
    for (const route of gone.values()) this.#options.owners?.onRouteDeleted(route.dst, route.ifindex);
    this.#dirty.clear();
    for (const key of differingKeys(this.#wanted, this.#known)) this.#dirty.add(key);
  }

  /** Takes a listing of the routes through some interfaces in. */
  adoptInterfaces(routes: readonly KernelRoute[], interfaceNames: readonly string[]): void {
    const seen = new Set<FibKey>();
    for (const route of routes) {
      const own = this.#own(route);
      if (own === null) continue;
      const key = keyOfRoute(own);
      seen.add(key);
      this.#known.set(key, own);
      this.#touch(key);
    }
    for (const name of interfaceNames) {
      for (const key of this.#inputs.keysOn(name)) {
        const known = this.#known.get(key);
        if (seen.has(key) || known?.interfaceName !== name) continue;
        // Missing routes that nobody wants any more are found out by their own deletion.
        if (this.#wanted.get(key)?.interfaceName !== name) continue;
        this.#known.delete(key);
        // It went with an earlier interface of this name: what it carried belongs to another pod.
        if (known.ifindex !== this.#interfaces.get(name)?.ifindex) {
          this.#options.owners?.onRouteDeleted(known.dst, known.ifindex);
        }
        this.#touch(key);
      }
    }
  }

  plan(nowMs: number): RoutePlan {
    return planRoutes({
      dirty: this.#dirty,
      wanted: this.#wanted,
      known: this.#known,
      refused: this.#refused,
      graceLeftMs: (route) =>
        route.interfaceName !== null && this.#options.ownership.hasGracePeriod(route.interfaceName)
          ? this.#interfaces.graceLeftMs(route.ifindex, nowMs)
          : 0,
      needsEarlyDelete: (route) => this.#options.owners?.needsEarlyDelete(route.dst, route.ifindex) ?? false,
    });
  }

  /** These keys need no more work. */
  settle(keys: readonly FibKey[]): void {
    for (const key of keys) this.#dirty.delete(key);
  }

  onDeleted(route: FibRoute): void {
    const key = keyOfRoute(route);
    this.#known.delete(key);
    this.#options.owners?.onRouteDeleted(route.dst, route.ifindex);
    this.#touch(key);
  }

  onWritten(route: FibRoute): void {
    const key = keyOfRoute(route);
    this.#known.set(key, route);
    this.#touch(key);
  }

  /** The kernel cannot be given this route; nothing more is tried until another one is wanted. */
  onRefused(route: FibRoute, reason: string): void {
    this.#refused.set(keyOfRoute(route), reason);
  }

  #putInput(routeClass: RouteClass, interfaceName: string, target: RouteTarget): void {
    if ((target.nextHops ?? []).length > 0) this.#hasMultiPath = true;
    this.#choose(this.#inputs.put(routeClass, interfaceName, target));
  }

  #deleteInput(routeClass: RouteClass, interfaceName: string, key: FibKey): void {
    if (this.#inputs.delete(routeClass, interfaceName, key)) this.#choose(key);
  }

  /** Only local workloads have static entries: their IPv4 addresses, floating ones too. */
  #setNeighbours(routeClass: RouteClass, interfaceName: string): void {
    if (!this.#options.staticNeighbours || routeClass !== 'local-workload') return;
    const entries = new Map<string, string>();
    for (const target of this.#inputs.targetsOf(routeClass, interfaceName).values()) {
      const address = singleAddress(target.dst, this.#options.family);
      if (address !== null && target.neighbourMac !== undefined)
        entries.set(address, target.neighbourMac.toLowerCase());
    }
    this.neighbours.setAll(interfaceName, entries);
  }

  #choose(key: FibKey): void {
    const candidates = this.#inputs.candidates(key);
    for (const { interfaceName } of candidates) {
      const known = this.#interfaces.get(interfaceName);
      if (known !== undefined) this.#interfaces.endGrace(known.ifindex);
    }
    const choice = chooseRoute(candidates, this.#options.family, (name) => this.#interfaces.get(name));
    const old = this.#wanted.get(key);
    if (choice === null) this.#wanted.delete(key);
    else this.#wanted.set(key, choice.route);
    if (choice === null || old === undefined || !sameRoute(old, choice.route)) this.#refused.delete(key);
    const owner = choice === null ? null : { ifindex: choice.route.ifindex, routeClass: choice.routeClass };
    const dst = choice?.route.dst ?? old?.dst;
    if (dst !== undefined) this.#options.owners?.setOwner(dst, owner);
    this.#touch(key);
  }

  #touch(key: FibKey): void {
    const wanted = this.#wanted.get(key);
    const known = this.#known.get(key);
    const isRight = wanted === undefined ? known === undefined : known !== undefined && sameRoute(wanted, known);
    if (isRight) this.#dirty.delete(key);
    else this.#dirty.add(key);
  }

  /** The listed route as ours, or null when it is not, or is through an interface that is not known yet. */
  #own(route: KernelRoute): FibRoute | null {
    if (this.#options.family === 6 && route.dst === IPV6_LINK_LOCAL) return null;
    const name = route.interfaceName;
    const known = name === null ? undefined : this.#interfaces.get(name);
    if (name !== null && known === undefined) return null;
    if (route.type === 'other') return null;
    const own = { ...route, ifindex: known?.ifindex ?? 0 };
    if (this.#options.ownership.isOurs(route, name)) return own;
    // What is wanted to the letter, or was written by us, is ours wherever it leads.
    const key = keyOfRoute(own);
    const isSame = (other: FibRoute | undefined): boolean => other !== undefined && sameRoute(other, own);
    return isSame(this.#wanted.get(key)) || isSame(this.#known.get(key)) ? own : null;
  }
}
