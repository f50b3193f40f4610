// Random but valid Calico resources for one node, from a seed: pods, policies of every kind in several tiers, sets,
// host endpoints, profiles, pools and other nodes, and the interfaces that they name.
import type { Resource } from './resources.js';
import { stored } from './resources.js';

/** A seeded source of choices. */
export class Dice {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer from 0 to `below - 1`. */
  integer(below: number): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % below;
  }

  chance(percent: number): boolean {
    return this.integer(100) < percent;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)] as T;
  }

  /** Up to `most` different items, at least one. */
  some<T>(items: readonly T[], most: number): T[] {
    const chosen = new Set<T>();
    for (let count = 1 + this.integer(most); count > 0; count -= 1) chosen.add(this.pick(items));
    return [...chosen];
  }

  maybe<T>(percent: number, value: () => T): T | undefined {
    return this.chance(percent) ? value() : undefined;
  }
}

/** Pods of this node; those with higher numbers are on others. */
export const PODS = 8;
type Fields = Record<string, unknown>;

/** Interfaces of the node: two of the host, one for each pod. */
export const HOST_SCRIPT = [
  'sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0',
  ...['eth0 01 192.168.0.1/24 fd00:10::1/64', 'eth1 51 172.30.0.1/24 fd00:30::1/64'].flatMap((text) => {
    const [name = '', mac = '', v4 = '', v6 = ''] = text.split(' ');
    return [
      `ip link add ${name} address 02:00:00:00:00:${mac} type veth peer name x${name} address 02:00:00:00:01:${mac}`,
      `ip addr add ${v4} dev ${name}`,
      `ip -6 addr add ${v6} dev ${name} nodad`,
      `ip link set ${name} up`,
      `ip link set x${name} up`,
    ];
  }),
  ...Array.from({ length: PODS }, (_, index) => {
    const mac = (index + 2).toString(16).padStart(2, '0');
    return `ip link add cali${index} address 02:00:00:00:00:${mac} type veth peer name p${index} address 02:00:00:00:01:${mac}
ip link set cali${index} up
ip link set p${index} up`;
  }),
].join('\n');

/** Leaves out what is undefined, as JSON does. */
function clean<T extends Fields>(fields: T): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

const LABELS: Readonly<Record<string, readonly string[]>> = {
  app: ['a', 'b', 'c'],
  role: ['client', 'server', 'db'],
  zone: ['1', '2'],
};

function labels(dice: Dice): Record<string, string> {
  const entries = Object.entries(LABELS).filter(() => dice.chance(60));
  return Object.fromEntries(entries.map(([key, values]) => [key, dice.pick(values)]));
}

function selector(dice: Dice, depth = 2): string {
  const key = dice.pick(Object.keys(LABELS));
  const value = dice.pick(LABELS[key] ?? []);
  const simple = [
    () => 'all()',
    () => `${key} == '${value}'`,
    () => `${key} != '${value}'`,
    () => `has(${key})`,
    () => `!has(${key})`,
    () => `${key} in {'${value}', 'x'}`,
    () => `${key} not in {'${value}'}`,
    () => `${key} starts with '${value.slice(0, 1)}'`,
    () => `${key} contains '${value.slice(0, 2)}'`,
    () => `${key} ends with '${value.slice(-1)}'`,
  ];
  if (depth > 0 && dice.chance(30))
    return `(${selector(dice, depth - 1)}) ${dice.pick(['&&', '||'])} (${selector(dice, depth - 1)})`;
  return dice.pick(simple)();
}

const V4 = [
  '10.0.0.0/8',
  '10.65.0.0/24',
  '172.16.0.0/12',
  '192.168.0.7/32',
  '203.0.113.0/25',
  '0.0.0.0/0',
  '10.65.0.3/32',
];
const V6 = ['fd00:65::/64', 'fd00:65::3/128', '2001:db8::/32', '::/0', 'fd00:10::/64'];
const PORTS: readonly (number | string)[] = [22, 53, 80, 443, '8000:8100', '1:1023', 65535, 'http', 'dns', 'none'];
const MANY_PORTS = Array.from({ length: 19 }, (_, index) => 2 * index + 1);

function nets(dice: Dice, version: number): string[] {
  return dice.some(version === 4 ? V4 : V6, 3);
}

/** Felix refuses a rule that excludes every address. */
function notNets(dice: Dice, version: number): string[] {
  return dice.some(version === 4 ? V4.slice(0, 5) : V6.slice(0, 3), 3);
}

