// Whose route is it? The rules by which the driver takes a route of the kernel for its own, and may so remove it (6.1).
import type { KernelRoute } from './route-kernel.js';
import type { BgpPeerInterfaces } from './route-table.js';

/** rtm_protocol numbers of rtnetlink(7) and of Calico. */
export const PROTOCOL_BOOT = 3;
export const PROTOCOL_BIRD = 12;
export const PROTOCOL_CALICO = 80;

/** Decides for one kernel table. `interfaceName` is null for blackholes, multi-path routes and the like. */
export interface RouteOwnership {
  isOurs(route: KernelRoute, interfaceName: string | null): boolean;
  /** Whether unknown routes on a newly seen interface are left alone for a while (the CNI plugin may be ahead of us). */
  hasGracePeriod(interfaceName: string): boolean;
}

/** What the ownership of main-table routes depends on. */
export interface MainTableOwnershipOptions {
  readonly workloadPrefixes: readonly string[];
  readonly removeExternalRoutes: boolean;
  readonly deviceRouteProtocol: number;
  /** `vxlan.calico` or `vxlan-v6.calico`: its routes are always ours, so that a disabled VXLAN is cleaned up. */
  readonly vxlanDevice: string;
  /** True when the driver, not BIRD, programs the routes over tunl0. */
  readonly ownsBirdIpipRoutes: boolean;
}

/** Device that BPF mode leaves behind; its routes are Calico's. */
const BPF_DEVICE = 'bpfin.cali';
const IPIP_DEVICE = 'tunl0';

/** Ownership in the main table; Felix: `ownershippol.MainTableOwnershipPolicy`. */
export class MainTableOwnership implements RouteOwnership, BgpPeerInterfaces {
  readonly #options: MainTableOwnershipOptions;
  readonly #exclusiveProtocol: number;
  readonly #protocols: ReadonlySet<number>;
  readonly #peerInterfaces = new Set<string>();

  constructor(options: MainTableOwnershipOptions) {
    this.#options = options;
    // Boot is a number that anybody uses, so with it the routes without a device of ours get a number of their own.
    const isBoot = options.deviceRouteProtocol === PROTOCOL_BOOT;
    this.#exclusiveProtocol = isBoot ? PROTOCOL_CALICO : options.deviceRouteProtocol;
    this.#protocols = new Set(isBoot ? [PROTOCOL_BOOT, PROTOCOL_CALICO] : [options.deviceRouteProtocol]);
  }

  setPeerInterface(interfaceName: string, isPeer: boolean): void {
    if (isPeer) this.#peerInterfaces.add(interfaceName);
    else this.#peerInterfaces.delete(interfaceName);
  }

  isOurs(route: KernelRoute, interfaceName: string | null): boolean {
    if (route.protocol === this.#exclusiveProtocol) return true;
    if (interfaceName === null) return false;
    if (this.hasGracePeriod(interfaceName)) {
      if (!this.#options.removeExternalRoutes) return this.#protocols.has(route.protocol);
      return !(route.protocol === PROTOCOL_BIRD && this.#peerInterfaces.has(interfaceName));
    }
    if (interfaceName === IPIP_DEVICE) {
      return this.#options.ownsBirdIpipRoutes && route.protocol === PROTOCOL_BIRD;
    }
    return interfaceName === this.#options.vxlanDevice || interfaceName === BPF_DEVICE;
  }

  hasGracePeriod(interfaceName: string): boolean {
    return this.#options.workloadPrefixes.some((prefix) => interfaceName.startsWith(prefix));
  }
}

/**
 * Ownership in the table of one device (wireguard): routes over the device, and throw routes. Whatever else somebody
 * keeps in a table of that number is left alone.
 */
export function deviceTableOwnership(deviceName: string): RouteOwnership {
  return {
    isOurs: (route, interfaceName) =>
      interfaceName === deviceName || (interfaceName === null && route.type === 'throw'),
    hasGracePeriod: () => false,
  };
}
