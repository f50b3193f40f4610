// The seam between `routes` and `interfaces` and the kernel: typed reads, and operations as data.
// `command-kernel` carries it out with iproute2; a native rtnetlink form can stand in without anything above noticing.
import type { Family } from '../model/family.js';
import type { RouteType } from '../model/route.js';

/** Settings of a vxlan device, as the kernel reports them. Addresses canonical; absent ones null. */
export interface VxlanSettings {
  readonly vni: number;
  readonly port: number;
  readonly local: string | null;
  readonly parent: string | null;
  readonly group: string | null;
  readonly learning: boolean;
}

/** One network interface. `isRunning` is IFF_RUNNING (operationally up), `isUp` IFF_UP (administratively). */
export interface KernelLink {
  readonly ifindex: number;
  readonly name: string;
  /** rtnetlink kind (`veth`, `vxlan`, `ipip`, `ifb`, `wireguard`, …); null for plain devices. */
  readonly kind: string | null;
  readonly isUp: boolean;
  readonly isRunning: boolean;
  readonly mtu: number;
  readonly mac: string | null;
  readonly vxlan: VxlanSettings | null;
}

/** One interface address. `scope` is the kernel's number: 0 global, 253 link, 254 host. */
export interface KernelAddress {
  readonly interfaceName: string;
  readonly family: Family;
  readonly address: string;
  readonly length: number;
  readonly scope: number;
}

/** One leg of a multi-path route. */
export interface KernelNextHop {
  readonly gateway: string | null;
  readonly interfaceName: string | null;
  readonly onlink: boolean;
}

/** Route types that can be read; only those of {@link RouteType} are ever written. */
export type KernelRouteType = RouteType | 'local' | 'unreachable' | 'other';

/** One route of one table. A multi-path route has `nextHops` and neither gateway nor interface of its own. */
export interface KernelRoute {
  /** With length, host bits zero: `10.65.0.2/32`, `0.0.0.0/0`. */
  readonly dst: string;
  readonly tos: number;
  /** Metric as the kernel has it; 0 = none (IPv4 only). */
  readonly priority: number;
  readonly type: KernelRouteType;
  /** rtm_scope: 0 universe, 253 link. Always 0 for IPv6. */
  readonly scope: number;
  /** rtm_protocol. */
  readonly protocol: number;
  readonly gateway: string | null;
  readonly src: string | null;
  readonly onlink: boolean;
  /** 0 = none. */
  readonly mtu: number;
  /** Null for blackholes and the like, also where IPv6 names `lo`. */
  readonly interfaceName: string | null;
  readonly nextHops: readonly KernelNextHop[];
}

/** One policy routing rule. `source` is a prefix or null for any; marks are 0 when absent. */
export interface KernelRule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly mark: number;
  readonly mask: number;
  readonly invert: boolean;
  readonly source: string | null;
}

/** A permanent ARP or NDP entry. */
export interface KernelNeighbour {
  readonly family: Family;
  readonly interfaceName: string;
  readonly address: string;
  readonly mac: string;
}

/** A permanent FDB entry of a vxlan device: frames to `mac` go to the tunnel endpoint `remote`. */
export interface KernelFdbEntry {
  readonly interfaceName: string;
  readonly mac: string;
  readonly remote: string;
}

/** A token bucket filter at the root. `bufferTicks` is the kernel's own unit, 1/15.625 of a microsecond. */
export interface KernelTbf {
  /** Bytes per second. */
  readonly rate: number;
  readonly bufferTicks: number;
  /** Bytes. */
  readonly limit: number;
  /** Bytes per second; 0 = none. Null where the tool does not say (tc's JSON leaves it out). */
  readonly peakRate: number | null;
  /** Ticks at the peak rate; 0 = none. */
  readonly minBurst: number;
}

/** Traffic control state of one interface. `redirects` are the targets of filters that redirect what comes in. */
export interface KernelTrafficControl {
  readonly interfaceName: string;
  readonly tbf: KernelTbf | null;
  readonly hasIngress: boolean;
  readonly redirects: readonly string[];
}

/** A link to be created. Everything that cannot be changed later is in here. */
export type NewLink =
  | {
      readonly kind: 'vxlan';
      readonly name: string;
      readonly vni: number;
      readonly port: number;
      readonly local: string;
      readonly parent: string;
      readonly mac: string;
      readonly mtu: number;
    }
  | { readonly kind: 'ipip' | 'ifb' | 'wireguard'; readonly name: string; readonly mtu: number };

