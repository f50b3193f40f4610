// Wireguard of one family (dataplane.md 6.7): which nodes are peers, with which prefixes, and what the device's own
// routing table holds. Felix: `wireguardManager` and the bookkeeping half of `wireguard.Wireguard`.
import { canonicalAddress, cidrContains, formatCidr, maskCidr, parseCidr } from '../../base/ip.js';
import type { Logger } from '../../base/logger.js';
import type { DataplaneConfig } from '../../model/config.js';
import { NO_INTERFACE, type RouteTarget } from '../../model/route.js';
import { RouteType, type RouteUpdate } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { RouteTable } from '../../routes/route-table.js';
import type { WireguardPeers } from '../../routes/wireguard.js';
import { withoutLength } from '../addresses.js';
import type { DataplaneMessage, Manager } from '../manager.js';

/** What the manager is built from. It exists only while Wireguard is enabled for the family. */
export interface WireguardManagerOptions {
  readonly config: DataplaneConfig;
  readonly deviceName: string;
  /** The device's own table, not the main one. */
  readonly routes: RouteTable;
  readonly peers: WireguardPeers;
  readonly log: Logger;
}

interface Node {
  endpoint: string | null;
  /** Empty = none, or one that cannot be read. */
  publicKey: string;
  readonly cidrs: Set<string>;
  /** Prefixes whose routes are programmed, and whether they lead to the device. */
  readonly programmed: Map<string, boolean>;
  /** Key under which it is a peer right now. */
  peerKey: string | null;
}

/** A key is 32 bytes in base64. */
function readKey(text: string): string {
  return /^[A-Za-z0-9+/]{43}=$/.test(text) && !/^A{43}=$/.test(text) ? text : '';
}

/** Nodes by name, ours among them. Costs follow the nodes that changed. */
export class WireguardManager implements Manager {
  readonly name: string;
  readonly #options: WireguardManagerOptions;
  readonly #nodes = new Map<string, Node>();
  readonly #nodeByCidr = new Map<string, string>();
  readonly #nodesByKey = new Map<string, Set<string>>();
  readonly #dirty = new Set<string>();
  #hostAddress: string | null = null;
  #interfaceAddress: string | null = null;

  constructor(options: WireguardManagerOptions) {
    this.#options = options;
    this.name = `wireguard/${options.routes.family}`;
  }

  onMessage(message: DataplaneMessage): void {
    const isV4 = this.#options.routes.family === 4;
    switch (message.case) {
      case 'hostMetadataUpdate':
        this.#onHost(message.value.hostname, isV4 ? message.value.ipv4Addr : message.value.ipv6Addr);
        break;
      case 'hostMetadataRemove':
        this.#onHostRemove(message.value.hostname);
        break;
      case 'routeUpdate':
        this.#onRoute(message.value);
        break;
      case 'routeRemove':
        this.#removeCidr(this.#readCidr(message.value.dst));
        break;
      case 'wireguardEndpointUpdate':
        if (isV4) this.#onKey(message.value.hostname, message.value.publicKey, message.value.interfaceIpv4Addr);
        break;
      case 'wireguardEndpointRemove':
        if (isV4) this.#onKey(message.value.hostname, '', '');
        break;
      case 'wireguardEndpointV6Update':
        if (!isV4) this.#onKey(message.value.hostname, message.value.publicKeyV6, message.value.interfaceIpv6Addr);
        break;
      case 'wireguardEndpointV6Remove':
        if (!isV4) this.#onKey(message.value.hostname, '', '');
        break;
      default:
    }
  }

  completeDeferredWork(): boolean {
    // All removals first: what one node loses, another may have got in the same batch.
    for (const name of this.#dirty) this.#withdraw(name);
    for (const name of this.#dirty) this.#program(name);
    this.#dirty.clear();
    return true;
  }

  #isOurs(name: string): boolean {
    return name === this.#options.config.felixHostname;
  }

  #node(name: string): Node {
    const existing = this.#nodes.get(name);
    if (existing !== undefined) return existing;
    const node: Node = { endpoint: null, publicKey: '', cidrs: new Set(), programmed: new Map(), peerKey: null };
    this.#nodes.set(name, node);
    return node;
  }

  #onHost(name: string, text: string): void {
    if (text === '') return;
    const address = canonicalAddress(withoutLength(text));
    if (address === null || address.includes(':') !== (this.#options.routes.family === 6)) {
      this.#options.log.warn('Node address cannot be read, the node keeps its old one', { node: name });
      return;
    }
    if (this.#isOurs(name)) {
      this.#hostAddress = address;
      this.#handOverAddress();
      return;
    }
    this.#node(name).endpoint = address;
    this.#dirty.add(name);
  }

