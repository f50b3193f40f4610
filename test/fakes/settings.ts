// Settings of single interfaces in memory: sysctls and bandwidth.
import type {
  BandwidthLimit,
  InterfaceBandwidth,
  InterfaceSysctls,
  SysctlWrite,
} from '../../src/interfaces/interface-settings.js';

/** Keeps what is asked for. Everything counts as carried out at once, but for interfaces in `failing`. */
export class MemorySysctls implements InterfaceSysctls {
  readonly requests = new Map<string, readonly SysctlWrite[]>();
  readonly failing = new Set<string>();
  /** Number of `request` calls. */
  requestCount = 0;

  request(interfaceName: string, owner: string, writes: readonly SysctlWrite[]): void {
    this.requestCount++;
    this.requests.set(`${interfaceName} ${owner}`, writes);
  }

  forget(interfaceName: string, owner: string): void {
    this.requests.delete(`${interfaceName} ${owner}`);
  }

  isConfigured(interfaceName: string): boolean {
    return !this.failing.has(interfaceName);
  }

  /** Path → value of all requests of an interface. */
  wanted(interfaceName: string): Record<string, string> {
    const wanted: Record<string, string> = {};
    for (const [key, writes] of this.requests) {
      if (key.startsWith(`${interfaceName} `)) for (const { path, value } of writes) wanted[path] = value;
    }
    return wanted;
  }
}

/** Keeps the limits that are wanted; an interface without any is not listed. */
export class MemoryBandwidth implements InterfaceBandwidth {
  readonly limits = new Map<
    string,
    { readonly ingress: BandwidthLimit | null; readonly egress: BandwidthLimit | null }
  >();

  setLimits(interfaceName: string, ingress: BandwidthLimit | null, egress: BandwidthLimit | null): void {
    if (ingress === null && egress === null) this.limits.delete(interfaceName);
    else this.limits.set(interfaceName, { ingress, egress });
  }

  forget(interfaceName: string): void {
    this.limits.delete(interfaceName);
  }
}
