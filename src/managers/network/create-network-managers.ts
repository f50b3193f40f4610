// Builds the network managers that a node needs, in Felix's registration order (dataplane.md section 2), and asks for
// the removal of what is no longer enabled.
import type { Logger } from '../../base/logger.js';
import { tunnelMtus } from '../../interfaces/host-mtu.js';
import type { IpSets } from '../../ipsets/ip-sets.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../../model/config.js';
import type { RouteTable, TunnelDevices, VxlanFdb } from '../../routes/route-table.js';
import type { WireguardPeers } from '../../routes/wireguard.js';
import type { NetworkManagers } from '../create-managers.js';
import type { Manager } from '../manager.js';
import { IPIP_DEVICE, IpipManager } from './ipip-manager.js';
import type { LiveMigrationMonitor } from './live-migration-monitor.js';
import { NoEncapManager, programsNoEncapRoutes } from './no-encap-manager.js';
import { VXLAN_DEVICES, VxlanManager } from './vxlan-manager.js';
import { WireguardManager } from './wireguard-manager.js';

/** Where Wireguard of one family goes: its device's own routing table, and its peers. */
export interface WireguardSinks {
  readonly routes: RouteTable;
  readonly peers: WireguardPeers;
}

/** The sinks of one family. */
export interface NetworkFamilySinks {
  /** The main table. */
  readonly routes: RouteTable;
  readonly fdb: VxlanFdb;
  readonly ipSets: IpSets;
  /** Absent where RouteTableRanges leaves no table for it. */
  readonly wireguard?: WireguardSinks;
}

/** Everything the network managers are built from. */
export interface NetworkManagersOptions {
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
  readonly v4: NetworkFamilySinks;
  /** Null when IPv6 is not supported. */
  readonly v6: NetworkFamilySinks | null;
  readonly devices: TunnelDevices;
  /** Told of states by `setListeners`, once the endpoint managers exist. */
  readonly liveMigration?: LiveMigrationMonitor;
  /** Proxy neighbour managers of the families that have them. */
  readonly proxyNeighbours?: readonly Manager[];
  readonly log: Logger;
}

function createVxlan(options: NetworkManagersOptions, sinks: NetworkFamilySinks): Manager[] {
  const { config, environment, devices } = options;
  const family = sinks.routes.family;
  const enabled = family === 4 ? environment.vxlanEnabled : environment.vxlanEnabledV6;
  if (!enabled) {
    devices.setDevice(VXLAN_DEVICES[family], null);
    return [];
  }
  const mtus = tunnelMtus(config, environment.hostMtu);
  const log = options.log.child({ manager: `vxlan/${family}` });
  return [new VxlanManager({ ...sinks, config, devices, mtu: family === 4 ? mtus.vxlan : mtus.vxlanV6, log })];
}

function createIpip(options: NetworkManagersOptions): Manager[] {
  const { config, environment, devices, v4 } = options;
  if (!environment.ipipEnabled) {
    // Set explicitly to false, it is somebody else's device.
    if (config.ipInIpEnabled === null) devices.setDevice(IPIP_DEVICE, null);
    return [];
  }
  const { ipip } = tunnelMtus(config, environment.hostMtu);
  const log = options.log.child({ manager: 'ipip/4' });
  return [new IpipManager({ config, devices, routes: v4.routes, mtu: ipip, log })];
}

function createNoEncap(options: NetworkManagersOptions): Manager[] {
  const { config, environment, v4, v6, log } = options;
  if (!environment.noEncapEnabled || !programsNoEncapRoutes(config)) return [];
  return [v4, ...(v6 === null ? [] : [v6])].map(({ routes }) => new NoEncapManager({ config, routes, log }));
}

function createWireguard(options: NetworkManagersOptions, sinks: NetworkFamilySinks): Manager[] {
  const { config } = options;
  const family = sinks.routes.family;
  const enabled = family === 4 ? config.wireguardEnabled : config.wireguardEnabledV6;
  if (!enabled) return [];
  const log = options.log.child({ manager: `wireguard/${family}` });
  if (sinks.wireguard === undefined) {
    log.error('RouteTableRanges leaves no table for Wireguard; it stays off', { family });
    return [];
  }
  const deviceName = family === 4 ? config.wireguardInterfaceName : config.wireguardInterfaceNameV6;
  return [new WireguardManager({ ...sinks.wireguard, config, deviceName, log })];
}

/** The managers by their place among the others; `createPolicyManagers` takes them as `network`. */
export function createNetworkManagers(options: NetworkManagersOptions): NetworkManagers {
  const { v4, v6, devices } = options;
  const noEncap = createNoEncap(options);
  const vxlanV4 = createVxlan(options, v4);
  const ipip = createIpip(options);
  // Without IPv6 support nobody else would remove a device that an earlier run made.
  if (v6 === null) devices.setDevice(VXLAN_DEVICES[6], null);
  const vxlanV6 = v6 === null ? [] : createVxlan(options, v6);
  const { liveMigration, proxyNeighbours = [] } = options;
  return {
    first: [...(liveMigration === undefined ? [] : [liveMigration]), ...noEncap, ...proxyNeighbours, ...vxlanV4],
    afterDscpV4: [...ipip, ...createWireguard(options, v4)],
    beforeV6: vxlanV6,
    last: v6 === null ? [] : createWireguard(options, v6),
  };
}
