// A route table, link addresses and BGP peer interfaces in memory.
import type { Family } from '../../src/model/family.js';
import type { RouteClass, RouteTarget } from '../../src/model/route.js';
import type { BgpPeerInterfaces, LinkAddresses, RouteTable } from '../../src/routes/route-table.js';

/** Keeps the routes that are wanted, by class and interface. */
export class MemoryRouteTable implements RouteTable {
  readonly family: Family;
  readonly routes = new Map<string, readonly RouteTarget[]>();

  constructor(family: Family) {
    this.family = family;
  }

  setRoutes(routeClass: RouteClass, interfaceName: string, targets: readonly RouteTarget[]): void {
    const key = `${routeClass} ${interfaceName}`;
    if (targets.length === 0) this.routes.delete(key);
    else this.routes.set(key, targets);
  }

  updateRoute(routeClass: RouteClass, interfaceName: string, target: RouteTarget): void {
    const others = this.of(routeClass, interfaceName).filter(
      ({ dst, priority }) => dst !== target.dst || priority !== target.priority,
    );
    this.setRoutes(routeClass, interfaceName, [...others, target]);
  }

  removeRoute(routeClass: RouteClass, interfaceName: string, dst: string): void {
    const kept = this.of(routeClass, interfaceName).filter((target) => target.dst !== dst);
    this.setRoutes(routeClass, interfaceName, kept);
  }

  /** The routes of one class on one interface. */
  of(routeClass: RouteClass, interfaceName: string): readonly RouteTarget[] {
    return this.routes.get(`${routeClass} ${interfaceName}`) ?? [];
  }

  /** The whole desired state as plain data, sorted. */
  snapshot(): unknown {
    return [...this.routes].sort(([left], [right]) => (left < right ? -1 : 1));
  }
}

/** Keeps the addresses that are wanted; null takes one away. */
export class MemoryLinkAddresses implements LinkAddresses {
  readonly family: Family;
  readonly addresses = new Map<string, string>();

  constructor(family: Family) {
    this.family = family;
  }

  setAddress(interfaceName: string, cidr: string | null): void {
    if (cidr === null) this.addresses.delete(interfaceName);
    else this.addresses.set(interfaceName, cidr);
  }
}

/** Keeps the names of peer interfaces. */
export class MemoryBgpPeers implements BgpPeerInterfaces {
  readonly names = new Set<string>();

  setPeerInterface(interfaceName: string, isPeer: boolean): void {
    if (isPeer) this.names.add(interfaceName);
    else this.names.delete(interfaceName);
  }
}
