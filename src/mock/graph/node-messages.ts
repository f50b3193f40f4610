// Messages about nodes: host metadata, VTEPs and wireguard endpoints (calc-graph.md sections 12 and 14).
import { createHash } from 'node:crypto';
import { create, equals } from '@bufbuild/protobuf';
import {
  HostMetadataRemoveSchema,
  type HostMetadataUpdate,
  HostMetadataUpdateSchema,
  VXLANTunnelEndpointRemoveSchema,
  type VXLANTunnelEndpointUpdate,
  VXLANTunnelEndpointUpdateSchema,
  WireguardEndpointRemoveSchema,
  WireguardEndpointUpdateSchema,
  WireguardEndpointV6RemoveSchema,
  WireguardEndpointV6UpdateSchema,
} from '../../protocol/gen/felix/felixbackend_pb.js';
import { formatAddress } from '../net/cidr.js';
import type { NodeModel } from './entries.js';
import type { EventSequencer } from './event-sequencer.js';
import { metadataAddress, parseNodeAddress } from './node-info.js';

/** MAC address of a node's VTEP where the resource gives none: 66 and the first five bytes of the name's SHA-1. */
export function vtepMac(node: string, family: 4 | 6): string {
  const digest = createHash('sha1')
    .update(family === 4 ? node : `${node}-v6`)
    .digest();
  return ['66', ...[...digest.subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

function hostMetadata(node: NodeModel): HostMetadataUpdate | undefined {
  if (node.bgp?.empty === true) return undefined;
  return create(HostMetadataUpdateSchema, {
    hostname: node.name,
    ipv4Addr: metadataAddress(node, 4),
    ipv6Addr: metadataAddress(node, 6),
    asnumber: node.bgp?.asNumber ?? '',
    labels: Object.fromEntries(node.labels),
  });
}

function vtepOf(node: NodeModel): VXLANTunnelEndpointUpdate | undefined {
  const parent4 = parseNodeAddress(node.bgp?.ipv4Address ?? '');
  const parent6 = parseNodeAddress(node.bgp?.ipv6Address ?? '');
  const has4 = parent4 !== undefined && node.vxlanAddress !== '';
  const has6 = parent6 !== undefined && node.vxlanAddressV6 !== '';
  if (!has4 && !has6) return undefined;
  const v4 = has4 && {
    ipv4Addr: node.vxlanAddress,
    parentDeviceIp: formatAddress(parent4.address),
    mac: node.vxlanMac === '' ? vtepMac(node.name, 4) : node.vxlanMac,
  };
  const v6 = has6 && {
    ipv6Addr: node.vxlanAddressV6,
    parentDeviceIpv6: formatAddress(parent6.address),
    macV6: node.vxlanMacV6 === '' ? vtepMac(node.name, 6) : node.vxlanMacV6,
  };
  return create(VXLANTunnelEndpointUpdateSchema, { node: node.name, ...(v4 || {}), ...(v6 || {}) });
}

/** Sends what changed of each node. VTEPs go out only while VXLAN is enabled. */
export class NodeMessages {
  readonly #sequencer: EventSequencer;
  readonly #hosts = new Map<string, HostMetadataUpdate>();
  readonly #vteps = new Map<string, VXLANTunnelEndpointUpdate>();
  #vxlanEnabled = false;

  constructor(sequencer: EventSequencer) {
    this.#sequencer = sequencer;
  }

  /** Sets a node, or removes it. */
  setNode(name: string, node: NodeModel | undefined): void {
    this.#setHost(name, node === undefined ? undefined : hostMetadata(node));
    this.#setVtep(name, node === undefined ? undefined : vtepOf(node));
    this.#setWireguard(name, node);
  }

  /** Switches the sending of VTEPs on or off. */
  setVxlanEnabled(enabled: boolean): void {
    if (enabled === this.#vxlanEnabled) return;
    this.#vxlanEnabled = enabled;
    for (const [name, vtep] of this.#vteps) {
      if (enabled) this.#sequencer.vteps.update(name, vtep);
      else this.#sequencer.vteps.remove(name, create(VXLANTunnelEndpointRemoveSchema, { node: name }));
    }
  }

  #setHost(name: string, host: HostMetadataUpdate | undefined): void {
    const before = this.#hosts.get(name);
    if (host === undefined) {
      this.#hosts.delete(name);
      this.#sequencer.hosts.remove(name, create(HostMetadataRemoveSchema, { hostname: name }));
    } else if (before === undefined || !equals(HostMetadataUpdateSchema, before, host)) {
      this.#hosts.set(name, host);
      this.#sequencer.hosts.update(name, host);
    }
  }

  #setVtep(name: string, vtep: VXLANTunnelEndpointUpdate | undefined): void {
    const before = this.#vteps.get(name);
    if (vtep === undefined) {
      this.#vteps.delete(name);
      this.#sequencer.vteps.remove(name, create(VXLANTunnelEndpointRemoveSchema, { node: name }));
    } else if (before === undefined || !equals(VXLANTunnelEndpointUpdateSchema, before, vtep)) {
      this.#vteps.set(name, vtep);
      if (this.#vxlanEnabled) this.#sequencer.vteps.update(name, vtep);
    }
  }

  #setWireguard(name: string, node: NodeModel | undefined): void {
    const { wireguard, wireguardV6 } = this.#sequencer;
    if (node === undefined || node.wireguardKey === '') {
      wireguard.remove(name, create(WireguardEndpointRemoveSchema, { hostname: name }));
    } else {
      wireguard.update(
        name,
        create(WireguardEndpointUpdateSchema, {
          hostname: name,
          publicKey: node.wireguardKey,
          interfaceIpv4Addr: node.wireguardAddress,
        }),
      );
    }
    if (node === undefined || node.wireguardKeyV6 === '') {
      wireguardV6.remove(name, create(WireguardEndpointV6RemoveSchema, { hostname: name }));
    } else {
      wireguardV6.update(
        name,
        create(WireguardEndpointV6UpdateSchema, {
          hostname: name,
          publicKeyV6: node.wireguardKeyV6,
          interfaceIpv6Addr: node.wireguardAddressV6,
        }),
      );
    }
  }
}
