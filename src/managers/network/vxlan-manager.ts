// VXLAN of one family (dataplane.md 6.5): device, entries of remote tunnel endpoints, routes, and the set of nodes
// whose VXLAN packets are let in.
import { canonicalAddress } from '../../base/ip.js';
import type { Logger } from '../../base/logger.js';
import type { IpSets } from '../../ipsets/ip-sets.js';
import type { DataplaneConfig } from '../../model/config.js';
import type { Family } from '../../model/family.js';
import type { InterfaceAddressEvent } from '../../model/interface.js';
import { OWN_SET_IDS } from '../../model/ip-set.js';
import type { RouteTarget } from '../../model/route.js';
import {
  IPPoolType,
  type RouteUpdate,
  type VXLANTunnelEndpointUpdate,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import type { RouteTable, TunnelDevices, VxlanFdb } from '../../routes/route-table.js';
import { canonicalMac, withoutLength } from '../addresses.js';
import type { DataplaneMessage, Manager } from '../manager.js';
import { exclusiveRouteProtocol, isRemoteTunnelAddress, RouteManager } from './route-manager.js';

/** Device names by family. */
export const VXLAN_DEVICES: Readonly<Record<Family, string>> = { 4: 'vxlan.calico', 6: 'vxlan-v6.calico' };

/** What the manager is built from. It exists only while VXLAN is enabled for the family. */
export interface VxlanManagerOptions {
  readonly config: DataplaneConfig;
  readonly mtu: number;
  readonly routes: RouteTable;
  readonly fdb: VxlanFdb;
  readonly devices: TunnelDevices;
  readonly ipSets: IpSets;
  readonly log: Logger;
}

/** A tunnel endpoint of this family; addresses canonical. */
interface Vtep {
  readonly mac: string;
  readonly tunnelAddress: string;
  readonly underlay: string;
}

/** Source address that is configured for all routes of a family. */
export function deviceSourceAddress(config: DataplaneConfig, family: Family): string | null {
  return family === 4 ? config.deviceRouteSourceAddress : config.deviceRouteSourceAddressIPv6;
}

/** One family. A tunnel endpoint without an address of the family does not exist for it. */
export class VxlanManager implements Manager {
  readonly name: string;
  readonly #options: VxlanManagerOptions;
  readonly #family: Family;
  readonly #routes: RouteManager;
  readonly #vteps = new Map<string, Vtep>();
  #ownVtep: Vtep | null = null;
  #vtepsDirty = true;

  constructor(options: VxlanManagerOptions) {
    const { config, routes, log } = options;
    this.#options = options;
    this.#family = routes.family;
    this.name = `vxlan/${routes.family}`;
    this.#routes = new RouteManager({
      family: routes.family,
      poolType: IPPoolType.VXLAN,
      isNoEncap: false,
      routes,
      tunnelDevice: VXLAN_DEVICES[routes.family],
      classes: { tunnel: 'vxlan-tunnel', sameSubnet: 'vxlan-same-subnet', blackhole: 'blackhole-vxlan' },
      routeProtocol: exclusiveRouteProtocol(config.deviceRouteProtocol),
      sourceAddress: deviceSourceAddress(config, routes.family),
      tunnelRoute: (dst, route) => this.#tunnelRoute(dst, route),
      log,
    });
  }

  onMessage(message: DataplaneMessage): void {
    if (message.case === 'vtepUpdate') this.#onVtep(message.value.node, this.#read(message.value));
    else if (message.case === 'vtepRemove') this.#onVtep(message.value.node, null);
    else this.#routes.onMessage(message);
  }

  onInterfaceAddresses(event: InterfaceAddressEvent): void {
    this.#routes.onInterfaceAddresses(event);
  }

  completeDeferredWork(): boolean {
    if (this.#vtepsDirty) this.#handOverVteps();
    this.#vtepsDirty = false;
    this.#handOverDevice();
    this.#routes.complete();
    return true;
  }

  /** Undefined: no address of this family, the message is not for us. Null: it is, but cannot be used. */
  #read(update: VXLANTunnelEndpointUpdate): Vtep | null | undefined {
    const isV4 = this.#family === 4;
    const address = isV4 ? update.ipv4Addr : update.ipv6Addr;
    if (address === '') return undefined;
    const mac = canonicalMac(isV4 ? update.mac : update.macV6);
    const tunnelAddress = canonicalAddress(withoutLength(address));
    const underlay = canonicalAddress(withoutLength(isV4 ? update.parentDeviceIp : update.parentDeviceIpv6));
    if (mac !== null && tunnelAddress !== null && underlay !== null) return { mac, tunnelAddress, underlay };
    this.#options.log.warn('VXLAN tunnel endpoint is left out: its MAC or an address cannot be read', {
      node: update.node,
    });
    return null;
  }

  #onVtep(node: string, vtep: Vtep | null | undefined): void {
    if (vtep === undefined) return;
    if (node === this.#options.config.felixHostname) {
      this.#ownVtep = vtep;
      this.#routes.setUnderlay(vtep?.underlay ?? '');
      return;
    }
    if (vtep === null) this.#vteps.delete(node);
    else this.#vteps.set(node, vtep);
    this.#vtepsDirty = true;
    this.#routes.touchNode(node);
  }

  #handOverVteps(): void {
    const { fdb, ipSets, config } = this.#options;
    const vteps = [...this.#vteps.values()];
    fdb.setVteps(vteps);
    const sources = new Set([
      ...config.externalNodesCIDRList.filter((cidr) => cidr.includes(':') === (this.#family === 6)),
      ...vteps.map(({ underlay }) => underlay),
    ]);
    ipSets.setSet({ id: OWN_SET_IDS.allVxlan, type: 'hash:net', maxSize: config.maxIpsetSize }, sources);
  }

  /** Without an endpoint of our own, or its parent, the device is left as it is. */
  #handOverDevice(): void {
    const { config, devices, mtu } = this.#options;
    const parent = this.#routes.parent.name;
    if (this.#ownVtep === null || parent === null) return;
    const name = VXLAN_DEVICES[this.#family];
    const { mac, tunnelAddress, underlay } = this.#ownVtep;
    const { vxlanVNI: vni, vxlanPort: port } = config;
    devices.setDevice(name, {
      kind: 'vxlan',
      name,
      vni,
      port,
      mac,
      mtu,
      address: tunnelAddress,
      underlayAddress: underlay,
      parent,
    });
  }

  #tunnelRoute(dst: string, route: RouteUpdate): RouteTarget | null {
    const { mtu, config } = this.#options;
    const base = { dst, type: 'unicast', mtu, protocol: config.deviceRouteProtocol, priority: 0 } as const;
    // The endpoint's own address has no gateway: it is the gateway.
    if (isRemoteTunnelAddress(route)) return { ...base, scope: 'link' };
    const vtep = this.#vteps.get(route.dstNodeName);
    return vtep === undefined ? null : { ...base, scope: 'universe', gateway: vtep.tunnelAddress, onlink: true };
  }
}
