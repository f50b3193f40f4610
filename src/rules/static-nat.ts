// Chains of the nat table that depend on configuration alone (dataplane.md 3.3, 3.14).
import type { Chain, Rule } from '../model/chain.js';
import type { Match } from '../model/match.js';
import { CHAIN } from '../model/names.js';
import { ipipEnabled, jump, onePort, PROTOCOL, type RenderContext, rule, vxlanEnabled, wireguard } from './context.js';
import type { StaticTable } from './renderer.js';

/** Where OpenStack VMs look for the metadata service. */
const METADATA_NET = '169.254.169.254/32';

/** POSTROUTING is always appended: kube-proxy's masquerade has to come first (dataplane.md 3.7). */
export function renderStaticNat(ctx: RenderContext): StaticTable {
  return {
    chains: [
      { name: CHAIN.prerouting, rules: [rule([], jump(CHAIN.floatingIpDnat)), ...metadataRules(ctx)] },
      postroutingChain(ctx),
      { name: CHAIN.output, rules: [rule([], jump(CHAIN.floatingIpDnat))] },
    ],
    inserted: new Map([
      ['PREROUTING', [rule([], jump(CHAIN.prerouting))]],
      ['OUTPUT', [rule([], jump(CHAIN.output))]],
    ]),
    appended: new Map([['POSTROUTING', [rule([], jump(CHAIN.postrouting))]]]),
  };
}

function metadataRules(ctx: RenderContext): Rule[] {
  const { openstack, metadataAddr: address, metadataPort: port } = ctx.config;
  if (!openstack || ctx.family !== 4 || address === null) return [];
  const match: Match[] = [
    { kind: 'protocol', protocol: 'tcp' },
    onePort('dest-ports', 'tcp', 80),
    { kind: 'dest-net', net: METADATA_NET },
  ];
  // MetadataPort `none` is 0: the port stays as it is.
  return [rule(match, port === 0 ? { kind: 'dnat', address } : { kind: 'dnat', address, port })];
}

function postroutingChain(ctx: RenderContext): Chain {
  const rules = [rule([], jump(CHAIN.floatingIpSnat)), rule([], jump(CHAIN.natOutgoing))];
  for (const tunnel of tunnelInterfaces(ctx)) rules.push(...masqueradeRules(ctx, tunnel));
  return { name: CHAIN.postrouting, rules };
}

/** Host traffic that goes down a tunnel with another address of the host gets the tunnel's address. */
function masqueradeRules(ctx: RenderContext, tunnel: string): Rule[] {
  const match: Match[] = [
    { kind: 'out-interface', name: tunnel },
    { kind: 'source-address-type', type: 'LOCAL', limitInterfaceOut: true, negated: true },
    { kind: 'source-address-type', type: 'LOCAL' },
  ];
  const plain = rule(match, { kind: 'masquerade' });
  if (!vxlanEnabled(ctx) || ctx.config.vxlanPort === 0) return [plain];
  // A source port equal to the VXLAN port would make the replies look like VXLAN packets from nowhere.
  const udp: Match = { kind: 'protocol', protocol: PROTOCOL.udp };
  const ports = portsWithout(ctx.config.vxlanPort);
  return [rule([udp, ...match], { kind: 'masquerade', ports }), plain];
}

// The wider of the two ranges beside the port, above the privileged ones; the lower one on a tie.
function portsWithout(port: number): string {
  const below = port - 1024;
  const above = 65535 - port;
  return below >= above ? `1024-${port - 1}` : `${port + 1}-65535`;
}

function tunnelInterfaces(ctx: RenderContext): string[] {
  const config = ctx.config;
  const names: string[] = [];
  if (ipipEnabled(ctx) && config.ipInIpTunnelAddr !== null) names.push('tunl0');
  const vxlanAddress = ctx.family === 4 ? config.ipv4VXLANTunnelAddr : config.ipv6VXLANTunnelAddr;
  if (vxlanEnabled(ctx) && vxlanAddress !== null) names.push(ctx.family === 4 ? 'vxlan.calico' : 'vxlan-v6.calico');
  const tunnel = wireguard(ctx);
  if (tunnel !== null) names.push(tunnel.interfaceName);
  return names;
}