/** One side of a rule. At most one positive block of a kind, so that a rule has two at most (docs/differences.md row 1). */
function entity(dice: Dice, version: number, withPorts: boolean): Fields {
  return clean({
    selector: dice.maybe(30, () => selector(dice)),
    notSelector: dice.maybe(12, () => selector(dice, 0)),
    namespaceSelector: dice.maybe(8, () => dice.pick(['all()', 'global()', "team == 'x'", 'has(team)'])),
    nets: dice.maybe(version === 0 ? 0 : 30, () => (dice.chance(50) ? [nets(dice, version)[0]] : nets(dice, version))),
    notNets: dice.maybe(version === 0 ? 0 : 15, () => notNets(dice, version)),
    ports: withPorts ? dice.maybe(30, () => (dice.chance(15) ? MANY_PORTS : dice.some(PORTS, 4))) : undefined,
    notPorts: withPorts ? dice.maybe(15, () => (dice.chance(15) ? MANY_PORTS : dice.some(PORTS, 3))) : undefined,
    serviceAccounts: dice.maybe(4, () => ({ names: ['sa'] })),
  });
}

function positiveBlocks(entities: readonly Fields[]): number {
  const count = entities.reduce((sum, each) => {
    const many = (field: string): boolean => Array.isArray(each[field]) && each[field].length > 1;
    return sum + (many('nets') ? 1 : 0) + (many('ports') ? 1 : 0);
  }, 0);
  return count;
}

interface RuleOptions {
  readonly actions: readonly string[];
}

function rule(dice: Dice, options: RuleOptions): Fields {
  const version = dice.pick([0, 0, 4, 4, 6]);
  const protocol = dice.pick(['TCP', 'TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv6', 47, 'UDPLite', undefined, undefined]);
  const withPorts = ['TCP', 'UDP', 'SCTP'].includes(String(protocol));
  const ipVersion =
    protocol === 'ICMP'
      ? dice.pick([undefined, 4])
      : protocol === 'ICMPv6'
        ? dice.pick([undefined, 6])
        : dice.maybe(15, () => (version === 0 ? dice.pick([4, 6]) : version));
  const family = protocol === 'ICMP' ? 4 : protocol === 'ICMPv6' ? 6 : version;
  let source = entity(dice, family, withPorts);
  let destination = entity(dice, family, withPorts);
  while (positiveBlocks([source, destination]) > 2) {
    source = entity(dice, family, withPorts);
    destination = entity(dice, family, false);
  }
  return clean({
    action: dice.pick(options.actions),
    protocol,
    ipVersion,
    notProtocol: protocol === undefined ? dice.maybe(20, () => dice.pick(['TCP', 'UDP', 47])) : undefined,
    icmp: String(protocol).startsWith('ICMP') ? dice.maybe(40, () => ({ type: dice.pick([0, 3, 8, 128]) })) : undefined,
    notICMP: String(protocol).startsWith('ICMP')
      ? dice.maybe(15, () => ({ type: dice.pick([0, 3, 8, 128]) }))
      : undefined,
    source,
    destination,
    metadata: dice.maybe(8, () => ({ annotations: { reason: dice.pick(['because', 'why not: 1', 'x y']) } })),
  });
}

function rules(dice: Dice, options: RuleOptions): Fields[] {
  return Array.from({ length: dice.integer(5) }, () => rule(dice, options));
}

const TIERS = ['default', 'sec', 'net', 'kube-admin', 'kube-baseline'];

function policy(dice: Dice, number: number): Resource {
  const kind = dice.pick([
    'GlobalNetworkPolicy',
    'GlobalNetworkPolicy',
    'NetworkPolicy',
    'NetworkPolicy',
    'StagedNetworkPolicy',
    'StagedGlobalNetworkPolicy',
  ]);
  const isGlobal = kind.includes('Global');
  const hostKind = isGlobal && dice.chance(35) ? dice.pick(['preDNAT', 'doNotTrack', 'applyOnForward']) : '';
  const types = hostKind === 'preDNAT' ? ['Ingress'] : dice.pick([['Ingress'], ['Egress'], ['Ingress', 'Egress']]);
  const actions = hostKind === 'doNotTrack' ? ['Allow', 'Deny', 'Pass'] : ['Allow', 'Allow', 'Deny', 'Pass', 'Log'];
  return stored({
    kind,
    metadata: { name: `p${number}`, ...(isGlobal ? {} : { namespace: dice.pick(['default', 'other']) }) },
    spec: clean({
      tier: hostKind === 'doNotTrack' || hostKind === 'preDNAT' ? 'default' : dice.pick(TIERS),
      order: dice.maybe(80, () => dice.pick([1, 10, 10, 20.5, 100])),
      selector: selector(dice),
      namespaceSelector: isGlobal ? dice.maybe(10, () => dice.pick(['all()', "team == 'x'"])) : undefined,
      serviceAccountSelector: dice.maybe(6, () => 'all()'),
      types,
      ingress: types.includes('Ingress') ? rules(dice, { actions }) : undefined,
      egress: types.includes('Egress') ? rules(dice, { actions }) : undefined,
      ...(hostKind === '' ? {} : { applyOnForward: true, [hostKind]: true }),
      performanceHints: dice.maybe(0, () => ['AssumeNeededOnEveryNode']),
    }),
  });
}

