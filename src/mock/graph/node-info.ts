// What the routes, tunnels and host messages need of a node: its addresses by family (calc-graph.md sections 12-14).
import { type Address, type Cidr, hostCidr, parseAddress, parseInterfaceAddress } from '../net/cidr.js';
import type { NodeModel } from './entries.js';

/** A node's own address with the network it is in; a bare address is a network of its own. */
export interface NodeAddress {
  readonly address: Address;
  readonly network: Cidr;
  /** `192.168.0.1/24`. */
  readonly text: string;
}

/** `192.168.0.1/24` or `192.168.0.1`, which counts as /32. Undefined for anything else, empty included. */
export function parseNodeAddress(text: string): NodeAddress | undefined {
  if (text.includes('/')) return parseInterfaceAddress(text);
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  const network = hostCidr(address);
  return { address, network, text: network.text };
}

/** The first InternalIP of that family among `spec.addresses`, else the first ExternalIP. */
export function listedAddress(node: NodeModel, family: 4 | 6): NodeAddress | undefined {
  for (const type of ['InternalIP', 'ExternalIP']) {
    for (const entry of node.addresses) {
      const parsed = entry.type === type ? parseNodeAddress(entry.address) : undefined;
      if (parsed?.address.family === family) return parsed;
    }
  }
  return undefined;
}

/** The address that HostMetadataUpdate carries, with prefix length, or empty. */
export function metadataAddress(node: NodeModel, family: 4 | 6): string {
  const own = (family === 4 ? node.bgp?.ipv4Address : node.bgp?.ipv6Address) ?? '';
  const parsed = own.includes('/') ? parseNodeAddress(own) : undefined;
  return (parsed ?? listedAddress(node, family))?.text ?? '';
}

/** The kinds of tunnel in the order in which Felix sorts them. */
export const TUNNELS = ['wireguard', 'ipip', 'vxlan'] as const;
export type Tunnel = (typeof TUNNELS)[number];

/** A node as the routes see it. */
export interface RoutingNode {
  readonly addresses: Readonly<Record<4 | 6, NodeAddress | undefined>>;
  /** The node's own /32s and /128s, each once. */
  readonly hosts: readonly Cidr[];
  readonly tunnels: readonly { readonly kind: Tunnel; readonly cidr: Cidr }[];
}

/** Undefined if the node has no address at all: then it has no routes. */
export function routingNode(node: NodeModel): RoutingNode | undefined {
  const announced = node.bgp !== undefined && (node.bgp.ipv4Address !== '' || node.bgp.ipv6Address !== '');
  const addresses = announced
    ? { 4: parseNodeAddress(node.bgp?.ipv4Address ?? ''), 6: parseNodeAddress(node.bgp?.ipv6Address ?? '') }
    : { 4: listedAddress(node, 4), 6: listedAddress(node, 6) };
  if (addresses[4] === undefined && addresses[6] === undefined) return undefined;
  const own = [addresses[4], addresses[6], ...node.addresses.map((entry) => parseNodeAddress(entry.address))];
  const hosts = new Map(
    own.flatMap((entry) => (entry === undefined ? [] : [hostCidr(entry.address)])).map((cidr) => [cidr.text, cidr]),
  );
  const tunnelTexts: [Tunnel, string][] = [
    ['ipip', node.bgp?.ipipTunnelAddress ?? ''],
    ['vxlan', node.vxlanAddress],
    ['vxlan', node.vxlanAddressV6],
    ['wireguard', node.wireguardAddress],
    ['wireguard', node.wireguardAddressV6],
  ];
  const tunnels = tunnelTexts.flatMap(([kind, text]) => {
    const address = parseAddress(text);
    return address === undefined ? [] : [{ kind, cidr: hostCidr(address) }];
  });
  return { addresses, hosts: [...hosts.values()], tunnels };
}
