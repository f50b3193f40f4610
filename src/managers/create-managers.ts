// Builds the policy-side managers of both families in Felix's registration order (dataplane.md section 2), with room for
// the network managers in between.
import type { Logger } from '../base/logger.js';
import type { InterfaceBandwidth, InterfaceSysctls } from '../interfaces/interface-settings.js';
import type { IpSets } from '../ipsets/ip-sets.js';
import type { BgpPeerInterfaces, LinkAddresses, RouteTable } from '../routes/route-table.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import { DscpManager } from './dscp-manager.js';
import { EndpointManager } from './endpoint-manager.js';
import type { EndpointStatusSink } from './endpoint-status.js';
import { FloatingIpManager } from './floating-ip-manager.js';
import { type Flowtable, FlowtableDevicesManager } from './flowtable-devices-manager.js';
import { FlowtableExclusionManager } from './flowtable-exclusion-manager.js';
import { HostIpManager } from './host-ip-manager.js';
import { HostsIpSetManager } from './hosts-ip-set-manager.js';
import { IpSetsManager } from './ip-sets-manager.js';
import type { Manager } from './manager.js';
import { MasqueradeManager } from './masquerade-manager.js';
import { PolicyManager } from './policy-manager.js';
import { ServiceLoopManager } from './service-loop-manager.js';
import { SharedWorkloadChains } from './shared-workload-chains.js';
import { setStaticRules, type FamilyTables } from './static-rules.js';

/** The sinks of one family. */
export interface FamilySinks {
  /** Brings family, configuration and environment along. */
  readonly renderer: RuleRenderer;
  readonly tables: FamilyTables;
  readonly ipSets: IpSets;
  readonly routes: RouteTable;
  readonly linkAddresses: LinkAddresses;
  readonly bgpPeers: BgpPeerInterfaces;
  /** Left out in iptables mode, without flow offload, and where the kernel has no flowtables. */
  readonly flowtable?: Flowtable;
}

/** Managers that are registered between ours; all optional. */
export interface NetworkManagers {
  /** Live migration, no-encap, proxy neighbour, VXLAN v4: before everything else. */
  readonly first?: readonly Manager[];
  /** IPIP, Wireguard v4. */
  readonly afterDscpV4?: readonly Manager[];
  /** VXLAN v6. */
  readonly beforeV6?: readonly Manager[];
  /** Wireguard v6. */
  readonly last?: readonly Manager[];
}

/** Everything the managers write to. */
export interface PolicyManagersOptions {
  readonly v4: FamilySinks;
  /** Null when IPv6 is not supported. */
  readonly v6: FamilySinks | null;
  /** Null where nft does not work. */
  readonly arpTable: RuleTable | null;
  readonly sysctls: InterfaceSysctls;
  readonly bandwidth: InterfaceBandwidth;
  readonly status: EndpointStatusSink;
  readonly network?: NetworkManagers;
  readonly log: Logger;
}

/** All managers in registration order, and those that need more than the `Manager` contract. */
export interface PolicyManagers {
  readonly managers: readonly Manager[];
  /** v4, then v6 if supported: for `setLiveMigrationState`, `setRefusals` and `reportStatuses`. */
  readonly endpointManagers: readonly EndpointManager[];
}

/** Defines the static rules at once, and returns the managers; nothing else is handed over before their first batch. */
export function createPolicyManagers(options: PolicyManagersOptions): PolicyManagers {
  const { v4, v6, network = {} } = options;
  const isShared = v6 !== null && !v4.renderer.options.environment.ipvs;
  const shared = isShared ? { sharedChains: new SharedWorkloadChains() } : {};
  const parts4 = createFamily(v4, options, shared);
  const parts6 = v6 === null ? null : createFamily(v6, options, shared);
  const managers: Manager[] = [
    ...(network.first ?? []),
    ...parts4.beforeHosts,
    ...parts4.hosts,
    ...parts4.dscp,
    ...(network.afterDscpV4 ?? []),
    parts4.serviceLoop,
  ];
  if (parts6 !== null) {
    managers.push(
      ...(network.beforeV6 ?? []),
      ...parts6.beforeHosts,
      parts6.serviceLoop,
      ...parts6.hosts,
      ...parts6.dscp,
    );
  }
  managers.push(...(network.last ?? []), ...parts4.flowtable, ...(parts6?.flowtable ?? []));
  const endpointManagers = [parts4.endpoints, ...(parts6 === null ? [] : [parts6.endpoints])];
  return { managers, endpointManagers };
}

interface FamilyManagers {
  readonly beforeHosts: readonly Manager[];
  readonly hosts: readonly Manager[];
  readonly dscp: readonly Manager[];
  readonly serviceLoop: Manager;
  readonly flowtable: readonly Manager[];
  readonly endpoints: EndpointManager;
}

function createFamily(
  sinks: FamilySinks,
  options: PolicyManagersOptions,
  shared: { readonly sharedChains?: SharedWorkloadChains },
): FamilyManagers {
  const { renderer, tables, ipSets, flowtable } = sinks;
  const { family, backend, config, environment } = renderer.options;
  const { sysctls, bandwidth, status } = options;
  const log = options.log.child({ family });
  const maxSize = config.maxIpsetSize;
  setStaticRules(renderer, tables);
  const policies = new PolicyManager({ renderer, tables, log });
  const endpoints = new EndpointManager({
    ...sinks,
    ...shared,
    arpTable: family === 4 ? options.arpTable : null,
    policies,
    sysctls,
    // Limits are per interface: one family does it for both (differences.md row 11).
    bandwidth: family === 4 ? bandwidth : null,
    status,
    log,
  });
  const needsHosts = (family === 4 && environment.ipipEnabled) || config.natOutgoingExclusions === 'IPPoolsAndHostIPs';
  const needsExclusions = backend === 'nftables' && config.nftablesFlowTableOffload === 'All';
  return {
    beforeHosts: [
      new IpSetsManager({ ipSets, maxSize }),
      new HostIpManager({ ipSets, maxSize, interfacePrefixes: config.interfacePrefixes }),
      policies,
      endpoints,
      new FloatingIpManager({ renderer, natTable: tables.nat, isEnabled: config.floatingIPs === 'Enabled', log }),
      new MasqueradeManager({ renderer, natTable: tables.nat, ipSets, maxSize }),
    ],
    hosts: needsHosts ? [new HostsIpSetManager({ ipSets, maxSize, externalNodes: config.externalNodesCIDRList })] : [],
    dscp: [
      new DscpManager({ renderer, mangleTable: tables.mangle, ipSets, maxSize, log }),
      ...(needsExclusions ? [new FlowtableExclusionManager({ ipSets, maxSize, log })] : []),
    ],
    serviceLoop: new ServiceLoopManager({ renderer, filterTable: tables.filter, log }),
    flowtable: flowtable === undefined ? [] : [new FlowtableDevicesManager({ family, config, environment, flowtable })],
    endpoints,
  };
}