function pod(dice: Dice, number: number): Resource {
  const isRemote = number >= PODS;
  const node = isRemote ? dice.pick(['node2', 'node3']) : 'node1';
  const name = `pod${number}`;
  const v4 = `10.65.${isRemote ? 1 + (number % 3) : 0}.${number + 2}/32`;
  const v6 = `fd00:65::${(number + 2).toString(16)}/128`;
  const ipNetworks = dice.pick([[v4], [v4, v6], [v6], [v4, v6]]);
  return stored({
    kind: 'WorkloadEndpoint',
    metadata: {
      name: `${node}-k8s-${name}-eth0`,
      namespace: number % 2 === 0 ? 'default' : 'other',
      labels: labels(dice),
    },
    spec: clean({
      node,
      orchestrator: 'k8s',
      pod: name,
      endpoint: 'eth0',
      interfaceName: `cali${number}`,
      mac: `ee:ee:ee:ee:ee:${(number + 1).toString(16).padStart(2, '0')}`,
      profiles: dice.pick([['open'], ['open', 'kns.default'], ['closed'], [], ['missing', 'open']]),
      ipNetworks,
      ports: dice.maybe(60, () => [
        { name: 'http', port: dice.pick([80, 8080]), protocol: 'TCP' },
        { name: 'dns', port: 53, protocol: dice.pick(['UDP', 'SCTP']) },
      ]),
      ipNATs: ipNetworks.includes(v4)
        ? dice.maybe(20, () => [{ internalIP: v4.split('/')[0], externalIP: `172.17.1.${number}` }])
        : undefined,
      qosControls: isRemote
        ? undefined
        : dice.maybe(15, () =>
            dice.pick([
              { ingressPacketRate: 1000, ingressPacketBurst: 5, egressPacketRate: 500, egressPacketBurst: 7 },
              { ingressMaxConnections: 10, egressMaxConnections: 20 },
              { ingressPacketRate: 1000, ingressPacketBurst: 20, egressMaxConnections: 5 },
              { ingressBandwidth: 1000000, egressBandwidth: 2000000, ingressBurst: 4000000, egressBurst: 4000000 },
            ]),
          ),
    }),
  });
}

function hostEndpoint(dice: Dice, number: number): Resource {
  const where = [
    { interfaceName: 'eth0' },
    { interfaceName: 'eth1', expectedIPs: ['172.30.0.1'] },
    { expectedIPs: ['172.30.0.1', 'fd00:30::1'] },
    { interfaceName: '*' },
  ][number % 4];
  return stored({
    kind: 'HostEndpoint',
    metadata: { name: `h${number}`, labels: labels(dice) },
    spec: clean({
      node: 'node1',
      ...where,
      profiles: dice.maybe(50, () => ['open']),
      ports: dice.maybe(30, () => [{ name: 'http', port: 80, protocol: 'TCP' }]),
    }),
  });
}

function networkSet(dice: Dice, number: number): Resource {
  const isGlobal = dice.chance(60);
  const count = dice.pick([0, 1, 5, 30]);
  return stored({
    kind: isGlobal ? 'GlobalNetworkSet' : 'NetworkSet',
    metadata: { name: `set${number}`, ...(isGlobal ? {} : { namespace: 'default' }), labels: labels(dice) },
    spec: {
      nets: Array.from({ length: count }, () =>
        dice.pick([
          () => `198.51.${dice.integer(20)}.0/24`,
          () => `203.0.113.${dice.integer(250)}`,
          () => `2001:db8:${dice.integer(99)}::/48`,
          () => `198.51.${dice.integer(20)}.${dice.integer(8) * 32}/27`,
          () => '0.0.0.0/0',
        ])(),
      ),
    },
  });
}

