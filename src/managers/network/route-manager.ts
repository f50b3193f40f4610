// What the VXLAN, IPIP and no-encap managers have in common (dataplane.md 6.4; Felix: `routeManager`): turns route
// messages of one pool type into routes over the tunnel, over the parent device, and blackholes of local blocks.
import { canonicalAddress, formatCidr, maskCidr, parseCidr } from '../../base/ip.js';
import type { Logger } from '../../base/logger.js';
import type { Family } from '../../model/family.js';
import type { InterfaceAddressEvent } from '../../model/interface.js';
import { NO_INTERFACE, type RouteClass, type RouteTarget } from '../../model/route.js';
import { type IPPoolType, RouteType, type RouteUpdate } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { RouteTable } from '../../routes/route-table.js';
import type { DataplaneMessage } from '../manager.js';
import { ParentDevice } from './parent-device.js';

/** The parts in which the three users differ. */
export interface RouteManagerOptions {
  readonly family: Family;
  readonly poolType: IPPoolType;
  /** True for pools without encapsulation: every route goes over the parent device. */
  readonly isNoEncap: boolean;
  readonly routes: RouteTable;
  readonly tunnelDevice: string;
  readonly classes: { readonly tunnel: RouteClass; readonly sameSubnet: RouteClass; readonly blackhole: RouteClass };
  /** Protocol of same-subnet and blackhole routes. */
  readonly routeProtocol: number;
  /** DeviceRouteSourceAddress of the family. */
  readonly sourceAddress: string | null;
  /** The route over the tunnel, or null while something is missing. */
  readonly tunnelRoute: (dst: string, route: RouteUpdate) => RouteTarget | null;
  readonly log: Logger;
}

interface Programmed {
  readonly routeClass: RouteClass;
  readonly interfaceName: string;
}

/** Protocol of routes that no device of ours tells apart: DeviceRouteProtocol, but never `boot` (6.1). */
export function exclusiveRouteProtocol(deviceRouteProtocol: number): number {
  return deviceRouteProtocol === 3 ? 80 : deviceRouteProtocol;
}

function has(route: RouteUpdate, type: RouteType): boolean {
  return (route.types & type) === type;
}

/** Whether the destination is the remote tunnel address itself, which gets a route straight onto the device. */
export function isRemoteTunnelAddress(route: RouteUpdate): boolean {
  return has(route, RouteType.REMOTE_TUNNEL) && (has(route, RouteType.REMOTE_WORKLOAD) || route.borrowed);
}

/** Adds the source address that is configured for all routes of the family. */
export function withSource(target: RouteTarget, sourceAddress: string | null): RouteTarget {
  return sourceAddress === null ? target : { ...target, src: sourceAddress };
}

/** Keeps the routes of one pool type in a route table. Costs follow the destinations that changed. */
export class RouteManager {
  readonly parent = new ParentDevice();
  readonly #options: RouteManagerOptions;
  readonly #remote = new Map<string, RouteUpdate>();
  readonly #dstsByNode = new Map<string, Set<string>>();
  readonly #localBlocks = new Set<string>();
  readonly #programmed = new Map<string, Programmed>();
  readonly #dirty = new Set<string>();
  #blocksDirty = true;

  constructor(options: RouteManagerOptions) {
    this.#options = options;
  }

  /** Takes route messages in; all others are ignored. */
  onMessage(message: DataplaneMessage): void {
    if (message.case === 'routeUpdate') this.#onUpdate(message.value);
    else if (message.case === 'routeRemove') {
      const dst = this.#canonical(message.value.dst);
      if (dst !== null) this.#forget(dst);
    }
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    if (this.parent.onAddresses(event)) this.touchAll();
  }

  /** The node's own underlay address, with or without length; empty = not known. */
  setUnderlay(address: string): void {
    const bare = address.split('/')[0] ?? '';
    if (this.parent.setUnderlay(canonicalAddress(bare))) this.touchAll();
  }

