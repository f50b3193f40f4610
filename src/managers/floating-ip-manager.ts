// Keeps the NAT chains of floating addresses of one family (dataplane.md 2.3).
import { isPlainEqual } from '../base/plain-equal.js';
import { isValidAddress } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { EndpointKey } from '../model/status.js';
import type { NatInfo, WorkloadEndpoint, WorkloadEndpointID } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer } from '../rules/renderer.js';
import type { RuleTable } from '../tables/rule-table.js';
import { compareBytes, workloadEndpointKey } from './endpoint-keys.js';
import type { DataplaneMessage, Manager } from './manager.js';
import { OwnedChains } from './owned-chains.js';

/** What the manager is built from. */
export interface FloatingIpManagerOptions {
  readonly renderer: RuleRenderer;
  readonly natTable: RuleTable;
  /** FloatingIPs=Enabled; OpenStack endpoints have them in any case. */
  readonly isEnabled: boolean;
  readonly log: Logger;
}

/** True if the NAT mappings of this endpoint count: the feature is on, or the endpoint is OpenStack's. */
export function hasFloatingIps(id: WorkloadEndpointID, isEnabled: boolean): boolean {
  return isEnabled || id.orchestratorId === 'openstack';
}

/** One external address maps to the smallest internal one; one internal address answers as its smallest external one. */
export class FloatingIpManager implements Manager {
  readonly name: string;
  readonly #options: FloatingIpManagerOptions;
  readonly #chains: OwnedChains;
  /** Only endpoints that have mappings of this family. */
  readonly #mappings = new Map<EndpointKey, readonly NatInfo[]>();
  #isDirty = true;

  constructor(options: FloatingIpManagerOptions) {
    this.#options = options;
    this.#chains = new OwnedChains(options.natTable);
    this.name = `floating-ip/${options.natTable.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'workloadEndpointUpdate') this.#update(message.value.id, message.value.endpoint);
    else if (message.case === 'workloadEndpointRemove') this.#update(message.value.id, undefined);
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    const dnats = new Map<string, string>();
    for (const mappings of this.#mappings.values()) {
      for (const { extIp, intIp } of mappings) keepSmallest(dnats, extIp, intIp);
    }
    const snats = new Map<string, string>();
    for (const [extIp, intIp] of dnats) keepSmallest(snats, intIp, extIp);
    this.#chains.replace('floating-ips', this.#options.renderer.floatingIpChains(dnats, snats));
    return true;
  }

  #update(id: WorkloadEndpointID | undefined, endpoint: WorkloadEndpoint | undefined): void {
    if (id === undefined) return;
    const key = workloadEndpointKey(id);
    const wanted =
      endpoint !== undefined && hasFloatingIps(id, this.#options.isEnabled) ? this.#usable(key, endpoint) : [];
    if (isPlainEqual(wanted, this.#mappings.get(key) ?? [])) return;
    if (wanted.length === 0) this.#mappings.delete(key);
    else this.#mappings.set(key, wanted);
    this.#isDirty = true;
  }

  #usable(key: EndpointKey, endpoint: WorkloadEndpoint): NatInfo[] {
    const { natTable, log } = this.#options;
    const mappings = natTable.family === 4 ? endpoint.ipv4Nat : endpoint.ipv6Nat;
    return mappings.filter(({ extIp, intIp }) => {
      const isUsable = [extIp, intIp].every((ip) => isValidAddress(ip, natTable.family));
      if (!isUsable) log.error('floating address is not usable; it is not programmed', { endpoint: key, extIp, intIp });
      return isUsable;
    });
  }
}

function keepSmallest(map: Map<string, string>, key: string, value: string): void {
  const existing = map.get(key);
  if (existing === undefined || compareBytes(value, existing) < 0) map.set(key, value);
}
