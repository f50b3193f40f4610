// Decides for which addresses this node answers on its own subnets (dataplane.md 2.11): its pods', and those load
// balancer addresses that the ring of nodes gives it. Only addresses in pools without encapsulation count.
import { canonicalAddress, type Cidr, cidrContains, isValidAddress, parseCidr } from '../../base/ip.js';
import type { Logger } from '../../base/logger.js';
import type { Family } from '../../model/family.js';
import type { ProxyNeighbours } from '../../interfaces/proxy-neighbours.js';
import {
  type IPAMPool,
  LiveMigrationRole,
  type ServiceUpdate,
  type WorkloadEndpointUpdate,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import { workloadEndpointKey } from '../endpoint-keys.js';
import { withoutLength } from '../addresses.js';
import type { DataplaneMessage, Manager } from '../manager.js';
import { HashRing } from './hash-ring.js';

/** What the manager of one family is built from. It exists only with LocalSubnetL2Reachability. */
export interface ProxyNeighbourManagerOptions {
  readonly hostname: string;
  readonly neighbours: ProxyNeighbours;
  readonly log: Logger;
}

function isWithoutEncapsulation(mode: string): boolean {
  return mode === '' || mode === 'Never';
}

/** One family. */
export class ProxyNeighbourManager implements Manager {
  readonly name: string;
  readonly #options: ProxyNeighbourManagerOptions;
  readonly #family: Family;
  readonly #pods = new Map<string, readonly string[]>();
  /** Address texts as the messages have them: the ring of other nodes hashes that text. */
  readonly #services = new Map<string, readonly string[]>();
  readonly #pools = new Map<string, Cidr>();
  readonly #ring = new HashRing();
  /** Load balancer addresses that the ring gives us; null = to be worked out again. */
  #owned: readonly string[] | null = null;
  #isDirty = true;

  constructor(options: ProxyNeighbourManagerOptions) {
    this.#options = options;
    this.#family = options.neighbours.family;
    this.name = `proxy-neighbour/${this.#family}`;
  }

  onMessage(message: DataplaneMessage): void {
    switch (message.case) {
      case 'workloadEndpointUpdate':
        this.#onWorkload(message.value);
        break;
      case 'workloadEndpointRemove':
        if (message.value.id !== undefined) this.#setPod(workloadEndpointKey(message.value.id), []);
        break;
      case 'serviceUpdate':
        this.#onService(message.value);
        break;
      case 'serviceRemove':
        this.#setService(`${message.value.namespace}/${message.value.name}`, []);
        break;
      case 'hostMetadataUpdate': {
        const { hostname, ipv4Addr, ipv6Addr } = message.value;
        // A node without an address of the family cannot answer in it.
        if ((this.#family === 4 ? ipv4Addr : ipv6Addr) !== '' && this.#ring.add(hostname)) this.#ringChanged();
        break;
      }
      case 'hostMetadataRemove':
        if (this.#ring.remove(message.value.hostname)) this.#ringChanged();
        break;
      case 'ipamPoolUpdate':
        this.#setPool(message.value.id, message.value.pool);
        break;
      case 'ipamPoolRemove':
        this.#setPool(message.value.id, undefined);
        break;
      default:
    }
  }

  completeDeferredWork(): boolean {
    if (!this.#isDirty) return true;
    this.#isDirty = false;
    this.#owned ??= [...new Set([...this.#services.values()].flat())].filter(
      (address) => this.#ring.ownerOf(address) === this.#options.hostname,
    );
    const addresses = new Set<string>();
    for (const pod of this.#pods.values()) for (const address of pod) this.#addIfPooled(addresses, address);
    for (const text of this.#owned) this.#addIfPooled(addresses, canonicalAddress(text) ?? text);
    this.#options.neighbours.setAddresses(addresses);
    return true;
  }

  #addIfPooled(addresses: Set<string>, text: string): void {
    const address = parseCidr(text);
    if (address !== null && [...this.#pools.values()].some((pool) => cidrContains(pool, address))) addresses.add(text);
  }

  #ownFamily(texts: readonly string[]): string[] {
    return texts
      .map((text) => canonicalAddress(withoutLength(text)))
      .filter((address) => address !== null)
      .filter((address) => address.includes(':') === (this.#family === 6));
  }

  #onWorkload(update: WorkloadEndpointUpdate): void {
    const { id, endpoint } = update;
    if (id === undefined || endpoint === undefined) return;
    // While a machine moves away, its new node answers.
    const isLeaving = endpoint.liveMigrationRole === LiveMigrationRole.SOURCE;
    const nets = this.#family === 4 ? endpoint.ipv4Nets : endpoint.ipv6Nets;
    this.#setPod(workloadEndpointKey(id), isLeaving ? [] : this.#ownFamily(nets));
  }

  #setPod(key: string, addresses: readonly string[]): void {
    if (addresses.length > 0) this.#pods.set(key, addresses);
    else if (!this.#pods.delete(key)) return;
    this.#isDirty = true;
  }

  #onService(update: ServiceUpdate): void {
    const { type, loadbalancerIngressIps, loadbalancerIp } = update;
    const texts = type === 'LoadBalancer' ? [...loadbalancerIngressIps, loadbalancerIp] : [];
    const own = texts.filter((text) => isValidAddress(text, this.#family));
    this.#setService(`${update.namespace}/${update.name}`, own);
  }

  #setService(key: string, addresses: readonly string[]): void {
    if (addresses.length > 0) this.#services.set(key, addresses);
    else if (!this.#services.delete(key)) return;
    this.#ringChanged();
  }

  #ringChanged(): void {
    this.#owned = null;
    this.#isDirty = true;
  }

  #setPool(id: string, pool: IPAMPool | undefined): void {
    this.#isDirty = true;
    this.#pools.delete(id);
    if (pool === undefined) return;
    if (!isWithoutEncapsulation(pool.ipipMode) || !isWithoutEncapsulation(pool.vxlanMode)) return;
    const cidr = parseCidr(pool.cidr);
    if (cidr === null) this.#options.log.warn('Pool is left out: its CIDR cannot be read', { pool: id });
    else this.#pools.set(id, cidr);
  }
}
