// Made-up configurations, policies and endpoints for felix-vectors.test.ts: every parameter that rules depend on, every
// match and action, in combinations that no recording has. The same numbers give the same cases for ever: the hashes
// of test/fixtures/felix-hashes.json were made by Felix's own code from these very cases, so nothing here may change.
import { create } from '@bufbuild/protobuf';
import type { DataplaneConfig, DataplaneEnvironment, ProtoPort } from '../../src/model/config.js';
import type { Chain } from '../../src/model/chain.js';
import type { Backend, Family, TableName } from '../../src/model/family.js';
import type { PolicyName } from '../../src/model/names.js';
import {
  PolicyIDSchema,
  PolicySchema,
  ProfileSchema,
  type QoSControls,
  QoSControlsSchema,
  RuleSchema,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../src/rules/create-rule-renderer.js';
import { ANY_INTERFACE, type PolicyGroup, type RuleRenderer, type TierPolicyGroups } from '../../src/rules/renderer.js';
import { testConfig, testEnvironment } from '../fakes/config.js';

/** One piece of rendering: its inputs, for Felix, and the chains that we make of them. */
export interface FelixCase {
  readonly backend: Backend;
  readonly family: Family;
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
  readonly table: TableName;
  readonly operation: string;
  /** What the operation was called with. */
  readonly input: unknown;
  readonly chains: readonly Chain[];
}

/** A linear congruential generator: the same on every machine and in every version of every library. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new Error('an empty list');
    return list[this.below(list.length)] as T;
  }

  some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  /** The fields of `values`, each with one of its values, each with the given probability. */
  fields<T>(percent: number, values: { readonly [Key in keyof T]?: readonly T[Key][] }): Partial<T> {
    const chosen: Partial<T> = {};
    for (const key of Object.keys(values) as (keyof T)[]) {
      const list = values[key];
      if (list !== undefined && this.chance(percent)) chosen[key] = this.pick(list);
    }
    return chosen;
  }
}

const both = <T>(value: T): { readonly iptables: T; readonly nftables: T } => ({ iptables: value, nftables: value });
const port = (protocol: string, number: number, net?: string): ProtoPort =>
  net === undefined ? { protocol, port: number } : { protocol, port: number, net };
const FAILSAFES = [
  [],
  [port('tcp', 0), port('udp', 65535)],
  [port('udp', 68, '10.0.0.0/8'), port('tcp', 22, 'fd00::/8'), port('tcp', 22)],
];
const nodePorts = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ first: index * 1000 + 1, last: index * 1000 + 1 + (index % 2) }));

function configuration(dice: Dice): DataplaneConfig {
  return testConfig(
    dice.fields<DataplaneConfig>(35, {
      markMask: [0xff000000, 0x00ff00f0, 0xfff, 0x80000fff, 0x7f000001, 0xffffffff].map(both),
      filterAllowAction: [both('RETURN' as const)],
      mangleAllowAction: [both('RETURN' as const)],
      filterDenyAction: [both('REJECT' as const)],
      defaultEndpointToHostAction: ['RETURN', 'ACCEPT', 'REJECT'],
      interfacePrefixes: [['tap'], ['cali', 'tap', 'veth']],
      failsafeInboundHostPorts: FAILSAFES,
      failsafeOutboundHostPorts: FAILSAFES,
      kubeNodePortRanges: [[], nodePorts(1), nodePorts(9), nodePorts(20)],
      natPortRange: [
        { first: 1, last: 1 },
        { first: 1000, last: 2000 },
      ],
      natOutgoingAddress: ['192.0.2.9'],
      natOutgoingExclusions: ['IPPoolsAndHostIPs'],
      iptablesNATOutgoingInterfaceFilter: ['eth0', 'bond0.10'],
      logPrefix: ['', 'x', '%t|%k|%n|%p', '%%n %z 100%', '%k-%t '],
      logActionRateLimit: ['10/minute', '1/second', '9999/day', '5/hour'],
      logActionRateLimitBurst: [0, 9999],
      disableConntrackInvalidCheck: [true],
      flowLogsEnabled: [true],
      serviceLoopPrevention: ['Reject', 'Disabled'],
      ipInIpTunnelAddr: ['10.1.0.1'],
      vxlanPort: [0, 1, 1024, 1025, 33279, 33280, 33281, 65535],
      ipv4VXLANTunnelAddr: ['10.1.0.2'],
      ipv6VXLANTunnelAddr: ['fd00::2'],
      allowVXLANPacketsFromWorkloads: [true],
      allowIPIPPacketsFromWorkloads: [true],
      wireguardEnabled: [true],
      wireguardEnabledV6: [true],
      wireguardHostEncryptionEnabled: [true],
      wireguardListeningPort: [0, 1],
      wireguardInterfaceName: ['wg0'],
      istioAmbientMode: [true],
      istioDSCPMark: [0, 63],
      openstack: [true],
      metadataAddr: ['10.9.9.9', '127.0.0.1'],
      metadataPort: [0, 80],
      nftablesFlowTableOffload: ['All'],
    }),
  );
}

