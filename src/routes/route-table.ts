// What managers may ask of routes, neighbours, tunnel devices, policy rules and link addresses.
import type { Family } from '../model/family.js';
import type { RouteClass, RouteRule, RouteTarget } from '../model/route.js';

/** Desired routes of one family in one kernel table. Cheap calls that write nothing. */
export interface RouteTable {
  readonly family: Family;
  /** Replaces all routes of one class on one interface (or `NO_INTERFACE`); an empty list withdraws them. */
  setRoutes(routeClass: RouteClass, interfaceName: string, targets: readonly RouteTarget[]): void;
  /** Adds or replaces one route of a class, keyed by its destination and priority. */
  updateRoute(routeClass: RouteClass, interfaceName: string, target: RouteTarget): void;
  /** Withdraws one route of a class by destination. */
  removeRoute(routeClass: RouteClass, interfaceName: string, dst: string): void;
}

/** Desired policy routing rules in the tables that the driver owns. */
export interface RouteRules {
  setRules(rules: readonly RouteRule[]): void;
}

/** Desired link-scope addresses on workload interfaces (6.8). */
export interface LinkAddresses {
  readonly family: Family;
  /** Address with length (`169.254.1.1/32`), or null for none. */
  setAddress(interfaceName: string, cidr: string | null): void;
}

/** Routes on these interfaces that BIRD wrote are left alone (local BGP peers, 6.1). */
export interface BgpPeerInterfaces {
  setPeerInterface(interfaceName: string, isPeer: boolean): void;
}

/** Desired static neighbour and FDB entries of one VXLAN device (6.5). */
export interface VxlanFdb {
  readonly family: Family;
  /** Replaces all remote tunnel endpoints. `underlay` is the node's address, `tunnelAddress` the VTEP's. */
  setVteps(vteps: readonly { readonly mac: string; readonly tunnelAddress: string; readonly underlay: string }[]): void;
}

/** A tunnel device that should exist, or null to have it removed (vxlan) or emptied (ipip). */
export type TunnelDevice =
  | {
      readonly kind: 'vxlan';
      readonly name: string;
      readonly vni: number;
      readonly port: number;
      readonly mac: string;
      readonly mtu: number;
      /** Address without length. */
      readonly address: string;
      readonly underlayAddress: string;
      /** Name of the interface that holds `underlayAddress`. */
      readonly parent: string;
    }
  | { readonly kind: 'ipip'; readonly name: string; readonly mtu: number; readonly address: string };

/** Keeps tunnel devices as wanted, on its own timer as well as in each apply. */
export interface TunnelDevices {
  setDevice(name: string, device: TunnelDevice | null): void;
}
