// Everything of a workload interface that is not a rule: routes, sysctls, link address, bandwidth (dataplane.md 2.4).
import { canonicalAddress, isValidAddress } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { InterfaceBandwidth, InterfaceSysctls, SysctlWrite } from '../interfaces/interface-settings.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { Family } from '../model/family.js';
import type { InterfaceStateEvent } from '../model/interface.js';
import type { BgpPeerInterfaces, LinkAddresses, RouteTable } from '../routes/route-table.js';
import { bandwidthLimits } from './bandwidth-limits.js';
import { workloadRoutes, type LiveMigrationState } from './endpoint-routes.js';
import type { WorkloadRecord } from './endpoint-store.js';
import { interfaceNameProblem } from './interface-name.js';

/** What the plumbing is built from. */
export interface WorkloadPlumbingOptions {
  readonly family: Family;
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
  readonly routes: RouteTable;
  readonly linkAddresses: LinkAddresses;
  readonly bgpPeers: BgpPeerInterfaces;
  readonly sysctls: InterfaceSysctls;
  /** Null for the family that leaves it to the other one: limits are per interface (differences.md row 11). */
  readonly bandwidth: InterfaceBandwidth | null;
  readonly log: Logger;
}

function isLocalBgpPeer(record: WorkloadRecord): boolean {
  return (record.endpoint.localBgpPeer?.bgpPeerName ?? '') !== '';
}

function allowsSpoofing(record: WorkloadRecord | null): boolean {
  return record !== null && record.endpoint.allowSpoofedSourcePrefixes.length > 0;
}

/** Plumbs interfaces; knows which are up, and which endpoint owns which. */
export class WorkloadPlumbing {
  readonly #options: WorkloadPlumbingOptions;
  readonly #owner: string;
  readonly #up = new Set<string>();
  readonly #records = new Map<string, WorkloadRecord>();
  readonly #peers = new Set<string>();
  #peerAddress: string | null = null;

  constructor(options: WorkloadPlumbingOptions) {
    this.#options = options;
    this.#owner = `endpoints/${options.family}`;
  }

  isUp(interfaceName: string): boolean {
    return this.#up.has(interfaceName);
  }

  /** True for interfaces with a workload prefix. */
  isWorkloadInterface(interfaceName: string): boolean {
    return this.#options.config.interfacePrefixes.some((prefix) => interfaceName.startsWith(prefix));
  }

  /** False while sysctls of the interface wait, or it lacks the address of a local BGP peer: its endpoint is `down`. */
  isConfigured(interfaceName: string): boolean {
    if (this.#peers.has(interfaceName) && this.#peerAddress === null) return false;
    return !this.#up.has(interfaceName) || this.#options.sysctls.isConfigured(interfaceName, this.#owner);
  }

  onInterfaceState({ name, state }: InterfaceStateEvent): void {
    if (state === 'up') {
      this.#up.add(name);
      const isOurs = this.#records.has(name) || (this.isWorkloadInterface(name) && interfaceNameProblem(name) === null);
      if (isOurs) this.#requestSysctls(name);
    } else if (this.#up.delete(name)) this.#options.sysctls.forget(name, this.#owner);
  }

  /** The address that local BGP peers peer with, empty = none; returns the interfaces that it concerns, if it changed. */
  setPeerAddress(text: string): readonly string[] {
    const { family, log } = this.#options;
    const address = isValidAddress(text, family) ? canonicalAddress(text) : null;
    if (address === null && text !== '') log.error('local workload peering address is not usable', { address: text });
    if (address === this.#peerAddress) return [];
    this.#peerAddress = address;
    for (const interfaceName of this.#peers) this.#setLinkAddress(interfaceName);
    return [...this.#peers];
  }

  /** Plumbs an interface for its owner; returns what was wrong with the endpoint's addresses. */
  plumb(interfaceName: string, record: WorkloadRecord, state: LiveMigrationState): readonly string[] {
    const { family, config, routes, bandwidth, log } = this.#options;
    this.#records.set(interfaceName, record);
    const { targets, faults, warning } = workloadRoutes(record, state, family, config);
    if (warning !== null) log.error(warning, { endpoint: record.key, interfaceName });
    routes.setRoutes('local-workload', interfaceName, targets);
    this.#setPeer(interfaceName, isLocalBgpPeer(record));
    if (this.#up.has(interfaceName)) this.#requestSysctls(interfaceName);
    const limits = bandwidthLimits(record.endpoint.qosControls);
    bandwidth?.setLimits(interfaceName, limits.ingress, limits.egress);
    return faults;
  }

  /** Takes back all that `plumb` did. */
  unplumb(interfaceName: string): void {
    const { routes, bandwidth, sysctls } = this.#options;
    const record = this.#records.get(interfaceName) ?? null;
    this.#records.delete(interfaceName);
    routes.setRoutes('local-workload', interfaceName, []);
    this.#setPeer(interfaceName, false);
    bandwidth?.forget(interfaceName);
    if (!this.#up.has(interfaceName)) return;
    if (!this.isWorkloadInterface(interfaceName)) sysctls.forget(interfaceName, this.#owner);
    else if (allowsSpoofing(record)) this.#requestSysctls(interfaceName);
  }

  #setPeer(interfaceName: string, isPeer: boolean): void {
    if (isPeer) this.#peers.add(interfaceName);
    else this.#peers.delete(interfaceName);
    this.#options.bgpPeers.setPeerInterface(interfaceName, isPeer);
    this.#setLinkAddress(interfaceName);
  }

  #setLinkAddress(interfaceName: string): void {
    const { family, linkAddresses, log } = this.#options;
    if (!this.#peers.has(interfaceName)) {
      linkAddresses.setAddress(interfaceName, null);
      return;
    }
    if (this.#peerAddress === null) {
      log.warn('workload is a local BGP peer, but no peering address is configured', { interfaceName });
    }
    const length = family === 4 ? 32 : 128;
    linkAddresses.setAddress(interfaceName, this.#peerAddress === null ? null : `${this.#peerAddress}/${length}`);
  }

  /** The whole set each time: the interface may be a new one of the same name. */
  #requestSysctls(interfaceName: string): void {
    this.#options.sysctls.request(interfaceName, this.#owner, this.#sysctlWrites(interfaceName));
  }

  #sysctlWrites(interfaceName: string): SysctlWrite[] {
    const v4 = `net/ipv4/conf/${interfaceName}`;
    const v6 = `net/ipv6/conf/${interfaceName}`;
    // Also where IPv6 is not supported: a workload must never become our router.
    const noAdvertisements = { path: `${v6}/accept_ra`, value: '0', bestEffort: true };
    if (this.#options.family === 6) {
      return [noAdvertisements, { path: `${v6}/proxy_ndp`, value: '1' }, { path: `${v6}/forwarding`, value: '1' }];
    }
    const isOpen = allowsSpoofing(this.#records.get(interfaceName) ?? null);
    return [
      noAdvertisements,
      { path: `${v4}/route_localnet`, value: '1' },
      { path: `net/ipv4/neigh/${interfaceName}/proxy_delay`, value: '0', bestEffort: true },
      { path: `${v4}/proxy_arp`, value: '1' },
      { path: `${v4}/forwarding`, value: '1' },
      { path: `${v4}/rp_filter`, value: isOpen ? '0' : this.#options.environment.defaultRpFilter },
    ];
  }
}
