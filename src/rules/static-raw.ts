// Chains of the raw table that depend on configuration alone (dataplane.md 3.2, 3.14).
import type { Chain, Rule } from '../model/chain.js';
import type { Match } from '../model/match.js';
import { CHAIN } from '../model/names.js';
import {
  ACCEPT,
  clearMark,
  denyAction,
  jump,
  markClear,
  markSet,
  onePort,
  type RenderContext,
  RETURN,
  rule,
  setMark,
  vxlanEnabled,
  workloadInterfaces,
} from './context.js';
import { renderFailsafeChains } from './failsafes.js';
import { allPolicyBits } from './mark-bits.js';
import type { StaticTable } from './renderer.js';

/** `cali-rpf-skip` is not here: it depends on endpoints. */
export function renderStaticRaw(ctx: RenderContext): StaticTable {
  return {
    chains: [
      preroutingChain(ctx),
      wireguardIncomingMarkChain(ctx),
      outputChain(ctx),
      ...renderFailsafeChains(ctx, 'raw'),
    ],
    inserted: new Map([
      ['PREROUTING', [rule([], jump(CHAIN.prerouting))]],
      ['OUTPUT', [rule([], jump(CHAIN.output))]],
    ]),
    appended: new Map(),
  };
}

function preroutingChain(ctx: RenderContext): Chain {
  const { accept, scratch0: fromWorkload } = ctx.marks;
  const rules: Rule[] = [rule([], clearMark(allPolicyBits(ctx.marks)))];
  if (ctx.config.wireguardHostEncryptionEnabled && ctx.marks.wireguard !== 0) {
    rules.push(rule([], jump(CHAIN.wireguardIncomingMark)));
  }
  rules.push(...vxlanNotrackRules(ctx));
  for (const match of workloadInterfaces(ctx, 'in-interface')) rules.push(rule([match], setMark(fromWorkload)));
  rules.push(rule([markSet(fromWorkload)], jump(CHAIN.rpfSkip)));
  if (ctx.config.openstack && ctx.family === 4) rules.push(rule(dhcpDiscovery(), ACCEPT));
  rules.push(
    rule([markSet(fromWorkload), { kind: 'rpf-failed' }], denyAction(ctx, 'raw', 'ingress')),
    rule([markClear(fromWorkload)], jump(CHAIN.fromHostEndpoint)),
    rule([markSet(accept)], ACCEPT),
  );
  return { name: CHAIN.prerouting, rules };
}

function outputChain(ctx: RenderContext): Chain {
  const rules = [
    rule([], clearMark(allPolicyBits(ctx.marks))),
    rule([], jump(CHAIN.toHostEndpoint)),
    ...vxlanNotrackRules(ctx),
    rule([markSet(ctx.marks.accept)], ACCEPT),
  ];
  return { name: CHAIN.output, rules };
}

function vxlanNotrackRules(ctx: RenderContext): Rule[] {
  if (!vxlanEnabled(ctx)) return [];
  const match: Match[] = [
    { kind: 'protocol', protocol: 'udp' },
    { kind: 'dest-port', protocol: 'udp', port: ctx.config.vxlanPort },
  ];
  return [rule(match, { kind: 'notrack' })];
}

// A VM that asks for its address has none yet and would fail the reverse path check.
function dhcpDiscovery(): Match[] {
  return [
    { kind: 'protocol', protocol: 'udp' },
    { kind: 'source-net', net: '0.0.0.0' },
    onePort('source-ports', 'udp', 68),
    onePort('dest-ports', 'udp', 67),
  ];
}

function wireguardIncomingMarkChain(ctx: RenderContext): Chain {
  const skipped: Match[] = [
    { kind: 'in-interface', name: 'lo' },
    { kind: 'in-interface', name: ctx.config.wireguardInterfaceName },
    { kind: 'in-interface', name: ctx.config.wireguardInterfaceNameV6 },
    ...workloadInterfaces(ctx, 'in-interface'),
  ];
  const rules = skipped.map((match) => rule([match], RETURN));
  return { name: CHAIN.wireguardIncomingMark, rules: [...rules, rule([], setMark(ctx.marks.wireguard))] };
}
