// The wanted state must depend on what was said last about each thing, not on the order (as far as the protocol leaves
// it open) or the batching in which it was said.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LiveMigrationState } from '../../../src/managers/endpoint-routes.js';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { ManagedNode } from '../../fakes/managed-node.js';
import {
  bgpConfig,
  host,
  hostMetadata,
  hostMetadataRemove,
  hostRemove,
  ipSet,
  ipSetRemove,
  policy,
  policyRemove,
  pool,
  poolRemove,
  profile,
  profileRemove,
  tier,
  workload,
  workloadId,
  workloadRemove,
} from '../../fakes/messages.js';

/** Key → content; a missing key is absent from the world. */
type Things<Content> = Readonly<Record<string, Content>>;

interface Pod {
  readonly interfaceName: string;
  readonly isActive: boolean;
  readonly address: number;
  readonly policies: readonly string[];
  readonly profiles: readonly string[];
  readonly feature: 'none' | 'spoof' | 'other-spoof' | 'peer' | 'bandwidth' | 'dscp' | 'nat' | 'bad-address';
  readonly migration: LiveMigrationState;
}

interface Hep {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly normal: readonly string[];
  readonly preDnat: readonly string[];
  readonly untracked: readonly string[];
  readonly forward: readonly string[];
}

interface Interface {
  readonly isUp: boolean;
  readonly addresses: readonly string[];
}

/** Everything that the stream and the monitor can say, at one moment. */
interface World {
  readonly sets: Things<readonly string[]>;
  readonly policies: Things<{ readonly selector: string; readonly action: string; readonly isNeeded: boolean }>;
  readonly profiles: Things<{ readonly action: string }>;
  readonly pods: Things<Pod>;
  readonly heps: Things<Hep>;
  readonly pools: Things<{ readonly cidr: string; readonly masquerade: boolean }>;
  readonly nodes: Things<{ readonly v4: string; readonly v6: string }>;
  readonly interfaces: Things<Interface>;
  readonly peerAddress: string;
}

const POLICIES = ['gnp/a', 'gnp/b', 'gnp/c', 'np/ns/d', 'sgnp/s'];
const PROFILES = ['open', 'closed'];
const ADDRESSES = ['192.168.0.1', '192.168.0.2', 'fd00::1'];

function things<Content>(keys: readonly string[], content: fc.Arbitrary<Content>): fc.Arbitrary<Things<Content>> {
  return fc.dictionary(fc.constantFrom(...keys), content, { noNullPrototype: true });
}

const some = (keys: readonly string[]) => fc.subarray([...keys]);
const order = (keys: readonly string[]) => fc.shuffledSubarray([...keys], { maxLength: 3 });

const arbitraryPod: fc.Arbitrary<Pod> = fc.record({
  interfaceName: fc.constantFrom('cali0', 'cali1', 'cali2', 'bad name'),
  isActive: fc.boolean(),
  address: fc.integer({ min: 1, max: 4 }),
  policies: order(POLICIES),
  profiles: some(PROFILES),
  feature: fc.constantFrom('none', 'spoof', 'other-spoof', 'peer', 'bandwidth', 'dscp', 'nat', 'bad-address'),
  migration: fc.constantFrom('base', 'base', 'target', 'live', 'time-wait'),
});

const arbitraryHep: fc.Arbitrary<Hep> = fc.record({
  name: fc.constantFrom('', '*', 'eth0', 'eth1'),
  addresses: some(ADDRESSES),
  normal: order(POLICIES),
  preDnat: order(POLICIES),
  untracked: order(POLICIES),
  forward: order(POLICIES),
});

const arbitraryWorld: fc.Arbitrary<World> = fc
  .record({
    sets: things(['s:1', 's:2'], some(['10.0.0.0/8', '10.1.0.1', 'fd00::/64'])),
    policies: things(
      POLICIES,
      fc.record({
        selector: fc.constantFrom('x', 'y'),
        action: fc.constantFrom('allow', 'deny', 'bad'),
        isNeeded: fc.boolean(),
      }),
    ),
    profiles: things(PROFILES, fc.record({ action: fc.constantFrom('allow', 'deny') })),
    pods: things(['p0', 'p1', 'p2', 'p3'], arbitraryPod),
    heps: things(['h0', 'h1', 'h2'], arbitraryHep),
    pools: things(
      ['pool0', 'pool1'],
      fc.record({ cidr: fc.constantFrom('10.65.0.0/16', 'fd00:65::/64'), masquerade: fc.boolean() }),
    ),
    nodes: things(
      ['n0', 'n1'],
      fc.record({ v4: fc.constantFrom('', '10.0.0.1', '10.0.0.2/24'), v6: fc.constantFrom('', 'fd00::2') }),
    ),
    interfaces: things(
      ['cali0', 'cali1', 'cali2', 'eth0', 'eth1'],
      fc.record({ isUp: fc.boolean(), addresses: some(ADDRESSES) }),
    ),
    peerAddress: fc.constantFrom('', '169.254.9.9', '169.254.9.8'),
  })
  // The monitor always lists lo.
  .map((world) => ({ ...world, interfaces: { ...world.interfaces, lo: { isUp: true, addresses: ['127.0.0.1'] } } }));

