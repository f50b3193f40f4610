// Chains of the filter table that depend on configuration alone (dataplane.md 3.4, 3.14).
import type { Action } from '../model/action.js';
import type { Chain, Rule } from '../model/chain.js';
import type { DataplaneConfig } from '../model/config.js';
import type { Match } from '../model/match.js';
import { CHAIN } from '../model/names.js';
import {
  ACCEPT,
  clearMark,
  DROP,
  goTo,
  jump,
  markClear,
  markNotClear,
  markSet,
  onePort,
  ownSet,
  PROTOCOL,
  REJECT,
  type RenderContext,
  RETURN,
  rule,
  setMark,
  workloadInterfaces,
} from './context.js';
import { renderFailsafeChains } from './failsafes.js';
import { allPolicyBits } from './mark-bits.js';
import { splitPorts } from './ports.js';
import type { StaticTable } from './renderer.js';
import { tunnelInputRules, tunnelOutputRules } from './static-tunnels.js';

const POLICY_ACCEPTED = 'Policy explicitly accepted packet.';
const HOST_ENDPOINT_ACCEPTED = 'Host endpoint policy accepted packet.';
const ESTABLISHED: Match = { kind: 'conntrack-state', states: ['RELATED', 'ESTABLISHED'] };

/** Multicast listener query, report and done, router solicitation, neighbour solicitation and advertisement. */
const ICMPV6_TYPES = [130, 131, 132, 133, 135, 136];

/** Name of the flowtable of dataplane.md 5.6. */
const FLOWTABLE = 'calico';

/** Dispatch chains and `cali-cidr-block` are not here: they depend on endpoints and services. */
export function renderStaticFilter(ctx: RenderContext): StaticTable {
  const chains = [
    inputChain(ctx),
    workloadToHostChain(ctx),
    ...renderFailsafeChains(ctx, 'filter'),
    forwardChain(ctx),
    outputChain(ctx),
  ];
  if (ctx.environment.ipvs) chains.push(forwardCheckChain(ctx), forwardEndpointMarkChain(ctx));
  const { accept } = ctx.marks;
  return {
    chains,
    inserted: new Map([
      ['INPUT', [rule([], jump(CHAIN.input))]],
      ['FORWARD', [rule([], jump(CHAIN.forward))]],
      ['OUTPUT', [rule([], jump(CHAIN.output))]],
    ]),
    // The mark tells mangle POSTROUTING that the packet was forwarded, so that it skips host endpoint policy.
    appended: new Map([
      ['FORWARD', [rule([markSet(accept)], ctx.filterAllow, POLICY_ACCEPTED), rule([], setMark(accept))]],
    ]),
  };
}

function inputChain(ctx: RenderContext): Chain {
  const accepted = [markSet(ctx.marks.accept)];
  const rules = tunnelInputRules(ctx);
  if (ctx.environment.ipvs) {
    rules.push(
      rule([], clearMark(ctx.marks.endpoint)),
      rule([], jump(CHAIN.forwardCheck)),
      rule([markNotClear(ctx.marks.endpoint)], RETURN),
    );
  }
  for (const match of workloadInterfaces(ctx, 'in-interface')) rules.push(rule([match], goTo(CHAIN.workloadToHost)));
  rules.push(
    rule(accepted, ctx.filterAllow),
    rule([], clearMark(allPolicyBits(ctx.marks))),
    rule([], jump(CHAIN.fromHostEndpoint)),
    rule(accepted, ctx.filterAllow, HOST_ENDPOINT_ACCEPTED),
  );
  return { name: CHAIN.input, rules };
}

function workloadToHostChain(ctx: RenderContext): Chain {
  const rules: Rule[] = [];
  if (ctx.family === 6) {
    for (const type of ICMPV6_TYPES) {
      const match: Match[] = [
        { kind: 'protocol', protocol: PROTOCOL.icmpv6 },
        { kind: 'icmp-type', type },
      ];
      rules.push(rule(match, ctx.filterAllow));
    }
  }
  if (ctx.config.openstack) rules.push(...openstackRules(ctx));
  rules.push(
    rule([], jump(CHAIN.fromWorkloadDispatch)),
    rule([], toHostAction(ctx.config.defaultEndpointToHostAction), 'Configured DefaultEndpointToHostAction'),
  );
  return { name: CHAIN.workloadToHost, rules };
}

function toHostAction(action: DataplaneConfig['defaultEndpointToHostAction']): Action {
  switch (action) {
    case 'DROP':
      return DROP;
    case 'RETURN':
      return RETURN;
    case 'ACCEPT':
      return ACCEPT;
    case 'REJECT':
      return REJECT;
  }
}

