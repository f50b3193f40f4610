// IPIP (dataplane.md 6.6): tunl0 and, where the driver rather than BIRD programs them, its routes. IPv4 only.
import { canonicalAddress } from '../../base/ip.js';
import type { Logger } from '../../base/logger.js';
import type { DataplaneConfig } from '../../model/config.js';
import type { InterfaceAddressEvent } from '../../model/interface.js';
import type { RouteTarget } from '../../model/route.js';
import { IPPoolType, type RouteUpdate } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { RouteTable, TunnelDevices } from '../../routes/route-table.js';
import { withoutLength } from '../addresses.js';
import type { DataplaneMessage, Manager } from '../manager.js';
import { exclusiveRouteProtocol, RouteManager } from './route-manager.js';

/** The one device of the kernel's IPIP. */
export const IPIP_DEVICE = 'tunl0';

/** What the manager is built from. It exists only while IPIP is enabled. */
export interface IpipManagerOptions {
  readonly config: DataplaneConfig;
  readonly mtu: number;
  readonly routes: RouteTable;
  readonly devices: TunnelDevices;
  readonly log: Logger;
}

/** Whether the driver programs the routes of IPIP pools. */
export function programsIpipRoutes(config: DataplaneConfig): boolean {
  return config.programClusterRoutes === 'Enabled' || config.programClusterRoutes === 'EnabledIPIPOnly';
}

/** The device is wanted once the node's own address is known. */
export class IpipManager implements Manager {
  readonly name = 'ipip/4';
  readonly #options: IpipManagerOptions;
  readonly #routes: RouteManager;
  readonly #hosts = new Map<string, string>();

  constructor(options: IpipManagerOptions) {
    const { config, routes, log } = options;
    this.#options = options;
    this.#routes = new RouteManager({
      family: 4,
      poolType: IPPoolType.IPIP,
      isNoEncap: false,
      routes,
      tunnelDevice: IPIP_DEVICE,
      classes: { tunnel: 'ipip-tunnel', sameSubnet: 'ipip-same-subnet', blackhole: 'blackhole-ipip' },
      routeProtocol: exclusiveRouteProtocol(config.deviceRouteProtocol),
      sourceAddress: config.deviceRouteSourceAddress,
      tunnelRoute: (dst, route) => this.#tunnelRoute(dst, route),
      log,
    });
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'hostMetadataUpdate') this.#onHost(message.value.hostname, message.value.ipv4Addr);
    else if (message.case === 'hostMetadataRemove') this.#onHost(message.value.hostname, '');
    else if (programsIpipRoutes(this.#options.config)) this.#routes.onMessage(message);
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    this.#routes.onInterfaceAddresses(event);
  }

  completeDeferredWork(): boolean {
    const { config, devices, mtu } = this.#options;
    const address = config.ipInIpTunnelAddr;
    if (address !== null && this.#routes.parent.name !== null) {
      devices.setDevice(IPIP_DEVICE, { kind: 'ipip', name: IPIP_DEVICE, mtu, address });
    }
    if (programsIpipRoutes(config)) this.#routes.complete();
    return true;
  }

  #onHost(hostname: string, address: string): void {
    if (hostname === this.#options.config.felixHostname) this.#routes.setUnderlay(address);
    const canonical = canonicalAddress(withoutLength(address));
    if (canonical === null) this.#hosts.delete(hostname);
    else this.#hosts.set(hostname, canonical);
    this.#routes.touchNode(hostname);
  }

  #tunnelRoute(dst: string, route: RouteUpdate): RouteTarget | null {
    const gateway = this.#hosts.get(route.dstNodeName);
    if (gateway === undefined) return null;
    const protocol = exclusiveRouteProtocol(this.#options.config.deviceRouteProtocol);
    const { mtu } = this.#options;
    return { dst, type: 'unicast', scope: 'universe', gateway, onlink: true, mtu, protocol, priority: 0 };
  }
}