const KINDS = [
  'NetworkPolicy',
  'GlobalNetworkPolicy',
  'KubernetesNetworkPolicy',
  'KubernetesClusterNetworkPolicy',
  'Strange',
  'StagedNetworkPolicy',
  'StagedGlobalNetworkPolicy',
  'StagedKubernetesNetworkPolicy',
];
const NETS_4 = ['0.0.0.0/0', '10.0.0.0/8', '10.1.2.3/32', '192.168.0.0/16'];
const NETS_6 = ['::/0', 'fd00::/8', 'fd00::1/128'];
const SETS = ['s:abcdefghijklmnopqrstuvwxyz012345', 's:x', 'svc:foo', 'svcnoport:bar-baz.qux', 'n:9'];
const named = (value: string) => ({ numberOrName: { case: 'name' as const, value } });
const numbered = (value: number) => ({ numberOrName: { case: 'number' as const, value } });
const WITH_PORTS = [named('tcp'), named('udp'), named('sctp'), numbered(6), numbered(17), numbered(132)];
const WITHOUT_PORTS = [named('udplite'), named('icmp'), named('icmpv6'), numbered(255), numbered(1), numbered(50)];
const ANNOTATIONS = [
  { k: 'v' },
  { 'kubernetes.io/x': 'é "quoted" \n `x`$(y)' },
  { 'ü"\n': 'z'.repeat(300) },
  { e: '😀' },
];

function policyName(dice: Dice): PolicyName {
  const name = dice.pick(['a', 'default.long-name-of-a-policy', 'x'.repeat(50), 'y'.repeat(17), 'ns.c']);
  return { kind: dice.pick(KINDS), name, namespace: dice.pick(['', 'default', 'n'.repeat(40)]) };
}

function portRanges(dice: Dice) {
  return dice.some(dice.pick([0, 1, 3, 20, 40]), () => {
    const first = dice.below(65530);
    return { first, last: first + dice.pick([0, 0, 0, 1, 5]) };
  });
}

function rule(dice: Dice) {
  const nets = () => dice.some(dice.pick([0, 0, 1, 4]), () => dice.pick([...NETS_4, ...NETS_6]));
  const sets = () => dice.some(dice.pick([0, 0, 0, 2]), () => dice.pick(SETS));
  const hasPorts = dice.chance(60);
  const ports = () => (hasPorts && dice.chance(40) ? portRanges(dice) : []);
  const protocol = hasPorts ? dice.pick(WITH_PORTS) : dice.pick([undefined, ...WITHOUT_PORTS]);
  const notProtocol = dice.pick([undefined, undefined, named('udp'), numbered(132)]);
  const type = dice.pick([0, 8, 128, 255]);
  return create(RuleSchema, {
    action: dice.pick(['', 'allow', 'deny', 'pass', 'next-tier', 'log']),
    ipVersion: dice.pick([0, 0, 0, 4, 6]),
    ...(protocol === undefined ? {} : { protocol }),
    ...(notProtocol === undefined ? {} : { notProtocol }),
    srcNet: nets(),
    dstNet: nets(),
    notSrcNet: nets(),
    notDstNet: nets(),
    srcPorts: ports(),
    dstPorts: ports(),
    notSrcPorts: ports(),
    notDstPorts: ports(),
    srcIpSetIds: sets(),
    dstIpSetIds: sets(),
    notSrcIpSetIds: sets(),
    notDstIpSetIds: sets(),
    dstIpPortSetIds: sets(),
    srcNamedPortIpSetIds: sets(),
    dstNamedPortIpSetIds: sets(),
    notSrcNamedPortIpSetIds: sets(),
    notDstNamedPortIpSetIds: sets(),
    ...(dice.chance(15) ? { icmp: { case: 'icmpType' as const, value: type } } : {}),
    ...(dice.chance(15) ? { notIcmp: { case: 'notIcmpType' as const, value: type } } : {}),
    ...(dice.chance(20) ? { metadata: { annotations: dice.pick(ANNOTATIONS) } } : {}),
    ruleId: 'not rendered',
  });
}

