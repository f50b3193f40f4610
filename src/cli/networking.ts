// Builds what keeps routes, addresses, neighbours and tunnel devices of a dataplane, and what hears of interfaces.
import type { Clock } from '../base/clock.js';
import type { Logger } from '../base/logger.js';
import type { DataplaneConfig } from '../model/config.js';
import type { Family } from '../model/family.js';
import type { Features } from '../model/features.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { OperationObserver } from '../model/operation.js';
import type { Reconciler } from '../model/reconciler.js';
import { CommandConntrackCleaner } from '../routes/conntrack-cleaner.js';
import { NetlinkConntrackCleaner } from '../routes/netlink-conntrack.js';
import { LinkAddressesReconciler } from '../routes/link-addresses-reconciler.js';
import { MainTableOwnership } from '../routes/ownership.js';
import { MAIN_TABLE } from '../routes/route-kernel.js';
import { RouteTableReconciler } from '../routes/route-table-reconciler.js';
import { TunnelDevicesReconciler } from '../routes/tunnel-devices-reconciler.js';
import { VxlanFdbReconciler } from '../routes/vxlan-fdb-reconciler.js';
import type { Metrics } from '../metrics/metrics.js';
import { routeTimings } from './counted-io.js';
import type { KernelAccess } from './kernel-access.js';

const VXLAN_DEVICES: Readonly<Record<Family, string>> = { 4: 'vxlan.calico', 6: 'vxlan-v6.calico' };

/** Routes and addresses of one family. */
export interface FamilyNetworking {
  readonly family: Family;
  readonly routes: RouteTableReconciler;
  readonly linkAddresses: LinkAddressesReconciler;
  readonly fdb: VxlanFdbReconciler;
  readonly bgpPeers: MainTableOwnership;
}

/** Everything about routes of a dataplane. */
export interface Networking {
  readonly v4: FamilyNetworking;
  readonly v6: FamilyNetworking | null;
  readonly devices: TunnelDevicesReconciler;
  /** In the order in which one apply runs them. */
  readonly links: readonly Reconciler[];
  readonly routes: readonly Reconciler[];
  onInterfaceState(event: InterfaceStateEvent): void;
}

/** What it is built from. */
export interface NetworkingOptions {
  readonly config: DataplaneConfig;
  readonly features: Features;
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
  readonly metrics: Metrics;
}

/** Builds the reconcilers; nothing is read or written before their first apply. */
export function createNetworking(options: NetworkingOptions): Networking {
  const { config, features, access, clock, log, onOperation } = options;
  const context = { kernel: access.routes, logger: log, observe: onOperation };
  const tools = new CommandConntrackCleaner({ runner: access.runner, logger: log, observe: onOperation });
  const { flows } = access;
  const conntrack =
    flows === null ? tools : new NetlinkConntrackCleaner({ flows, tools, logger: log, observe: onOperation });
  const create = (family: Family): FamilyNetworking => {
    const bgpPeers = new MainTableOwnership({
      workloadPrefixes: config.interfacePrefixes,
      removeExternalRoutes: config.removeExternalRoutes,
      deviceRouteProtocol: config.deviceRouteProtocol,
      vxlanDevice: VXLAN_DEVICES[family],
      // BIRD's routes over tunl0 are IPv4 only.
      ownsBirdIpipRoutes:
        family === 4 &&
        (config.programClusterRoutes === 'Enabled' || config.programClusterRoutes === 'EnabledIPIPOnly'),
    });
    const routes = new RouteTableReconciler({
      ...context,
      family,
      table: MAIN_TABLE,
      ownership: bgpPeers,
      conntrack,
      staticNeighbours: family === 4,
      disabled: config.routeSyncDisabled,
      clock,
      timings: routeTimings(options.metrics),
    });
    const linkAddresses = new LinkAddressesReconciler({
      ...context,
      family,
      workloadPrefixes: config.interfacePrefixes,
      disabled: config.routeSyncDisabled,
    });
    const fdb = new VxlanFdbReconciler({ ...context, family, deviceName: VXLAN_DEVICES[family] });
    return { family, routes, linkAddresses, fdb, bgpPeers };
  };
  const v4 = create(4);
  const v6 = config.ipv6Support ? create(6) : null;
  const families = v6 === null ? [v4] : [v4, v6];
  const devices = new TunnelDevicesReconciler({
    ...context,
    clock,
    checksumOffloadFix: features.checksumOffloadBroken ? access.runner : null,
  });
  const listeners = [devices, ...families.flatMap(({ routes, linkAddresses, fdb }) => [routes, linkAddresses, fdb])];
  return {
    v4,
    v6,
    devices,
    links: [devices, ...families.map(({ fdb }) => fdb), ...families.map(({ linkAddresses }) => linkAddresses)],
    routes: families.map(({ routes }) => routes),
    onInterfaceState: (event) => {
      for (const listener of listeners) listener.onInterfaceState(event);
    },
  };
}