  /** Routes to this node may have changed: its tunnel endpoint or address did. */
  touchNode(node: string): void {
    for (const dst of this.#dstsByNode.get(node) ?? []) this.#dirty.add(dst);
  }

  touchAll(): void {
    for (const dst of this.#remote.keys()) this.#dirty.add(dst);
  }

  /** Hands what changed to the route table. */
  complete(): void {
    for (const dst of this.#dirty) this.#program(dst);
    this.#dirty.clear();
    if (this.#blocksDirty) this.#programBlocks();
    this.#blocksDirty = false;
  }

  #canonical(dst: string): string | null {
    const cidr = parseCidr(dst);
    if (cidr === null) {
      this.#options.log.warn('Route is left out: its destination cannot be read', { dst });
      return null;
    }
    return cidr.family === this.#options.family ? formatCidr(maskCidr(cidr)) : null;
  }

  #onUpdate(route: RouteUpdate): void {
    const dst = this.#canonical(route.dst);
    if (dst === null) return;
    this.#forget(dst);
    if (route.ipPoolType !== this.#options.poolType) return;
    if (has(route, RouteType.REMOTE_WORKLOAD) || isRemoteTunnelAddress(route)) {
      this.#remote.set(dst, route);
      const dsts = this.#dstsByNode.get(route.dstNodeName) ?? new Set<string>();
      dsts.add(dst);
      this.#dstsByNode.set(route.dstNodeName, dsts);
      this.#dirty.add(dst);
    }
    if (this.#isLocalBlock(route, dst)) {
      this.#localBlocks.add(dst);
      this.#blocksDirty = true;
    }
  }

  /** A block of one address is no block: its blackhole would stop the CNI plugin from adding the pod's own route. */
  #isLocalBlock(route: RouteUpdate, dst: string): boolean {
    const isSingle = dst.endsWith(this.#options.family === 4 ? '/32' : '/128');
    return has(route, RouteType.LOCAL_WORKLOAD) && !route.localWorkload && !isSingle;
  }

  #forget(dst: string): void {
    const old = this.#remote.get(dst);
    if (old !== undefined) {
      this.#remote.delete(dst);
      const dsts = this.#dstsByNode.get(old.dstNodeName);
      dsts?.delete(dst);
      if (dsts?.size === 0) this.#dstsByNode.delete(old.dstNodeName);
      this.#dirty.add(dst);
    }
    if (this.#localBlocks.delete(dst)) this.#blocksDirty = true;
  }

  #program(dst: string): void {
    const { routes, classes, tunnelDevice } = this.#options;
    const route = this.#remote.get(dst);
    const direct = route === undefined ? null : this.#directRoute(dst, route);
    const target = direct ?? (route === undefined ? null : this.#options.tunnelRoute(dst, route));
    const place: Programmed | null =
      target === null
        ? null
        : direct === null
          ? { routeClass: classes.tunnel, interfaceName: tunnelDevice }
          : { routeClass: classes.sameSubnet, interfaceName: this.parent.name ?? '' };
    const old = this.#programmed.get(dst);
    const moved = old?.routeClass !== place?.routeClass || old?.interfaceName !== place?.interfaceName;
    if (old !== undefined && moved) {
      routes.removeRoute(old.routeClass, old.interfaceName, dst);
      this.#programmed.delete(dst);
    }
    if (place === null || target === null) return;
    routes.updateRoute(place.routeClass, place.interfaceName, withSource(target, this.#options.sourceAddress));
    this.#programmed.set(dst, place);
  }

  /** Straight to the node over the parent device, or null where that is not wanted or not possible yet. */
  #directRoute(dst: string, route: RouteUpdate): RouteTarget | null {
    const gateway = canonicalAddress(route.dstNodeIp);
    if (this.parent.name === null || gateway === null) return null;
    if (!this.#options.isNoEncap && !route.sameSubnet) return null;
    const protocol = this.#options.routeProtocol;
    return { dst, type: 'unicast', scope: 'universe', gateway, onlink: true, protocol, priority: 0 };
  }

  #programBlocks(): void {
    const { routes, classes, routeProtocol, sourceAddress } = this.#options;
    const targets = [...this.#localBlocks].map((dst) =>
      withSource({ dst, type: 'blackhole', scope: 'universe', protocol: routeProtocol, priority: 0 }, sourceAddress),
    );
    routes.setRoutes(classes.blackhole, NO_INTERFACE, targets);
  }
}