function pool(dice: Dice, number: number, encapsulation: string): Resource {
  const cidr = ['10.65.0.0/16', 'fd00:65::/48', '10.66.0.0/16', '10.67.0.0/20', 'fd00:66::/64'][number % 5] ?? '';
  const modes = cidr.includes(':')
    ? {}
    : encapsulation === 'vxlan'
      ? { vxlanMode: dice.pick(['Always', 'CrossSubnet']) }
      : {};
  return stored({
    kind: 'IPPool',
    metadata: { name: `pool${number}` },
    spec: { cidr, natOutgoing: dice.chance(60), disabled: dice.chance(15), ...modes },
  });
}

function node(number: number): Resource {
  return stored({
    kind: 'Node',
    metadata: { name: `node${number}` },
    spec: {
      bgp: { ipv4Address: `192.168.0.${number}/24`, ipv6Address: `fd00:10::${number}/64` },
      ipv4VXLANTunnelAddr: `10.65.${number}.1`,
      vxlanTunnelMACAddr: `66:00:00:00:00:0${number}`,
    },
  });
}

function profile(dice: Dice, name: string): Resource {
  const options = { actions: ['Allow', 'Deny', 'Log'] };
  return stored({
    kind: 'Profile',
    metadata: { name },
    spec: {
      ingress: name === 'open' ? [{ action: 'Allow' }] : rules(dice, options),
      egress: name === 'open' ? [{ action: 'Allow' }] : rules(dice, options),
      labelsToApply: name.startsWith('kns.') ? { [`pcns.team`]: dice.pick(['x', 'y']) } : { profile: name },
    },
  });
}

/** What a run does to the datastore in one step. */
export interface Change {
  readonly apply: readonly Resource[];
  readonly remove: readonly Resource[];
}

/** Makes steps that depend on the seed alone. */
export class RandomCluster {
  readonly #dice: Dice;
  readonly #encapsulation: string;
  readonly #here = new Map<string, Resource>();

  constructor(dice: Dice) {
    this.#dice = dice;
    this.#encapsulation = dice.pick(['none', 'none', 'vxlan']);
  }

