// The local routes of a workload endpoint (dataplane.md 6.1 WEP route, 2.9 route effect of live migration).
import { canonicalCidr, isValidAddress, isValidCidr } from '../base/ip.js';
import type { DataplaneConfig } from '../model/config.js';
import type { Family } from '../model/family.js';
import type { RouteTarget } from '../model/route.js';
import { canonicalMac } from './addresses.js';
import type { WorkloadRecord } from './endpoint-store.js';
import { hasFloatingIps } from './floating-ip-manager.js';

/** Where a workload endpoint stands in a live migration (2.9). */
export type LiveMigrationState = 'base' | 'target' | 'live' | 'time-wait';

/** Routes, and what was wrong with the endpoint's addresses. */
export interface WorkloadRoutes {
  readonly targets: readonly RouteTarget[];
  /** One text per address that is left out: the endpoint is in `error`. */
  readonly faults: readonly string[];
  /** A MAC that cannot be used: no static neighbour, and no harm. */
  readonly warning: string | null;
}

/**
 * One link-scope route per address, floating addresses included; none for an endpoint that is administratively down or a
 * migration target. An address that is not one is left out: without a route nothing reaches the workload by it.
 */
export function workloadRoutes(
  record: WorkloadRecord,
  state: LiveMigrationState,
  family: Family,
  config: DataplaneConfig,
): WorkloadRoutes {
  const { endpoint } = record;
  const faults: string[] = [];
  const destinations: string[] = [];
  for (const net of family === 4 ? endpoint.ipv4Nets : endpoint.ipv6Nets) {
    const cidr = isValidCidr(net, family) ? canonicalCidr(net) : null;
    if (cidr === null) faults.push(`${JSON.stringify(net)} is not an IPv${family} address`);
    else destinations.push(cidr);
  }
  if (hasFloatingIps(record.id, config.floatingIPs === 'Enabled')) {
    for (const { extIp } of family === 4 ? endpoint.ipv4Nat : endpoint.ipv6Nat) {
      const cidr = isValidAddress(extIp, family) ? canonicalCidr(extIp) : null;
      if (cidr === null) faults.push(`floating address ${JSON.stringify(extIp)} is not an IPv${family} address`);
      else destinations.push(cidr);
    }
  }
  const mac = canonicalMac(endpoint.mac);
  const warning = mac === null && endpoint.mac !== '' ? `MAC address ${JSON.stringify(endpoint.mac)} is not one` : null;
  if (endpoint.state !== 'active' || state === 'target') return { targets: [], faults, warning };
  const shared = sharedAttributes(family, config, state !== 'base');
  const neighbour = family === 4 && mac !== null ? { neighbourMac: mac } : {};
  const targets = [...new Set(destinations)].map((dst) => ({ dst, ...shared, ...neighbour }));
  return { targets, faults, warning };
}

function sharedAttributes(family: Family, config: DataplaneConfig, isElevated: boolean): Omit<RouteTarget, 'dst'> {
  const src = family === 4 ? config.deviceRouteSourceAddress : config.deviceRouteSourceAddressIPv6;
  const normal = family === 4 ? config.ipv4NormalRoutePriority : config.ipv6NormalRoutePriority;
  const elevated = family === 4 ? config.ipv4ElevatedRoutePriority : config.ipv6ElevatedRoutePriority;
  return {
    type: 'unicast',
    scope: 'link',
    protocol: config.deviceRouteProtocol,
    priority: isElevated ? elevated : normal,
    ...(src === null ? {} : { src }),
  };
}