// VMs reach metadata service, DHCP and DNS of the host before policy.
function openstackRules(ctx: RenderContext): Rule[] {
  const rules: Rule[] = [];
  const { metadataAddr, metadataPort } = ctx.config;
  if (ctx.family === 4 && metadataAddr !== null) {
    const match: Match[] = [
      { kind: 'protocol', protocol: 'tcp' },
      { kind: 'dest-net', net: metadataAddr },
      onePort('dest-ports', 'tcp', metadataPort),
    ];
    rules.push(rule(match, ctx.filterAllow));
  }
  const [clientPort, serverPort] = ctx.family === 4 ? [68, 67] : [546, 547];
  const udp: Match = { kind: 'protocol', protocol: 'udp' };
  const dhcp = [udp, onePort('source-ports', 'udp', clientPort), onePort('dest-ports', 'udp', serverPort)];
  rules.push(rule(dhcp, ctx.filterAllow), rule([udp, onePort('dest-ports', 'udp', 53)], ctx.filterAllow));
  return rules;
}

function forwardChain(ctx: RenderContext): Chain {
  const { accept } = ctx.marks;
  const rules: Rule[] = [];
  if (ctx.backend === 'nftables' && ctx.config.nftablesFlowTableOffload === 'All') rules.push(offloadRule(ctx));
  rules.push(
    rule([], clearMark((allPolicyBits(ctx.marks) & ~accept) >>> 0)),
    rule([markClear(accept)], jump(CHAIN.fromHostEndpointForward)),
  );
  const inMatches = workloadInterfaces(ctx, 'in-interface');
  const outMatches = workloadInterfaces(ctx, 'out-interface');
  inMatches.forEach((inMatch, index) => {
    rules.push(rule([inMatch], jump(CHAIN.fromWorkloadDispatch)));
    const outMatch = outMatches[index];
    if (outMatch !== undefined) rules.push(rule([outMatch], jump(CHAIN.toWorkloadDispatch)));
  });
  rules.push(rule([], jump(CHAIN.toHostEndpointForward)), rule([], jump(CHAIN.cidrBlock)));
  return { name: CHAIN.forward, rules };
}

function offloadRule(ctx: RenderContext): Rule {
  const set = ownSet(ctx, 'noFlowOffload');
  const match: Match[] = [
    ESTABLISHED,
    { kind: 'source-set', set, negated: true },
    { kind: 'dest-set', set, negated: true },
  ];
  return rule(match, { kind: 'flow-offload', flowtable: FLOWTABLE }, 'Offload established Calico flows.');
}

function outputChain(ctx: RenderContext): Chain {
  const accepted = [markSet(ctx.marks.accept)];
  const rules = [rule(accepted, ctx.filterAllow)];
  if (ctx.environment.ipvs) {
    rules.push(rule([markNotClear(ctx.marks.endpoint)], goTo(CHAIN.forwardEndpointMark)));
  }
  for (const match of workloadInterfaces(ctx, 'out-interface')) rules.push(rule([match], RETURN));
  rules.push(...tunnelOutputRules(ctx), rule([], clearMark(allPolicyBits(ctx.marks))));
  if (ctx.backend === 'nftables') {
    // `ct status` never matches a packet without conntrack entry, negated or not; so DNATed packets are the ones
    // sent away, and all others meet policy (differences.md row 2).
    rules.push(rule([{ kind: 'conntrack-dnat' }], RETURN), rule([], jump(CHAIN.toHostEndpoint)));
  } else {
    rules.push(rule([{ kind: 'conntrack-dnat', negated: true }], jump(CHAIN.toHostEndpoint)));
  }
  rules.push(rule(accepted, ctx.filterAllow, HOST_ENDPOINT_ACCEPTED));
  return { name: CHAIN.output, rules };
}

// IPVS: traffic to service addresses ends in INPUT and leaves by OUTPUT; the mark carries its origin across.
function forwardCheckChain(ctx: RenderContext): Chain {
  const set = ownSet(ctx, 'thisHost');
  const rules = [rule([ESTABLISHED], RETURN)];
  for (const ports of splitPorts(ctx.config.kubeNodePortRanges)) {
    for (const protocol of ['tcp', 'udp']) {
      const match: Match[] = [
        { kind: 'protocol', protocol },
        { kind: 'dest-ports', protocol, ports },
        { kind: 'dest-set', set },
      ];
      rules.push(rule(match, goTo(CHAIN.setEndpointMark), 'To kubernetes NodePort service'));
    }
  }
  const toService: Match = { kind: 'dest-set', set, negated: true };
  rules.push(rule([toService], jump(CHAIN.setEndpointMark), 'To kubernetes service'));
  return { name: CHAIN.forwardCheck, rules };
}

function forwardEndpointMarkChain(ctx: RenderContext): Chain {
  const { nonCaliEndpoint, endpoint, accept } = ctx.marks;
  const fromEndpoint: Match = { kind: 'mark-value', value: nonCaliEndpoint, mask: endpoint, negated: true };
  const rules = [
    rule([fromEndpoint], jump(CHAIN.fromEndpointMark)),
    ...workloadInterfaces(ctx, 'out-interface').map((match) => rule([match], jump(CHAIN.toWorkloadDispatch))),
    rule([], jump(CHAIN.toHostEndpointForward)),
    rule([], clearMark(endpoint)),
    rule([markSet(accept)], ctx.filterAllow, POLICY_ACCEPTED),
  ];
  return { name: CHAIN.forwardEndpointMark, rules };
}
