// Routes of pools without encapsulation, where the driver rather than BIRD programs them (dataplane.md 6.6).
import type { Logger } from '../../base/logger.js';
import type { DataplaneConfig } from '../../model/config.js';
import type { InterfaceAddressEvent } from '../../model/interface.js';
import { IPPoolType } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { RouteTable } from '../../routes/route-table.js';
import type { DataplaneMessage, Manager } from '../manager.js';
import { exclusiveRouteProtocol, RouteManager } from './route-manager.js';
import { deviceSourceAddress } from './vxlan-manager.js';

/** What the manager is built from. It exists only where a pool without encapsulation does. */
export interface NoEncapManagerOptions {
  readonly config: DataplaneConfig;
  readonly routes: RouteTable;
  readonly log: Logger;
}

/** Whether the driver programs the routes of pools without encapsulation. */
export function programsNoEncapRoutes(config: DataplaneConfig): boolean {
  return config.programClusterRoutes === 'Enabled' || config.programClusterRoutes === 'EnabledNoEncapOnly';
}

/** One family. */
export class NoEncapManager implements Manager {
  readonly name: string;
  readonly #options: NoEncapManagerOptions;
  readonly #routes: RouteManager;

  constructor(options: NoEncapManagerOptions) {
    const { config, routes, log } = options;
    this.#options = options;
    this.name = `no-encap/${routes.family}`;
    this.#routes = new RouteManager({
      family: routes.family,
      poolType: IPPoolType.NO_ENCAP,
      isNoEncap: true,
      routes,
      tunnelDevice: '',
      classes: { tunnel: 'no-encap', sameSubnet: 'no-encap', blackhole: 'blackhole-no-encap' },
      routeProtocol: exclusiveRouteProtocol(config.deviceRouteProtocol),
      sourceAddress: deviceSourceAddress(config, routes.family),
      tunnelRoute: () => null,
      log,
    });
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'hostMetadataUpdate') {
      const { hostname, ipv4Addr, ipv6Addr } = message.value;
      if (hostname === this.#options.config.felixHostname) {
        this.#routes.setUnderlay(this.#options.routes.family === 4 ? ipv4Addr : ipv6Addr);
      }
    } else if (message.case === 'hostMetadataRemove') {
      if (message.value.hostname === this.#options.config.felixHostname) this.#routes.setUnderlay('');
    } else this.#routes.onMessage(message);
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    this.#routes.onInterfaceAddresses(event);
  }

  completeDeferredWork(): boolean {
    this.#routes.complete();
    return true;
  }
}