const FIELDS = ['sets', 'policies', 'profiles', 'pods', 'heps', 'pools', 'nodes', 'interfaces', 'peerAddress'] as const;

/** Worlds of which each keeps most of the one before, so that one thing changes while others that use it do not. */
const arbitraryWorlds: fc.Arbitrary<World[]> = fc
  .array(fc.record({ world: arbitraryWorld, changes: fc.subarray([...FIELDS]) }), { minLength: 1, maxLength: 5 })
  .map((entries) => {
    const worlds: World[] = [];
    for (const { world, changes } of entries) {
      const before = worlds.at(-1);
      const changed = Object.fromEntries(changes.map((field) => [field, world[field]]));
      worlds.push(withLegalReferences(before === undefined ? world : { ...before, ...changed }));
    }
    return worlds;
  });

/** Endpoints refer only to what is active: anything else is not legal. */
function withLegalReferences(world: World): World {
  const known = (ids: readonly string[]) => ids.filter((id) => id in world.policies);
  const pods = Object.entries(world.pods).map(([key, pod]): [string, Pod] => [
    key,
    { ...pod, policies: known(pod.policies), profiles: pod.profiles.filter((name) => name in world.profiles) },
  ]);
  const heps = Object.entries(world.heps).map(([key, hep]): [string, Hep] => [
    key,
    {
      ...hep,
      normal: known(hep.normal),
      preDnat: known(hep.preDnat),
      untracked: known(hep.untracked),
      forward: known(hep.forward),
    },
  ]);
  return { ...world, pods: Object.fromEntries(pods), heps: Object.fromEntries(heps) };
}

function podMessage(key: string, pod: Pod): DataplaneMessage {
  const address = `10.65.0.${pod.address}`;
  const features = {
    none: {},
    spoof: { allowSpoofedSourcePrefixes: ['8.8.8.0/24'] },
    'other-spoof': { allowSpoofedSourcePrefixes: ['9.9.9.0/24', 'fd00:9::/64'] },
    peer: { localBgpPeer: { bgpPeerName: 'peer' } },
    bandwidth: { qosControls: { IngressBandwidth: 1000n } },
    dscp: { qosPolicies: [{ dscp: pod.address }] },
    nat: { ipv4Nat: [{ extIp: `1.1.1.${pod.address}`, intIp: address }] },
    'bad-address': { ipv4Nets: ['nonsense'] },
  };
  return workload(key, pod.interfaceName, {
    state: pod.isActive ? 'active' : 'inactive',
    ipv4Nets: [`${address}/32`],
    ipv6Nets: [`fd00:65::${pod.address}/128`],
    tiers: pod.policies.length > 0 ? [tier(pod.policies)] : [],
    profileIds: [...pod.profiles],
    ...features[pod.feature],
  });
}

function hepMessage(key: string, hep: Hep): DataplaneMessage {
  const tiers = (policies: readonly string[]) => (policies.length > 0 ? [tier(policies)] : []);
  return host(key, {
    name: hep.name,
    expectedIpv4Addrs: hep.addresses.filter((address) => address.includes('.')),
    expectedIpv6Addrs: hep.addresses.filter((address) => address.includes(':')),
    tiers: tiers(hep.normal),
    preDnatTiers: tiers(hep.preDnat),
    untrackedTiers: tiers(hep.untracked),
    forwardTiers: tiers(hep.forward),
  });
}

type Step = (node: ManagedNode) => void;

const send =
  (message: DataplaneMessage): Step =>
  (node) =>
    void node.send(message);

/** One step for each thing that is new or other, one for each that is gone. */
function difference<Content>(
  from: Things<Content>,
  to: Things<Content>,
  update: (key: string, content: Content) => Step,
  remove: (key: string) => Step,
): { updates: Step[]; removes: Step[] } {
  const isOther = (key: string): boolean => JSON.stringify(from[key]) !== JSON.stringify(to[key]);
  return {
    updates: Object.entries(to)
      .filter(([key]) => isOther(key))
      .map(([key, content]) => update(key, content)),
    removes: Object.keys(from)
      .filter((key) => !(key in to))
      .map(remove),
  };
}

function podSteps(key: string, pod: Pod): Step {
  return (node) => {
    node.send(podMessage(key, pod));
    for (const manager of node.endpointManagers) manager.setLiveMigrationState(workloadId(key), pod.migration);
  };
}

