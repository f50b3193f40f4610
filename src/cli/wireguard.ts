// Builds Wireguard of one family: the device with its peers, its own routing table, and the rule that leads there.
// Built when it is off, too: what an earlier run left has to go.
import { tunnelMtus } from '../interfaces/host-mtu.js';
import { hostFiles } from '../kernel/files.js';
import type { WireguardSinks } from '../managers/network/create-network-managers.js';
import type { DataplaneEnvironment } from '../model/config.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { Reconciler } from '../model/reconciler.js';
import { deviceTableOwnership } from '../routes/ownership.js';
import { RouteRulesReconciler } from '../routes/route-rules-reconciler.js';
import { RouteTableReconciler } from '../routes/route-table-reconciler.js';
import { ownRuleTables, wireguardTables } from '../routes/table-index.js';
import { WireguardReconciler } from '../routes/wireguard-reconciler.js';
import { allocateMarkBits } from '../rules/mark-bits.js';
import type { NetworkingOptions } from './networking.js';

/** Wireguard of one family. */
export interface FamilyWireguard {
  readonly sinks: WireguardSinks;
  /** Device first, then its table and rule. */
  readonly reconcilers: readonly Reconciler[];
  onInterfaceState(event: InterfaceStateEvent): void;
}

/** What it is built from. */
export interface WireguardBuildOptions extends NetworkingOptions {
  readonly environment: DataplaneEnvironment;
  setPublicKey(family: Family, publicKey: string): void;
}

/** Null where RouteTableRanges leaves no table for the family. */
export function createWireguard(family: Family, options: WireguardBuildOptions): FamilyWireguard | null {
  const { config, environment, access, clock, log, onOperation } = options;
  const table = wireguardTables(config)[family];
  const ownTables = ownRuleTables(config).get(family);
  if (table === null || ownTables === undefined) return null;
  const context = { kernel: access.routes, logger: log, observe: onOperation };
  const deviceName = family === 4 ? config.wireguardInterfaceName : config.wireguardInterfaceNameV6;
  const mtus = tunnelMtus(config, environment.hostMtu);
  const enabled = family === 4 ? config.wireguardEnabled : config.wireguardEnabledV6;
  const mark = enabled ? allocateMarkBits(config, environment.backend).wireguard : 0;
  const rules = new RouteRulesReconciler({ ...context, ownTables: new Map([[family, ownTables]]) });
  const routes = new RouteTableReconciler({
    ...context,
    family,
    table,
    ownership: deviceTableOwnership(deviceName),
    conntrack: null,
    staticNeighbours: false,
    disabled: config.routeSyncDisabled,
    clock,
  });
  const device = new WireguardReconciler({
    ...context,
    family,
    enabled,
    control: access.wireguard,
    files: hostFiles,
    procSys: '/proc/sys',
    sysClassNet: '/sys/class/net',
    deviceName,
    mtu: family === 4 ? mtus.wireguard : mtus.wireguardV6,
    settings: {
      listenPort: family === 4 ? config.wireguardListeningPort : config.wireguardListeningPortV6,
      mark,
      keepaliveMs: config.wireguardPersistentKeepAliveMs,
    },
    hostEncryption: config.wireguardHostEncryptionEnabled,
    napiThreading: config.wireguardThreadingEnabled,
    rule: { family, priority: config.wireguardRoutingRulePriority, table, mark, mask: mark, invert: true },
    rules,
    onPublicKey: (publicKey) => options.setPublicKey(family, publicKey),
  });
  return {
    sinks: { routes, peers: device },
    reconcilers: [device, routes, rules],
    onInterfaceState: (event) => {
      device.onInterfaceState(event);
      routes.onInterfaceState(event);
    },
  };
}