function group(dice: Dice, direction: 'ingress' | 'egress'): PolicyGroup {
  const policies = Array.from({ length: 1 + dice.below(dice.pick([1, 3, 12])) }, () => policyName(dice));
  return {
    direction,
    selector: dice.pick(['all()', 'a == "b"', '']),
    policies: policies.map((each) => create(PolicyIDSchema, each)),
  };
}

function tiers(dice: Dice, most: number): TierPolicyGroups[] {
  return dice.some(most, () => ({
    name: dice.pick(['default', 'security', 't'.repeat(70)]),
    defaultAction: dice.pick(['Deny', 'Pass', '', 'Bogus']),
    ingress: dice.some(3, () => group(dice, 'ingress')),
    egress: dice.some(3, () => group(dice, 'egress')),
  }));
}

type Limit = 'IngressPacketRate' | 'EgressPacketRate' | 'IngressMaxConnections' | 'EgressMaxConnections';
const INTERFACES = [
  'eth0',
  'eth1',
  'e',
  'eth',
  'eno1',
  'cali1',
  'cali12',
  'cali123',
  'calib',
  'wlan0.100',
  'a-very-long-ifc',
];

/** What one operation makes of random input. */
type Made = Pick<FelixCase, 'table' | 'operation' | 'input' | 'chains'>;
type Maker = (dice: Dice, renderer: RuleRenderer) => Made;

const makePolicy: Maker = (dice, renderer) => {
  const id = policyName(dice);
  const [inboundRules, outboundRules] = [dice.some(4, () => rule(dice)), dice.some(4, () => rule(dice))];
  const policy = create(PolicySchema, { inboundRules, outboundRules, untracked: dice.chance(20), tier: 'tt' });
  const chains = renderer.policyChains(create(PolicyIDSchema, id), policy);
  return { table: 'filter', operation: 'policy', input: { id, policy }, chains };
};

const makeProfile: Maker = (dice, renderer) => {
  const name = dice.pick(['kns.default', `kns.${'q'.repeat(50)}`, '_x']);
  const profile = create(ProfileSchema, { inboundRules: dice.some(2, () => rule(dice)), outboundRules: [rule(dice)] });
  const { inbound, outbound } = renderer.profileChains(name, profile);
  return { table: 'filter', operation: 'profile', input: { name, profile }, chains: [inbound, outbound] };
};

const makeStatic: Maker = (dice, renderer) => {
  const table = dice.pick(['filter', 'nat', 'mangle', 'raw'] as const);
  const { chains, appended } = renderer.staticTable(table);
  const forward = table === 'filter' ? [{ name: 'FORWARD*appends*', rules: appended.get('FORWARD') ?? [] }] : [];
  return { table, operation: 'static', input: table, chains: [...chains, ...forward] };
};

const makeWorkload: Maker = (dice, renderer) => {
  const controls = dice.fields<Pick<QoSControls, Limit>>(50, {
    IngressPacketRate: [1n, 10_000n],
    EgressPacketRate: [5n],
    IngressMaxConnections: [3n, 4_294_967_295n],
    EgressMaxConnections: [9n],
  });
  const input = {
    interfaceName: dice.pick(['cali1', 'cali1234567890a', '_a', '123456789012345']),
    adminUp: dice.chance(90),
    tiers: tiers(dice, 3),
    profileIds: dice.some(2, () => dice.pick(['kns.default', 'p'.repeat(40)])),
    qosControls: create(QoSControlsSchema, { IngressPacketBurst: 10_000n, EgressPacketBurst: 7n, ...controls }),
  };
  return { table: 'filter', operation: 'workload', input, chains: renderer.workloadChains(input) };
};

