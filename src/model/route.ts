// Routes, neighbours and policy rules as values.
import type { Family } from './family.js';

/** Who wants a route, strongest first: on conflict for one destination the earliest in this list wins (6.1). */
export const ROUTE_CLASSES = [
  'local-workload',
  'wireguard',
  'vxlan-same-subnet',
  'vxlan-tunnel',
  'ipip-same-subnet',
  'ipip-tunnel',
  'no-encap',
  'blackhole-vxlan',
  'blackhole-ipip',
  'blackhole-no-encap',
] as const;

/** One of {@link ROUTE_CLASSES}. */
export type RouteClass = (typeof ROUTE_CLASSES)[number];

/** Pseudo interface of routes without an output interface (blackhole, throw). */
export const NO_INTERFACE = '*NoOIF*';

/** The kinds of routes that the driver writes. */
export type RouteType = 'unicast' | 'blackhole' | 'throw' | 'prohibit';

/** One leg of a multi-path route; needs a gateway and a real interface. */
export interface RouteNextHop {
  readonly gateway: string;
  readonly interfaceName: string;
}

/** A route that is wanted on the interface (or {@link NO_INTERFACE}) it is handed over with. */
export interface RouteTarget {
  /** Destination with length, host bits zero: `10.65.0.2/32`, `fd00:65::/64`. */
  readonly dst: string;
  readonly type: RouteType;
  readonly scope: 'link' | 'universe';
  readonly gateway?: string;
  readonly onlink?: boolean;
  readonly mtu?: number;
  /** Multi-path: then handed over with {@link NO_INTERFACE} and without `gateway`; usable while one leg's link is up. */
  readonly nextHops?: readonly RouteNextHop[];
  /** Preferred source address. */
  readonly src?: string;
  /** rtm_protocol number; 3 is boot, 80 is Felix's own. */
  readonly protocol: number;
  /** Metric; IPv6 0 means 1024. */
  readonly priority: number;
  /** MAC for a permanent IPv4 neighbour entry of the destination address (local workloads only). */
  readonly neighbourMac?: string;
}

/** A policy routing rule in a table that the driver owns. */
export interface RouteRule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly mark: number;
  readonly mask: number;
  readonly invert?: boolean;
}