  get resources(): readonly Resource[] {
    return [...this.#here.values()];
  }

  /** What is there before Felix starts. */
  first(): Change {
    const dice = this.#dice;
    const tiers = ['sec', 'net'].map((name, index) =>
      stored({
        kind: 'Tier',
        metadata: { name },
        spec: { order: 100 * (index + 1), defaultAction: dice.pick(['Deny', 'Pass']) },
      }),
    );
    const profiles = ['open', 'closed', 'kns.default'].map((name) => profile(dice, name));
    return this.#taken(
      [...[1, 2, 3].map(node), ...profiles, ...tiers, pool(dice, 0, this.#encapsulation), pool(dice, 1, '')],
      [],
    );
  }

  /** The next step. */
  next(): Change {
    const dice = this.#dice;
    const apply: Resource[] = [];
    const remove: Resource[] = [];
    for (let count = 25; count > 0; count -= 1) {
      const made = dice.pick([
        () => policy(dice, dice.integer(20)),
        () => policy(dice, dice.integer(20)),
        () => policy(dice, dice.integer(20)),
        () => pod(dice, dice.integer(PODS + 6)),
        () => pod(dice, dice.integer(PODS + 6)),
        () => pod(dice, dice.integer(PODS + 6)),
        () => hostEndpoint(dice, dice.integer(4)),
        () => networkSet(dice, dice.integer(6)),
        () => networkSet(dice, dice.integer(6)),
        () => pool(dice, dice.integer(5), this.#encapsulation),
        () => profile(dice, dice.pick(['closed', 'kns.default'])),
      ])();
      // A pod that moves between nodes has two names: the old one goes.
      const rivals = this.resources.filter((old) => samePlace(old, made));
      remove.push(...rivals);
      apply.push(made);
      if (dice.chance(15)) {
        const victims = this.resources.filter(({ kind }) => !['Node', 'Tier', 'Profile'].includes(kind));
        if (victims.length > 0) remove.push(dice.pick(victims));
      }
    }
    const last = new Map(apply.map((resource) => [identity(resource), resource]));
    const gone = new Map(
      remove.filter((resource) => !last.has(identity(resource))).map((each) => [identity(each), each]),
    );
    const unique = [...last.values()].filter(
      (resource, index, all) => !all.slice(index + 1).some((later) => samePlace(resource, later)),
    );
    return this.#taken(unique, [...gone.values()]);
  }

  #taken(apply: readonly Resource[], remove: readonly Resource[]): Change {
    for (const resource of remove) this.#here.delete(identity(resource));
    for (const resource of apply) this.#here.set(identity(resource), resource);
    return { apply, remove };
  }
}

function identity({ kind, metadata }: Resource): string {
  return `${kind} ${metadata.namespace ?? ''}/${metadata.name}`;
}

/** Two resources of different names that stand for the same thing: a pod on two nodes, a policy number of two kinds. */
function samePlace(one: Resource, other: Resource): boolean {
  if (identity(one) === identity(other)) return false;
  if (one.kind === 'WorkloadEndpoint' && other.kind === one.kind) return one.spec?.['pod'] === other.spec?.['pod'];
  return false;
}

/** Felix parameters that a run changes. The failsafes always let Felix reach its etcd. */
export function randomParameters(dice: Dice): Record<string, string> {
  const choices: readonly (readonly [string, readonly string[]])[] = [
    ['IptablesMarkMask', ['0xffff0000', '0x0ff00000', '0x00ffff00']],
    ['NftablesMarkMask', ['0xffff0000', '0x0ff00000', '0x00ffff00']],
    ['IptablesFilterAllowAction', ['ACCEPT', 'RETURN']],
    ['NftablesFilterAllowAction', ['ACCEPT', 'RETURN']],
    ['IptablesMangleAllowAction', ['ACCEPT', 'RETURN']],
    ['NftablesMangleAllowAction', ['ACCEPT', 'RETURN']],
    ['DefaultEndpointToHostAction', ['DROP', 'RETURN', 'ACCEPT']],
    ['ChainInsertMode', ['insert', 'append']],
    ['FailsafeInboundHostPorts', ['tcp:2379', 'tcp:2379,tcp:192.0.2.0/24:22,udp:[fd00::/8]:68']],
    ['FailsafeOutboundHostPorts', ['tcp:2379', 'udp:53,tcp:10.0.0.0/8:443,tcp:127.0.0.0/8:2379']],
    ['NATPortRange', ['32768:65000', '1000']],
    ['NATOutgoingExclusions', ['IPPoolsOnly', 'IPPoolsAndHostIPs']],
    ['IptablesNATOutgoingInterfaceFilter', ['eth0']],
    ['LogPrefix', ['felix', 'p-%t-%k-%n', '%p x']],
    ['LogActionRateLimit', ['10/minute', '3/second']],
    ['LogActionRateLimitBurst', ['0', '7']],
    ['DisableConntrackInvalidCheck', ['true']],
    ['FlowLogsLocalReporter', ['Enabled']],
    ['ServiceLoopPrevention', ['Drop', 'Reject', 'Disabled']],
    ['FloatingIPs', ['Enabled', 'Disabled']],
    ['AllowVXLANPacketsFromWorkloads', ['true']],
    ['AllowIPIPPacketsFromWorkloads', ['true']],
    ['DropActionOverride', ['LogAndDrop', 'Drop']],
    ['RouteSource', ['WorkloadIPs', 'CalicoIPAM']],
    ['ProgramClusterRoutes', ['Enabled', 'Disabled']],
    ['RemoveExternalRoutes', ['false']],
    ['DeviceRouteProtocol', ['3', '80']],
    ['DeviceRouteSourceAddress', ['192.168.0.1']],
    ['Ipv6Support', ['true', 'true', 'false']],
    ['MaxIpsetSize', ['1000000']],
    ['IPForwarding', ['Enabled', 'Disabled']],
    ['IstioAmbientMode', ['Enabled']],
    ['ExternalNodesCIDRList', ['192.0.2.0/24,198.51.100.7']],
    ['VXLANPort', ['4790']],
    ['VXLANVNI', ['77']],
    ['IPv4NormalRoutePriority', ['500']],
    ['FeatureDetectOverride', ['MASQFullyRandom=false', 'SNATFullyRandom=false']],
    ['KubeNodePortRanges', ['30000:30100,31000:31001']],
    ['InterfacePrefix', ['cali', 'cali,tap']],
    ['LocalSubnetL2Reachability', ['PodsAndLoadBalancers']],
  ];
  const chosen = choices.filter(() => dice.chance(30));
  return Object.fromEntries(chosen.map(([name, values]) => [name, dice.pick(values)]));
}