function interfaceStep(name: string, { isUp, addresses }: Interface): Step {
  return (node) => void node.setInterface(name, isUp ? 'up' : 'down', addresses);
}

/** The steps from one world to the next: groups in the order that the protocol guarantees, and what has no order. */
function stepsBetween(from: World, to: World): { ordered: Step[][]; free: Step[] } {
  const sets = difference(
    from.sets,
    to.sets,
    (id, members) => send(ipSet(id, members)),
    (id) => send(ipSetRemove(id)),
  );
  const policies = difference(
    from.policies,
    to.policies,
    (id, { selector, action, isNeeded }) =>
      send(
        policy(id, {
          originalSelector: selector,
          inboundRules: [{ action }],
          perfHints: isNeeded ? ['AssumeNeededOnEveryNode'] : [],
        }),
      ),
    (id) => send(policyRemove(id)),
  );
  const profiles = difference(
    from.profiles,
    to.profiles,
    (name, { action }) => send(profile(name, { inboundRules: [{ action }] })),
    (name) => send(profileRemove(name)),
  );
  const pods = difference(from.pods, to.pods, podSteps, (key) => send(workloadRemove(key)));
  const heps = difference(
    from.heps,
    to.heps,
    (key, hep) => send(hepMessage(key, hep)),
    (key) => send(hostRemove(key)),
  );
  const nodes = difference(
    from.nodes,
    to.nodes,
    (name, { v4, v6 }) => send(hostMetadata(name, v4, v6)),
    (name) => send(hostMetadataRemove(name)),
  );
  const pools = difference(
    from.pools,
    to.pools,
    (id, fields) => send(pool(id, fields)),
    (id) => send(poolRemove(id)),
  );
  const interfaces = difference(
    from.interfaces,
    to.interfaces,
    interfaceStep,
    (name) => (node) => void node.setInterface(name, 'absent', null),
  );
  const bgp =
    from.peerAddress === to.peerAddress ? [] : [send(bgpConfig({ localWorkloadPeeringIpV4: to.peerAddress }))];
  return {
    ordered: [
      sets.updates,
      policies.updates,
      profiles.updates,
      [...pods.updates, ...heps.updates],
      [...pods.removes, ...heps.removes],
      profiles.removes,
      policies.removes,
      sets.removes,
      nodes.removes,
      nodes.updates,
      pools.removes,
      pools.updates,
      bgp,
    ],
    free: [...interfaces.updates, ...interfaces.removes],
  };
}

const EMPTY: World = {
  sets: {},
  policies: {},
  profiles: {},
  pods: {},
  heps: {},
  pools: {},
  nodes: {},
  interfaces: {},
  peerAddress: '',
};

/** Numbers from 0 to 1 that a failing case can be replayed with. */
type Dice = () => number;

function dice(numbers: readonly number[]): Dice {
  let next = 0;
  return () => (numbers[next++ % numbers.length] ?? 0) / 1000;
}

function shuffled<Item>(items: readonly Item[], roll: Dice): Item[] {
  const rest = [...items];
  const result: Item[] = [];
  while (rest.length > 0) result.push(...rest.splice(Math.floor(roll() * rest.length), 1));
  return result;
}

/** Plays the worlds one after the other, with orders and applies as the dice fall. */
function play(node: ManagedNode, worlds: readonly World[], roll: Dice): ManagedNode {
  let from = EMPTY;
  for (const to of worlds) {
    const { ordered, free } = stepsBetween(from, to);
    const steps = ordered.flatMap((group) => shuffled(group, roll));
    for (const step of free) steps.splice(Math.floor(roll() * (steps.length + 1)), 0, step);
    for (const step of steps) {
      step(node);
      if (roll() < 0.3) node.apply();
    }
    from = to;
  }
  return node.apply();
}

describe.each(['iptables', 'nftables'] as const)('wanted state, %s', (backend) => {
  const start = () =>
    new ManagedNode({
      environment: testEnvironment({ backend, ipipEnabled: true, defaultRpFilter: '1' }),
      config: testConfig({ floatingIPs: 'Enabled', nftablesFlowTableOffload: 'All' }),
    });

  it('is the same for every legal order and batching, and for the last world said at once', () => {
    fc.assert(
      fc.property(
        arbitraryWorlds,
        fc.array(fc.integer({ min: 0, max: 999 }), { minLength: 50, maxLength: 50 }),
        (worlds, numbers) => {
          const last = worlds.at(-1) ?? EMPTY;
          const wandering = play(start(), worlds, dice(numbers));
          const direct = play(start(), [last], dice([999]));
          expect(wandering.snapshot()).toEqual(direct.snapshot());
          for (const table of wandering.allTables()) table.programmed();
        },
      ),
      { numRuns: 100 },
    );
  });
});
