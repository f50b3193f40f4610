// Rules of filter INPUT and OUTPUT that let tunnel packets of other nodes through and nobody else's
// (dataplane.md 3.4, 3.14).
import type { Rule } from '../model/chain.js';
import type { Match } from '../model/match.js';
import {
  denyAction,
  denyVerb,
  DROP,
  ipipEnabled,
  onePort,
  ownSet,
  PROTOCOL,
  type RenderContext,
  rule,
  vxlanEnabled,
  wireguard,
} from './context.js';

const IPIP: Match = { kind: 'protocol', protocol: PROTOCOL.ipip };
const UDP: Match = { kind: 'protocol', protocol: PROTOCOL.udp };
const TO_LOCAL: Match = { kind: 'dest-address-type', type: 'LOCAL' };
const FROM_LOCAL: Match = { kind: 'source-address-type', type: 'LOCAL' };

/** First rules of `cali-INPUT`. */
export function tunnelInputRules(ctx: RenderContext): Rule[] {
  const deny = denyAction(ctx, 'filter', 'ingress');
  const ip = ipName(ctx);
  const rules: Rule[] = [];
  if (ipipEnabled(ctx)) {
    const fromHosts: Match = { kind: 'source-set', set: ownSet(ctx, 'allHosts') };
    rules.push(
      rule([IPIP, fromHosts, TO_LOCAL], ctx.filterAllow, 'Allow IPIP packets from Calico hosts'),
      rule([IPIP], deny, `${denyVerb(deny)} IPIP packets from non-Calico hosts`),
    );
  }
  if (vxlanEnabled(ctx)) {
    const port = onePort('dest-ports', PROTOCOL.udp, ctx.config.vxlanPort);
    const fromHosts: Match = { kind: 'source-set', set: ownSet(ctx, 'allVxlan') };
    // Felix always drops for IPv4 and takes the deny action for IPv6.
    const refuse = ctx.family === 4 ? DROP : deny;
    rules.push(
      rule([UDP, port, fromHosts, TO_LOCAL], ctx.filterAllow, `Allow ${ip} VXLAN packets from allowed hosts`),
      rule([UDP, port, TO_LOCAL], refuse, `${denyVerb(refuse)} ${ip} VXLAN packets from non-allowed hosts`),
    );
  }
  const tunnel = wireguard(ctx);
  if (tunnel !== null) {
    const port = onePort('dest-ports', PROTOCOL.udp, tunnel.port);
    rules.push(rule([UDP, port, TO_LOCAL], ctx.filterAllow, `Allow incoming ${ip} Wireguard packets`));
  }
  return rules;
}

/** Rules of `cali-OUTPUT` before host endpoint policy. */
export function tunnelOutputRules(ctx: RenderContext): Rule[] {
  const ip = ipName(ctx);
  const rules: Rule[] = [];
  if (ipipEnabled(ctx)) {
    const toHosts: Match = { kind: 'dest-set', set: ownSet(ctx, 'allHosts') };
    rules.push(rule([IPIP, toHosts, FROM_LOCAL], ctx.filterAllow, 'Allow IPIP packets to other Calico hosts'));
  }
  if (vxlanEnabled(ctx)) {
    const port = onePort('dest-ports', PROTOCOL.udp, ctx.config.vxlanPort);
    const toHosts: Match = { kind: 'dest-set', set: ownSet(ctx, 'allVxlan') };
    rules.push(
      rule([UDP, port, FROM_LOCAL, toHosts], ctx.filterAllow, `Allow ${ip} VXLAN packets to other allowed hosts`),
    );
  }
  const tunnel = wireguard(ctx);
  if (tunnel !== null) {
    const port = onePort('dest-ports', PROTOCOL.udp, tunnel.port);
    rules.push(rule([UDP, port, FROM_LOCAL], ctx.filterAllow, `Allow outgoing ${ip} Wireguard packets`));
  }
  return rules;
}

function ipName(ctx: RenderContext): string {
  return ctx.family === 4 ? 'IPv4' : 'IPv6';
}
