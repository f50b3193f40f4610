// What is known of every prefix that gets a route: pool, block, hosts, workloads and tunnels; and the message that
// follows from a prefix and those around it (calc-graph.md section 13).
import { create } from '@bufbuild/protobuf';
import {
  IPPoolType,
  type RouteUpdate,
  RouteUpdateSchema,
  TunnelTypeSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import { type Cidr, containsCidr, formatAddress } from '../net/cidr.js';
import type { RoutingNode, Tunnel } from './node-info.js';

/** What uses an address: a workload or a tunnel. */
export type ReferenceKind = 'workload' | Tunnel;

interface Reference {
  readonly node: string;
  readonly kind: ReferenceKind;
  count: number;
}

export interface RoutePool {
  readonly type: IPPoolType;
  readonly natOutgoing: boolean;
  readonly crossSubnet: boolean;
}

/** The parts that one prefix has. A prefix without any has no route. */
export interface RouteParts {
  pool: RoutePool | undefined;
  /** Node of the IPAM block, or of an address borrowed from one. */
  block: string | undefined;
  /** Nodes whose own address this is, sorted. */
  hosts: string[];
  /** Sorted by node, then by kind. */
  references: Reference[];
}

const KIND_ORDER: readonly ReferenceKind[] = ['workload', 'wireguard', 'ipip', 'vxlan'];

export function emptyParts(): RouteParts {
  return { pool: undefined, block: undefined, hosts: [], references: [] };
}

export function hasParts(parts: RouteParts): boolean {
  return parts.pool !== undefined || parts.block !== undefined || parts.hosts.length > 0 || parts.references.length > 0;
}

/** Counts one more user of the address. */
export function addReference(parts: RouteParts, node: string, kind: ReferenceKind): void {
  const found = parts.references.find((reference) => reference.node === node && reference.kind === kind);
  if (found !== undefined) {
    found.count++;
    return;
  }
  parts.references.push({ node, kind, count: 1 });
  parts.references.sort((a, b) =>
    a.node === b.node ? KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind) : a.node < b.node ? -1 : 1,
  );
}

/** Counts one user less. */
export function removeReference(parts: RouteParts, node: string, kind: ReferenceKind): void {
  const found = parts.references.find((reference) => reference.node === node && reference.kind === kind);
  if (found === undefined) return;
  found.count--;
  if (found.count === 0) parts.references = parts.references.filter((reference) => reference !== found);
}

// Bits of RouteType (field 12 of RouteUpdate).
const REMOTE_WORKLOAD = 1;
const REMOTE_HOST = 2;
const LOCAL_WORKLOAD = 4;
const LOCAL_HOST = 8;
const REMOTE_TUNNEL = 16;
const LOCAL_TUNNEL = 32;

/** What the message of a route depends on besides the parts. */
export interface RouteContext {
  readonly hostname: string;
  readonly nodes: ReadonlyMap<string, RoutingNode>;
}

/** Gathers a route while walking from the shortest prefix around it down to itself. */
class RouteBuilder {
  readonly #cidr: Cidr;
  readonly #context: RouteContext;
  readonly #route: RouteUpdate;
  #types = 0;
  #crossSubnet = false;
  #blockNode: string | undefined;
  #blockTypes = 0;
  #blockIsHere = false;
  #hasHost = false;
  #hasTunnel = false;

  constructor(cidr: Cidr, context: RouteContext) {
    this.#cidr = cidr;
    this.#context = context;
    this.#route = create(RouteUpdateSchema, { dst: cidr.text });
  }

  visit(cidr: Cidr, parts: RouteParts): void {
    if (parts.pool !== undefined) this.#visitPool(parts.pool);
    if (parts.block !== undefined) this.#visitBlock(cidr, parts.block);
    const host = parts.hosts[0];
    if (host !== undefined) {
      this.#route.dstNodeName = host;
      this.#hasHost = true;
      this.#types |= this.#isLocal(host) ? LOCAL_HOST : REMOTE_HOST;
    }
    if (parts.references.length > 0) this.#visitReferences(parts.references);
  }

  finish(): RouteUpdate {
    if (this.#blockNode !== undefined && !this.#hasHost && (this.#blockIsHere || !this.#hasTunnel)) {
      this.#types |= this.#blockTypes;
    }
    const { family } = this.#cidr;
    const node = this.#context.nodes.get(this.#route.dstNodeName)?.addresses[family];
    if (node !== undefined) this.#route.dstNodeIp = formatAddress(node.address);
    const own = this.#context.nodes.get(this.#context.hostname)?.addresses[family];
    this.#route.sameSubnet =
      this.#crossSubnet && own !== undefined && node !== undefined && containsCidr(own.network, node.address);
    this.#route.types = this.#types;
    return this.#route;
  }

  #isLocal(node: string): boolean {
    return node === this.#context.hostname;
  }

  #visitPool(pool: RoutePool): void {
    if (pool.type !== IPPoolType.NONE) this.#route.ipPoolType = pool.type;
    if (pool.natOutgoing) this.#route.natOutgoing = true;
    if (pool.crossSubnet) this.#crossSubnet = true;
  }

  #visitBlock(cidr: Cidr, node: string): void {
    if (this.#blockNode !== undefined && this.#blockNode !== node) this.#route.borrowed = true;
    else this.#blockNode = node;
    this.#route.dstNodeName = node;
    if (cidr.text === this.#cidr.text) this.#blockIsHere = true;
    this.#blockTypes |= this.#isLocal(node) ? LOCAL_WORKLOAD : REMOTE_WORKLOAD;
  }

  #visitReferences(references: readonly Reference[]): void {
    const first = references[0] as Reference;
    const local = this.#isLocal(first.node);
    this.#route.dstNodeName = first.node;
    if (this.#blockNode !== undefined && this.#blockNode !== first.node) this.#route.borrowed = true;
    if (first.kind === 'workload') {
      if (local) this.#route.localWorkload = true;
      this.#types |= local ? LOCAL_WORKLOAD : REMOTE_WORKLOAD;
      return;
    }
    this.#hasTunnel = true;
    this.#types |= local ? LOCAL_TUNNEL : REMOTE_TUNNEL;
    const kinds = new Set(references.filter(({ node }) => node === first.node).map(({ kind }) => kind));
    this.#route.tunnelType = create(TunnelTypeSchema, {
      ipip: kinds.has('ipip'),
      vxlan: kinds.has('vxlan'),
      wireguard: kinds.has('wireguard'),
    });
  }
}

/** The route of a prefix. `path` are the prefixes that contain it, itself last, from the shortest to the longest. */
export function buildRoute(
  path: readonly { readonly cidr: Cidr; readonly value: RouteParts }[],
  cidr: Cidr,
  context: RouteContext,
): RouteUpdate {
  const builder = new RouteBuilder(cidr, context);
  for (const entry of path) builder.visit(entry.cidr, entry.value);
  return builder.finish();
}
