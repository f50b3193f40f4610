// Ports that stay open on host endpoints whatever policy says (dataplane.md 3.9).
import type { Chain, Rule } from '../model/chain.js';
import type { ProtoPort } from '../model/config.js';
import type { TableName } from '../model/family.js';
import type { Match } from '../model/match.js';
import { CHAIN } from '../model/names.js';
import { ACCEPT, onePort, type RenderContext, rule } from './context.js';

/** `cali-failsafe-in` and `cali-failsafe-out`. Raw has no conntrack, so replies are accepted by port there. */
export function renderFailsafeChains(ctx: RenderContext, table: TableName): Chain[] {
  const { failsafeInboundHostPorts: inbound, failsafeOutboundHostPorts: outbound } = ctx.config;
  const replies = table === 'raw';
  const repliesIn = replies ? failsafeRules(ctx, outbound, 'source-ports', 'source-net') : [];
  const repliesOut = replies ? failsafeRules(ctx, inbound, 'source-ports', 'dest-net') : [];
  return [
    { name: CHAIN.failsafeIn, rules: [...failsafeRules(ctx, inbound, 'dest-ports', 'source-net'), ...repliesIn] },
    { name: CHAIN.failsafeOut, rules: [...failsafeRules(ctx, outbound, 'dest-ports', 'dest-net'), ...repliesOut] },
  ];
}

function failsafeRules(
  ctx: RenderContext,
  entries: readonly ProtoPort[],
  ports: 'source-ports' | 'dest-ports',
  netKind: 'source-net' | 'dest-net',
): Rule[] {
  const rules: Rule[] = [];
  for (const { protocol, port, net } of entries) {
    const match: Match[] = [{ kind: 'protocol', protocol }, onePort(ports, protocol, port)];
    if (net !== undefined) {
      if (net.includes(':') !== (ctx.family === 6)) continue;
      match.push({ kind: netKind, net });
    }
    rules.push(rule(match, ACCEPT));
  }
  return rules;
}
