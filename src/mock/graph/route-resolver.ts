// Keeps the routes of pools, blocks, hosts, workloads and tunnels, and hands over those that changed (calc-graph.md
// section 13; Felix: felix/calc/l3_route_resolver.go).
import { create, equals } from '@bufbuild/protobuf';
import {
  IPPoolType,
  RouteRemoveSchema,
  type RouteUpdate,
  RouteUpdateSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import type { Cidr } from '../net/cidr.js';
import { CidrTrie } from '../net/cidr-trie.js';
import type { BlockModel, NodeModel, PoolModel } from './entries.js';
import type { EventSequencer } from './event-sequencer.js';
import { type NodeAddress, type RoutingNode, routingNode } from './node-info.js';
import {
  addReference,
  buildRoute,
  emptyParts,
  hasParts,
  type ReferenceKind,
  removeReference,
  type RouteParts,
} from './route-table.js';

function poolType(pool: PoolModel): IPPoolType {
  if (pool.allowedUses.length === 1 && pool.allowedUses[0] === 'LoadBalancer') return IPPoolType.NONE;
  if (pool.vxlanMode !== 'Never') return IPPoolType.VXLAN;
  return pool.ipipMode === 'Never' ? IPPoolType.NO_ENCAP : IPPoolType.IPIP;
}

function blockRoutes(
  block: BlockModel | undefined,
): ReadonlyMap<string, { readonly cidr: Cidr; readonly node: string }> {
  const routes = new Map((block?.borrowed ?? []).map((route) => [route.cidr.text, route]));
  if (block !== undefined && block.affinity !== '')
    routes.set(block.cidr.text, { cidr: block.cidr, node: block.affinity });
  return routes;
}

function sameNetwork(a: NodeAddress | undefined, b: NodeAddress | undefined): boolean {
  return a?.network.text === b?.network.text;
}

/**
 * Two degrees of dirt: a prefix whose own parts were touched is sent again even if the message is the same, as Felix
 * does; one that only may have changed is sent if it did. `isEnabled` says whether this node gets routes at all; while
 * it does not, everything is kept up to date but nothing is sent.
 */
export class RouteResolver {
  readonly #hostname: string;
  readonly #sequencer: EventSequencer;
  readonly #routes = new CidrTrie<RouteParts>();
  readonly #nodes = new Map<string, RoutingNode>();
  readonly #workloads = new Map<string, { readonly node: string; readonly addresses: readonly Cidr[] }>();
  readonly #blocks = new Map<string, BlockModel>();
  readonly #routesOfNode = new Map<string, Map<string, { readonly cidr: Cidr; count: number }>>();
  readonly #touched = new Map<string, Cidr>();
  readonly #suspect = new Map<string, Cidr>();
  readonly #sent = new Map<string, RouteUpdate>();
  #enabled = false;

  constructor(hostname: string, sequencer: EventSequencer) {
    this.#hostname = hostname;
    this.#sequencer = sequencer;
  }

  /** Sets a pool, or removes it; all routes within it are sent again if it changed. */
  setPool(cidr: Cidr, pool: PoolModel | undefined): void {
    const crossSubnet = pool !== undefined && (pool.ipipMode === 'CrossSubnet' || pool.vxlanMode === 'CrossSubnet');
    const next = pool === undefined ? undefined : { type: poolType(pool), natOutgoing: pool.natOutgoing, crossSubnet };
    const before = this.#routes.get(cidr)?.pool;
    if (
      before?.type === next?.type &&
      before?.natOutgoing === next?.natOutgoing &&
      before?.crossSubnet === next?.crossSubnet
    ) {
      return;
    }
    this.#change(cidr, (parts) => {
      parts.pool = next;
    });
    for (const inner of this.#routes.within(cidr)) this.#touched.set(inner.cidr.text, inner.cidr);
  }

  /** Sets an IPAM block, or removes it. */
  setBlock(key: string, block: BlockModel | undefined): void {
    const before = blockRoutes(this.#blocks.get(key));
    const after = blockRoutes(block);
    if (block === undefined) this.#blocks.delete(key);
    else this.#blocks.set(key, block);
    for (const [text, route] of before) {
      if (after.get(text)?.node !== route.node) this.#setBlockRoute(route.cidr, route.node, undefined);
    }
    for (const [text, route] of after) {
      if (before.get(text)?.node !== route.node) this.#setBlockRoute(route.cidr, undefined, route.node);
    }
  }

  /** Sets the addresses of a workload, or removes it. */
  setWorkload(key: string, node: string, addresses: readonly Cidr[]): void {
    const before = this.#workloads.get(key);
    const texts = (cidrs: readonly Cidr[]): string => cidrs.map(({ text }) => text).join(' ');
    if (before !== undefined && before.node === node && texts(before.addresses) === texts(addresses)) return;
    for (const cidr of addresses) {
      this.#refer(cidr, node, 'workload', 'add');
      this.#countRoute(node, cidr, 1);
    }
    for (const cidr of before?.addresses ?? []) {
      this.#refer(cidr, before?.node ?? node, 'workload', 'remove');
      this.#countRoute(before?.node ?? node, cidr, -1);
    }
    if (addresses.length === 0) this.#workloads.delete(key);
    else this.#workloads.set(key, { node, addresses });
  }

  /** Sets a node, or removes it; the routes of its workloads and blocks are sent again if it changed. */
  setNode(name: string, model: NodeModel | undefined): void {
    const before = this.#nodes.get(name);
    const after = model === undefined ? undefined : routingNode(model);
    if (before === undefined ? after === undefined : after !== undefined && nodeText(before) === nodeText(after))
      return;
    if (after === undefined) this.#nodes.delete(name);
    else this.#nodes.set(name, after);
    for (const { kind, cidr } of after?.tunnels ?? []) this.#refer(cidr, name, kind, 'add');
    for (const { kind, cidr } of before?.tunnels ?? []) this.#refer(cidr, name, kind, 'remove');
    for (const cidr of before?.hosts ?? []) this.#setHost(cidr, name, false);
    for (const cidr of after?.hosts ?? []) this.#setHost(cidr, name, true);
    for (const { cidr } of this.#routesOfNode.get(name)?.values() ?? []) this.#touched.set(cidr.text, cidr);
    if (name === this.#hostname) this.#suspectSubnets(before, after);
  }

  /** Switches sending on or off; what was sent is withdrawn, what was held back is sent. */
  setEnabled(enabled: boolean): void {
    if (enabled === this.#enabled) return;
    this.#enabled = enabled;
    for (const family of [4, 6] as const) {
      for (const { cidr } of this.#routes.all(family)) this.#touched.set(cidr.text, cidr);
    }
  }

  /** Hands the routes that changed to the sequencer. */
  flush(): void {
    for (const cidr of this.#touched.values()) this.#send(cidr, true);
    for (const [text, cidr] of this.#suspect) if (!this.#touched.has(text)) this.#send(cidr, false);
    this.#touched.clear();
    this.#suspect.clear();
  }

  #send(cidr: Cidr, always: boolean): void {
    const parts = this.#routes.get(cidr);
    const before = this.#sent.get(cidr.text);
    if (parts === undefined || !this.#enabled) {
      if (before === undefined) return;
      this.#sent.delete(cidr.text);
      this.#sequencer.routes.remove(cidr.text, create(RouteRemoveSchema, { dst: cidr.text }));
      return;
    }
    if (cidr.text === '0.0.0.0/32' || cidr.text === '::/128') return;
    const context = { hostname: this.#hostname, nodes: this.#nodes };
    const route = buildRoute(this.#routes.containing(cidr), cidr, context);
    if (!always && before !== undefined && equals(RouteUpdateSchema, before, route)) return;
    this.#sent.set(cidr.text, route);
    this.#sequencer.routes.update(cidr.text, route);
  }

  #change(cidr: Cidr, change: (parts: RouteParts) => void): void {
    const parts = this.#routes.get(cidr) ?? emptyParts();
    change(parts);
    if (hasParts(parts)) this.#routes.set(cidr, parts);
    else this.#routes.delete(cidr);
    this.#touched.set(cidr.text, cidr);
  }

  /** Counts what makes a prefix a route of a node, so that a change of the node finds it. */
  #countRoute(node: string, cidr: Cidr, change: 1 | -1): void {
    const routes = this.#routesOfNode.get(node) ?? new Map<string, { readonly cidr: Cidr; count: number }>();
    this.#routesOfNode.set(node, routes);
    const entry = routes.get(cidr.text) ?? { cidr, count: 0 };
    entry.count += change;
    if (entry.count > 0) routes.set(cidr.text, entry);
    else routes.delete(cidr.text);
    if (routes.size === 0) this.#routesOfNode.delete(node);
  }

  #setBlockRoute(cidr: Cidr, oldNode: string | undefined, newNode: string | undefined): void {
    this.#change(cidr, (parts) => {
      parts.block = newNode;
    });
    if (newNode !== undefined) this.#countRoute(newNode, cidr, 1);
    if (oldNode !== undefined) this.#countRoute(oldNode, cidr, -1);
    for (const inner of this.#routes.within(cidr)) this.#suspect.set(inner.cidr.text, inner.cidr);
  }

  #setHost(cidr: Cidr, node: string, isHost: boolean): void {
    this.#change(cidr, (parts) => {
      const others = parts.hosts.filter((name) => name !== node);
      parts.hosts = isHost ? [...others, node].sort() : others;
    });
  }

  #refer(cidr: Cidr, node: string, kind: ReferenceKind, change: 'add' | 'remove'): void {
    this.#change(cidr, (parts) => {
      if (change === 'add') addReference(parts, node, kind);
      else removeReference(parts, node, kind);
    });
  }

  #suspectSubnets(before: RoutingNode | undefined, after: RoutingNode | undefined): void {
    for (const family of [4, 6] as const) {
      if (sameNetwork(before?.addresses[family], after?.addresses[family])) continue;
      for (const { cidr } of this.#routes.all(family)) this.#suspect.set(cidr.text, cidr);
    }
  }
}

function nodeText(node: RoutingNode): string {
  const addresses = [node.addresses[4]?.text, node.addresses[6]?.text];
  const tunnels = node.tunnels.map(({ kind, cidr }) => `${kind} ${cidr.text}`);
  return [...addresses, ...node.hosts.map(({ text }) => text), ...tunnels].join(' ');
}
