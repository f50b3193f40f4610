// What managers may ask of single interfaces: sysctls and bandwidth limits.

/** One sysctl: path below /proc/sys (`net/ipv4/conf/cali1/rp_filter`) and its value. */
export interface SysctlWrite {
  readonly path: string;
  readonly value: string;
  /** A failure is logged but does not count. */
  readonly bestEffort?: boolean;
}

/** Sysctls of workload interfaces. Written at the next apply, read first: an equal value is not written. */
export interface InterfaceSysctls {
  /** Asks for these settings on the interface; repeated calls re-assert them. `owner` tells v4 and v6 apart. */
  request(interfaceName: string, owner: string, writes: readonly SysctlWrite[]): void;
  /** Stops caring about the interface. */
  forget(interfaceName: string, owner: string): void;
  /** False while a request of this owner has not been carried out; such an endpoint is `down`. */
  isConfigured(interfaceName: string, owner: string): boolean;
}

/** Bandwidth of one direction; bits and bits per second, 0 = not set. */
export interface BandwidthLimit {
  readonly rate: bigint;
  readonly burst: bigint;
  readonly peakRate: bigint;
  readonly minBurst: bigint;
}

/** Traffic shaping of workload interfaces (2.10): `ingress` is toward the workload. */
export interface InterfaceBandwidth {
  setLimits(interfaceName: string, ingress: BandwidthLimit | null, egress: BandwidthLimit | null): void;
  forget(interfaceName: string): void;
}