  #onHostRemove(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined || this.#isOurs(name)) return;
    node.endpoint = null;
    this.#dirty.add(name);
  }

  #onKey(name: string, keyText: string, addressText: string): void {
    const publicKey = readKey(keyText);
    if (keyText !== '' && publicKey === '') {
      this.#options.log.warn('Wireguard key cannot be read, the node counts as without', { node: name });
    }
    if (this.#isOurs(name)) {
      this.#options.peers.setPublishedKey(publicKey);
      this.#interfaceAddress = canonicalAddress(addressText);
      this.#handOverAddress();
      return;
    }
    const node = this.#node(name);
    if (node.publicKey === publicKey) return;
    this.#leaveKey(node.publicKey, name);
    node.publicKey = publicKey;
    if (publicKey !== '') {
      const claimants = this.#nodesByKey.get(publicKey) ?? new Set<string>();
      claimants.add(name);
      this.#nodesByKey.set(publicKey, claimants);
      for (const claimant of claimants) this.#dirty.add(claimant);
    }
    this.#dirty.add(name);
  }

  /** Whoever is left alone with the key may become a peer now. */
  #leaveKey(publicKey: string, name: string): void {
    const claimants = this.#nodesByKey.get(publicKey);
    if (claimants === undefined) return;
    claimants.delete(name);
    for (const claimant of claimants) this.#dirty.add(claimant);
    if (claimants.size === 0) this.#nodesByKey.delete(publicKey);
  }

  /** With host encryption the node's own address stands in for a missing tunnel address. */
  #handOverAddress(): void {
    const fallback = this.#options.config.wireguardHostEncryptionEnabled ? this.#hostAddress : null;
    this.#options.peers.setDeviceAddress(this.#interfaceAddress ?? fallback);
  }

  #readCidr(text: string): string | null {
    const cidr = parseCidr(text);
    if (cidr === null) this.#options.log.warn('Route is left out: its destination cannot be read', { dst: text });
    return cidr === null || cidr.family !== this.#options.routes.family ? null : formatCidr(maskCidr(cidr));
  }

  #onRoute(route: RouteUpdate): void {
    const cidr = this.#readCidr(route.dst);
    if (cidr === null) return;
    const { types } = route;
    const workloadOrTunnel =
      RouteType.LOCAL_WORKLOAD | RouteType.REMOTE_WORKLOAD | RouteType.LOCAL_TUNNEL | RouteType.REMOTE_TUNNEL;
    if ((types & RouteType.REMOTE_HOST) !== 0) {
      if (this.#options.config.wireguardHostEncryptionEnabled) this.#addCidr(route.dstNodeName, cidr);
    } else if ((types & workloadOrTunnel) !== 0) this.#addCidr(route.dstNodeName, cidr);
    else this.#removeCidr(cidr);
  }

  #addCidr(name: string, cidr: string): void {
    const old = this.#nodeByCidr.get(cidr);
    if (old === name) return;
    this.#removeCidr(cidr);
    this.#nodeByCidr.set(cidr, name);
    this.#node(name).cidrs.add(cidr);
    this.#dirty.add(name);
  }

  #removeCidr(cidr: string | null): void {
    const name = cidr === null ? undefined : this.#nodeByCidr.get(cidr);
    if (cidr === null || name === undefined) return;
    this.#nodeByCidr.delete(cidr);
    this.#nodes.get(name)?.cidrs.delete(cidr);
    this.#dirty.add(name);
  }

  /** Two nodes with one key get no configuration at all (trap 41): either could read what is meant for the other. */
  #isPeer(name: string, node: Node): boolean {
    return (
      !this.#isOurs(name) &&
      node.endpoint !== null &&
      node.publicKey !== '' &&
      this.#nodesByKey.get(node.publicKey)?.size === 1
    );
  }

  /** Takes back what is no longer right for the node. */
  #withdraw(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    const { routes, peers } = this.#options;
    const isPeer = this.#isPeer(name, node);
    const cidrs = this.#routedCidrs(name, node);
    for (const [dst, toDevice] of [...node.programmed]) {
      if (cidrs.has(dst) && toDevice === isPeer) continue;
      routes.removeRoute('wireguard', this.#placeOf(toDevice), dst);
      node.programmed.delete(dst);
    }
    if (node.peerKey === null || (isPeer && node.peerKey === node.publicKey)) return;
    peers.removePeer(node.peerKey);
    node.peerKey = null;
  }

  #program(name: string): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    const isPeer = this.#isPeer(name, node);
    this.#programRoutes(node, this.#routedCidrs(name, node), isPeer);
    if (isPeer && node.endpoint !== null) {
      node.peerKey = node.publicKey;
      const allowedIps = [...node.cidrs].sort();
      this.#options.peers.setPeer({ publicKey: node.publicKey, endpoint: node.endpoint, allowedIps });
    }
    const isEmpty = node.endpoint === null && node.publicKey === '' && node.cidrs.size === 0;
    if (isEmpty && !this.#isOurs(name)) this.#nodes.delete(name);
  }

  #placeOf(toDevice: boolean): string {
    return toDevice ? this.#options.deviceName : NO_INTERFACE;
  }

  #routedCidrs(name: string, node: Node): ReadonlySet<string> {
    return this.#isOurs(name) ? this.#localCidrs(node) : node.cidrs;
  }

  /** Our own blocks, and addresses outside them: thrown to the main table. */
  #localCidrs(node: Node): ReadonlySet<string> {
    const parsed = [...node.cidrs].map((text) => ({ text, cidr: parseCidr(text) }));
    const full = this.#options.routes.family === 4 ? 32 : 128;
    const blocks = parsed.flatMap(({ cidr }) => (cidr !== null && cidr.length !== full ? [cidr] : []));
    return new Set(
      parsed
        .filter(
          ({ cidr }) => cidr === null || cidr.length !== full || !blocks.some((block) => cidrContains(block, cidr)),
        )
        .map(({ text }) => text),
    );
  }

  #programRoutes(node: Node, cidrs: ReadonlySet<string>, toDevice: boolean): void {
    const { routes, config } = this.#options;
    const shared = { protocol: config.deviceRouteProtocol, priority: 0 };
    const kind = toDevice
      ? ({ type: 'unicast', scope: 'link' } as const)
      : ({ type: 'throw', scope: 'universe' } as const);
    for (const dst of cidrs) {
      if (node.programmed.has(dst)) continue;
      const target: RouteTarget = { dst, ...kind, ...shared };
      routes.updateRoute('wireguard', this.#placeOf(toDevice), target);
      node.programmed.set(dst, toDevice);
    }
  }
}
