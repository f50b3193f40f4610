// The Calico Node: addresses of hosts and tunnels (calc-graph.md sections 12-14).
import { anything, type Decoded, defaulted, listOf, map, object, optional, parsed, text } from '../schema/decoder.js';
import { address, cidr, mac, nodeAddress } from '../schema/scalars.js';
import { formatAddress } from '../net/cidr.js';
import { defineKind } from './kind.js';

const addressText = defaulted(map(address, formatAddress), '');
const interfaceAddress = defaulted(nodeAddress, '');

const asNumber = parsed('an AS number such as 64512 or 1.10', (value) => {
  const parts = /^(\d+)(?:\.(\d+))?$/.exec(value);
  if (parts === null) return undefined;
  const whole = parts[2] === undefined ? Number(parts[1]) : Number(parts[1]) * 65536 + Number(parts[2]);
  return whole < 2 ** 32 ? String(whole) : undefined;
});

const bgp = object({
  asNumber: optional(asNumber),
  ipv4Address: interfaceAddress,
  ipv6Address: interfaceAddress,
  ipv4IPIPTunnelAddr: addressText,
  routeReflectorClusterID: defaulted(text(), ''),
});

const spec = object({
  bgp: optional(bgp),
  ipv4VXLANTunnelAddr: addressText,
  vxlanTunnelMACAddr: defaulted(mac, ''),
  ipv6VXLANTunnelAddr: addressText,
  vxlanTunnelMACAddrV6: defaulted(mac, ''),
  orchRefs: anything,
  wireguard: optional(object({ interfaceIPv4Address: addressText, interfaceIPv6Address: addressText })),
  addresses: listOf(object({ address: text('an address'), type: defaulted(text('a type of address'), '') })),
  interfaces: anything,
});

const status = object({
  wireguardPublicKey: defaulted(text(), ''),
  wireguardPublicKeyV6: defaulted(text(), ''),
  podCIDRs: listOf(cidr),
});

const EMPTY_SPEC: Decoded<typeof spec> = {
  bgp: undefined,
  ipv4VXLANTunnelAddr: '',
  vxlanTunnelMACAddr: '',
  ipv6VXLANTunnelAddr: '',
  vxlanTunnelMACAddrV6: '',
  orchRefs: undefined,
  wireguard: undefined,
  addresses: [],
  interfaces: undefined,
};

function bgpModel(read: Decoded<typeof bgp>) {
  return {
    ipv4Address: read.ipv4Address,
    ipv6Address: read.ipv6Address,
    ipipTunnelAddress: read.ipv4IPIPTunnelAddr,
    asNumber: read.asNumber ?? '',
    empty:
      read.asNumber === undefined &&
      [read.ipv4Address, read.ipv6Address, read.ipv4IPIPTunnelAddr, read.routeReflectorClusterID].every(
        (value) => value === '',
      ),
  };
}

const specOrEmpty = defaulted(spec, EMPTY_SPEC);
const statusOrNothing = optional(status);

/** The kind Node. */
export const node = defineKind({
  api: 'calico',
  kind: 'Node',
  namespaced: false,
  fields: { spec: specOrEmpty, status: statusOrNothing },
  convert: ({ name, metadata, body }) => [
    {
      type: 'node',
      key: name,
      value: {
        name,
        labels: metadata.labels,
        bgp: body.spec.bgp === undefined ? undefined : bgpModel(body.spec.bgp),
        addresses: body.spec.addresses,
        vxlanAddress: body.spec.ipv4VXLANTunnelAddr,
        vxlanMac: body.spec.vxlanTunnelMACAddr,
        vxlanAddressV6: body.spec.ipv6VXLANTunnelAddr,
        vxlanMacV6: body.spec.vxlanTunnelMACAddrV6,
        wireguardAddress: body.spec.wireguard?.interfaceIPv4Address ?? '',
        wireguardAddressV6: body.spec.wireguard?.interfaceIPv6Address ?? '',
        wireguardKey: body.status?.wireguardPublicKey ?? '',
        wireguardKeyV6: body.status?.wireguardPublicKeyV6 ?? '',
      },
    },
  ],
});