const makeHost: Maker = (dice, renderer) => {
  const own = tiers(dice, 3);
  const input = {
    interfaceName: dice.pick(['eth0', ANY_INTERFACE, 'bond0.4000']),
    tiers: own,
    untrackedTiers: own,
    preDnatTiers: own,
    forwardTiers: tiers(dice, 2),
    profileIds: dice.some(1, () => 'prof'),
  };
  switch (dice.below(3)) {
    case 0:
      return { table: 'filter', operation: 'host', input, chains: renderer.hostFilterChains(input) };
    case 1:
      return { table: 'mangle', operation: 'host', input, chains: renderer.hostMangleChains(input) };
    default:
      return { table: 'raw', operation: 'host', input, chains: renderer.hostRawChains(input) };
  }
};

const makeDispatch: Maker = (dice, renderer) => {
  const names = [...new Set(dice.some(8, () => dice.pick(INTERFACES)))].sort();
  const hosts = INTERFACES.filter((name) => !names.includes(name) && dice.chance(40)).sort();
  const all = dice.chance(50) ? [...hosts, ANY_INTERFACE] : hosts;
  const made = (table: TableName, operation: string, { chains }: { readonly chains: readonly Chain[] }): Made => ({
    table,
    operation,
    input: { names, hosts: operation === 'host-raw-dispatch' ? hosts : all },
    chains,
  });
  switch (dice.below(5)) {
    case 0:
      return made('filter', 'workload-dispatch', renderer.workloadDispatch(names));
    case 1:
      return made('filter', 'host-filter-dispatch', renderer.hostFilterDispatch(all));
    case 2:
      return made('mangle', 'host-mangle-dispatch', renderer.hostMangleDispatch(all, all));
    case 3:
      return made('raw', 'host-raw-dispatch', renderer.hostRawDispatch(hosts));
    default:
      return made('filter', 'mark-dispatch', renderer.endpointMarkDispatch(names, hosts));
  }
};

const makeSmall: Maker = (dice, renderer) => {
  const { family } = renderer.options;
  const pairs = { '1.1.1.1': '2.2.2.2', '1.1.1.10': '2.2.2.3', '1.1.1.2': '3.3.3.3' };
  switch (dice.below(4)) {
    case 0: {
      const own = group(dice, dice.pick(['ingress', 'egress']));
      return { table: 'filter', operation: 'group', input: own, chains: [renderer.groupChain(own)] };
    }
    case 1: {
      const active = dice.chance(80);
      return { table: 'nat', operation: 'nat-outgoing', input: active, chains: [renderer.natOutgoingChain(active)] };
    }
    case 2: {
      const map = new Map(Object.entries(pairs));
      return { table: 'nat', operation: 'floating-ips', input: pairs, chains: renderer.floatingIpChains(map, map) };
    }
    default: {
      const cidrs = dice.some(5, () => dice.pick(family === 4 ? NETS_4 : NETS_6));
      return { table: 'filter', operation: 'cidr-block', input: cidrs, chains: [renderer.cidrBlockChain(cidrs)] };
    }
  }
};

const MAKERS = [makePolicy, makePolicy, makePolicy, makeProfile, makeStatic, makeStatic, makeWorkload, makeWorkload];
MAKERS.push(makeHost, makeHost, makeDispatch, makeSmall);

/** The cases, in an order that never changes. */
export function felixCases(count: number): FelixCase[] {
  const dice = new Dice(20_261_127);
  return Array.from({ length: count }, () => {
    const backend = dice.pick(['iptables', 'nftables'] as const);
    const family = dice.pick([4, 6] as const);
    const config = configuration(dice);
    const [ipvs, ipipEnabled, vxlanEnabled, vxlanEnabledV6] = [1, 2, 3, 4].map(() => dice.chance(40));
    const flags = { ipvs: ipvs === true, ipipEnabled: ipipEnabled === true, vxlanEnabled: vxlanEnabled === true };
    const environment = testEnvironment({ backend, ...flags, vxlanEnabledV6: vxlanEnabledV6 === true });
    const renderer = createRuleRenderer({ family, backend, config, environment });
    return { backend, family, config, environment, ...dice.pick(MAKERS)(dice, renderer) };
  });
}
