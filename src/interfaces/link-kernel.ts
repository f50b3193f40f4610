// The part of the kernel that this room needs, as it needs it. Every `RouteKernel` of the `routes` room fits: the rooms
// do not import each other, the composition root hands one object to both.
import type { Family } from '../model/family.js';

/** A link as listed. `isRunning` is IFF_RUNNING: operationally up. */
export interface ListedLink {
  readonly ifindex: number;
  readonly name: string;
  readonly kind: string | null;
  readonly isRunning: boolean;
  readonly mtu: number;
}

/** A route as listed; those of type `local` in the local table are the node's own addresses. */
export interface ListedRoute {
  /** With length. */
  readonly dst: string;
  readonly type: string;
  readonly interfaceName: string | null;
}

/** Full listings of links and routes. */
export interface LinkLister {
  listLinks(): Promise<readonly ListedLink[]>;
  listRoutes(family: Family, table: number, interfaceNames?: readonly string[]): Promise<readonly ListedRoute[]>;
}

/** Sysctls of an interface: path below /proc/sys/net without the interface (`ipv4/conf/proxy_arp`) → value. */
export type ListedSysctls = Readonly<Record<string, number | undefined>>;

/** Sysctls of all interfaces at once. What a listing doesn't tell is for the file to say. */
export interface SysctlLister {
  /** The values of this moment, by interface. */
  listSysctls(): Promise<ReadonlyMap<string, ListedSysctls>>;
}

/** A token bucket filter; see `KernelTbf` of the routes room. */
export interface TokenBucket {
  readonly rate: number;
  readonly bufferTicks: number;
  readonly limit: number;
  readonly peakRate: number | null;
  readonly minBurst: number;
}

/** Traffic control of one interface as listed. */
export interface ListedTrafficControl {
  readonly interfaceName: string;
  readonly tbf: TokenBucket | null;
  readonly hasIngress: boolean;
  readonly redirects: readonly string[];
}

/** The writes of traffic shaping. */
export type TrafficOperation =
  | { readonly op: 'add-link'; readonly link: { readonly kind: 'ifb'; readonly name: string; readonly mtu: number } }
  | { readonly op: 'delete-link'; readonly name: string }
  | { readonly op: 'set-link-up'; readonly name: string }
  | { readonly op: 'replace-tbf'; readonly interfaceName: string; readonly tbf: TokenBucket }
  | { readonly op: 'delete-tbf'; readonly interfaceName: string }
  | { readonly op: 'add-ingress'; readonly interfaceName: string }
  | { readonly op: 'delete-ingress'; readonly interfaceName: string }
  | { readonly op: 'delete-filters'; readonly interfaceName: string }
  | { readonly op: 'add-redirect'; readonly interfaceName: string; readonly target: string };

/** Why an operation failed, by class and in the kernel's words. */
export interface OperationFailure {
  readonly reason: string;
  readonly message: string;
}

/** Traffic control, and the links that it needs. */
export interface TrafficKernel {
  /** With names, at least those links of them that exist; without, all. */
  listLinks(names?: readonly string[]): Promise<readonly ListedLink[]>;
  listTrafficControl(interfaceNames: readonly string[]): Promise<readonly ListedTrafficControl[]>;
  apply(operations: readonly TrafficOperation[]): Promise<readonly (OperationFailure | null)[]>;
}

/** Table number of rtnetlink(7). */
export const LOCAL_TABLE = 255;