/** One write. Every one of them is safe to carry out twice. */
export type KernelOperation =
  | { readonly op: 'replace-route'; readonly family: Family; readonly table: number; readonly route: KernelRoute }
  | { readonly op: 'delete-route'; readonly family: Family; readonly table: number; readonly route: KernelRoute }
  | { readonly op: 'replace-neighbour'; readonly neighbour: KernelNeighbour }
  | { readonly op: 'delete-neighbour'; readonly neighbour: KernelNeighbour }
  | { readonly op: 'replace-fdb'; readonly entry: KernelFdbEntry }
  | { readonly op: 'delete-fdb'; readonly entry: KernelFdbEntry }
  | { readonly op: 'add-rule'; readonly rule: KernelRule }
  | { readonly op: 'delete-rule'; readonly rule: KernelRule }
  | { readonly op: 'add-link'; readonly link: NewLink }
  | { readonly op: 'delete-link'; readonly name: string }
  | { readonly op: 'set-link-up'; readonly name: string }
  | { readonly op: 'set-link-mtu'; readonly name: string; readonly mtu: number }
  | { readonly op: 'set-link-mac'; readonly name: string; readonly mac: string }
  | { readonly op: 'add-address'; readonly address: KernelAddress }
  | { readonly op: 'delete-address'; readonly address: KernelAddress }
  | { readonly op: 'replace-tbf'; readonly interfaceName: string; readonly tbf: KernelTbf }
  | { readonly op: 'delete-tbf'; readonly interfaceName: string }
  | { readonly op: 'add-ingress'; readonly interfaceName: string }
  | { readonly op: 'delete-ingress'; readonly interfaceName: string }
  | { readonly op: 'delete-filters'; readonly interfaceName: string }
  /** u32 match-all filter of priority 1 that redirects everything received to `target`. */
  | { readonly op: 'add-redirect'; readonly interfaceName: string; readonly target: string };

/**
 * Why an operation failed: `missing` what was to be deleted is not there; `exists` what was to be added is;
 * `interface-missing` / `interface-down` the interface it needs; `unsupported` by this kernel; `invalid` it was not
 * sent because a value in it is malformed.
 */
export type KernelFailureReason =
  | 'missing'
  | 'exists'
  | 'interface-missing'
  | 'interface-down'
  | 'unsupported'
  | 'invalid'
  | 'other';

/** A failed operation: reason by class, and the kernel's or tool's own words. */
export interface KernelFailure {
  readonly reason: KernelFailureReason;
  readonly message: string;
}

/** Sysctls of an interface: path below /proc/sys/net without the interface → value. What is not told is missing. */
export type LinkSysctls = Readonly<Record<string, number | undefined>>;

/**
 * Reads and writes of routing state. Lists reject with a `ToolError` or `NetlinkError` when they cannot be had whole;
 * a table that does not exist is empty, an interface that does not exist has nothing.
 */
export interface RouteKernel {
  listLinks(names?: readonly string[]): Promise<readonly KernelLink[]>;
  /** Of the named interfaces at least, if any are named. */
  listAddresses(interfaceNames?: readonly string[]): Promise<readonly KernelAddress[]>;
  /** Routes of a table (254 main, 255 local); only those through the named interfaces if any are named. */
  listRoutes(family: Family, table: number, interfaceNames?: readonly string[]): Promise<readonly KernelRoute[]>;
  listRules(family: Family): Promise<readonly KernelRule[]>;
  /** Permanent entries, of the named interfaces if any are named. */
  listNeighbours(family: Family, interfaceNames?: readonly string[]): Promise<readonly KernelNeighbour[]>;
  listFdb(interfaceName: string): Promise<readonly KernelFdbEntry[]>;
  listTrafficControl(interfaceNames: readonly string[]): Promise<readonly KernelTrafficControl[]>;
  /**
   * Carries the operations out in order, going on past a failure. One result each, null = done. Rejects only when the
   * way to the kernel itself is gone; then nothing may be assumed of any of them.
   */
  apply(operations: readonly KernelOperation[]): Promise<readonly (KernelFailure | null)[]>;
}

/** Table numbers of rtnetlink(7). */
export const MAIN_TABLE = 254;
export const LOCAL_TABLE = 255;
/** rtm_scope values that the driver writes. */
export const SCOPE_UNIVERSE = 0;
export const SCOPE_LINK = 253;
