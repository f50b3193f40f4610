// Messages whose values no kernel takes, or that try to be more than values: the driver lives on, writes nothing foreign,
// puts the endpoint that needs them in error, and the endpoint beside it stays as it is.
import { existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DataplaneMessage } from '../../src/managers/manager.js';
import {
  type RuleSchema,
  RouteUpdateSchema,
  VXLANTunnelEndpointUpdateSchema,
  type WorkloadEndpointSchema,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';
import {
  host,
  hostMetadata,
  hostRemove,
  ipSet,
  ipSetDelta,
  ipSetRemove,
  policy,
  policyRemove,
  pool,
  poolRemove,
  tier,
  workload,
  workloadRemove,
} from '../fakes/messages.js';
import { waitFor } from './support/driver-process.js';
import type { KernelDump } from './support/dump.js';
import { FaultNode, pod, podLinks } from './support/faults.js';
import { createNamespace } from './support/namespace.js';

const CANARY = join(tmpdir(), `fdp-canary-${process.pid}`);
const BAD = 'default/bad';
const GOOD_LINK = 'cali3';

type Case = readonly [what: string, ...messages: DataplaneMessage[]];

function endpoint(what: string, fields: MessageInitShape<typeof WorkloadEndpointSchema>, name = GOOD_LINK): Case {
  return [what, workload(BAD, name, { ipv4Nets: ['10.65.0.3/32'], profileIds: ['open'], ...fields })];
}

/** A pod under a policy with this one ingress rule. */
function rule(what: string, fields: MessageInitShape<typeof RuleSchema>): Case {
  return [
    what,
    policy('np/default/bad', { inboundRules: [{ action: 'allow', ...fields }] }),
    workload(BAD, GOOD_LINK, { ipv4Nets: ['10.65.0.3/32'], tiers: [tier(['np/default/bad'])] }),
  ];
}

function set(what: string, members: readonly string[]): Case {
  const [, ...user] = rule(what, { srcIpSetIds: ['s:bad'] });
  return [what, ipSet('s:bad', members), ...user];
}

const protocol = (value: string) => ({ protocol: { numberOrName: { case: 'name' as const, value } } });
const protocolNumber = (value: number) => ({ protocol: { numberOrName: { case: 'number' as const, value } } });

function cases(rows: readonly Case[]): { readonly what: string; readonly messages: readonly DataplaneMessage[] }[] {
  return rows.map(([what, ...messages]) => ({ what, messages }));
}

/** The endpoint `default/bad` is in error. */
const ERRORS: readonly Case[] = [
  endpoint('an interface name that is a shell command', {}, `cali3;touch ${CANARY}`),
  endpoint('an interface name with a substitution', {}, `$(touch ${CANARY})`),
  endpoint('an interface name with backquotes', {}, '`reboot`'),
  endpoint('an interface name that adds an action', {}, 'c -j ACCEPT'),
  endpoint('an interface name with a line of its own', {}, 'c\n-A INPUT -j '),
  endpoint('an interface name that ends a COMMIT', {}, 'c\nCOMMIT\n'),
  endpoint('an interface name with nft syntax', {}, 'c" accept #'),
  endpoint('an interface name of 16 characters', {}, 'cali567890123456'),
  endpoint('an interface name that is a path', {}, '../all'),
  endpoint('an interface name that is a wildcard', {}, 'cali+'),
  endpoint('an empty interface name', {}, ''),
  endpoint('an IPv4 net with an octet of 300', { ipv4Nets: ['10.65.0.300/32'] }),
  endpoint('an IPv4 net of 33 bits', { ipv4Nets: ['10.65.0.9/33'] }),
  endpoint('an IPv6 net among IPv4 nets', { ipv4Nets: ['fd00::9/128'] }),
  endpoint('a net that is text', { ipv4Nets: ['nonsense'] }),
  endpoint('a net with a command', { ipv4Nets: [`10.65.0.9/32; touch ${CANARY}`] }),
  endpoint('an IPv6 net that is text', { ipv6Nets: ['fd00:::1/128'] }),
  endpoint('a policy that never came', { tiers: [tier(['np/default/never'])] }),
  endpoint('a profile that never came', { profileIds: ['never'] }),
  rule('an unknown action', { action: 'explode' }),
  rule('an action with a target', { action: 'allow -j ACCEPT' }),
  rule('a net that is text', { srcNet: ['nonsense'] }),
  rule('a net of 99 bits', { srcNet: ['10.0.0.0/99'] }),
  rule('a net with another option', { dstNet: ['10.0.0.0/8 -j ACCEPT'] }),
  rule('protocol number 0', protocolNumber(0)),
  rule('protocol number 300', protocolNumber(300)),
  rule('a protocol that is a command', protocol(`tcp;touch ${CANARY}`)),
  rule('a protocol that nobody knows', protocol('quux')),
  rule('ports without protocol', { dstPorts: [{ first: 80, last: 80 }] }),
  rule('ports of ICMP', { ...protocol('icmp'), dstPorts: [{ first: 80, last: 80 }] }),
  rule('port 70000', { ...protocol('tcp'), dstPorts: [{ first: 70000, last: 70000 }] }),
  rule('a port range upside down', { ...protocol('tcp'), dstPorts: [{ first: 90, last: 80 }] }),
  rule('ICMP type 300', { ...protocol('icmp'), icmp: { case: 'icmpType', value: 300 } }),
  rule('a set id that is a command', { srcIpSetIds: [`s:$(touch ${CANARY})`] }),
  rule('a set id with nft syntax', { srcIpSetIds: ['s:x } accept'] }),
  set('a set member that is text', ['nonsense']),
  set('a set member of 40 bits', ['10.0.0.0/40']),
  set('a set member with a second line', ['10.0.0.1/32\nadd foreign 10.0.0.2']),
];

/** The endpoint is up: its routes lead to the pod all the same, only the permanent neighbour is left out. */
const LEFT_OUT: readonly Case[] = [
  endpoint('a MAC that is text', { mac: 'not a mac' }),
  endpoint('a MAC that is short', { mac: 'ee:ee:ee' }),
  endpoint('a MAC with a command', { mac: `ee:ee:ee:ee:ee:03; touch ${CANARY}` }),
];

/** Nobody's endpoint depends on them: they are left out, and said so. */
const SKIPPED: readonly Case[] = [
  ['the end of an endpoint that nobody knows', workloadRemove('default/nobody')],
  ['the end of a host endpoint that nobody knows', hostRemove('nobody')],
  ['the end of a policy that nobody knows', policyRemove('np/default/nobody')],
  ['the end of a set that nobody knows', ipSetRemove('s:nobody')],
  ['members for a set that nobody knows', ipSetDelta('s:nobody', ['10.0.0.1/32'])],
  ['a pool that is text', pool('bad', { cidr: 'nonsense', masquerade: true }), poolRemove('bad')],
  ['a pool with a command', pool('bad', { cidr: `10.0.0.0/8; touch ${CANARY}`, masquerade: true }), poolRemove('bad')],
  ['a node address that is text', hostMetadata('other', 'nonsense', 'nonsense')],
  ['a host endpoint with a bad name', host('bad', { name: 'eth0;reboot' }), hostRemove('bad')],
  ['a host endpoint with bad addresses', host('bad', { expectedIpv4Addrs: ['nonsense'] }), hostRemove('bad')],
  ['a route that is text', { case: 'routeUpdate', value: create(RouteUpdateSchema, { dst: 'nonsense' }) }],
  [
    'a tunnel end with a MAC that is text',
    { case: 'vtepUpdate', value: create(VXLANTunnelEndpointUpdateSchema, { node: 'other', mac: 'x', ipv4Addr: 'y' }) },
  ],
];

describe.each(['iptables-legacy', 'iptables-nft', 'nftables'] as const)('in %s', (mode) => {
  let node: FaultNode;
  let before: KernelDump;

  beforeAll(async () => {
    rmSync(CANARY, { force: true });
    const namespace = await createNamespace('input');
    await namespace.shell(podLinks(3));
    // A set that stayed in use for longer than its five tries is destroyed after the next resync.
    node = new FaultNode(namespace, { mode, parameters: { IpsetsRefreshInterval: '3' } });
    before = await node.settled();
  });

  afterAll(() => node.remove());

  /** The good pod's status and the driver's life, and that nothing ran or was written that should not. */
  async function expectUnharmed(): Promise<void> {
    expect(node.driver.isRunning, node.problems()).toBe(true);
    expect(node.podStatus(1)).toBe('up');
    expect(existsSync(CANARY), 'a value was run by a shell').toBe(false);
    const rules = await node.namespace.run(mode === 'nftables' ? ['nft', 'list', 'ruleset'] : [`${mode}-save`]);
    for (const trace of ['foreign', 'explode', 'nonsense', '-A INPUT -j ACCEPT', 'touch'])
      expect(rules).not.toContain(trace);
  }

  test.each(cases(ERRORS))('$what puts its endpoint in error, and no other', async ({ messages }) => {
    node.send(...messages);
    await node.statusBecomes(() => node.workloadStatus(BAD), 'error');
    await expectUnharmed();
    node.send(workloadRemove(BAD), policyRemove('np/default/bad'), ipSetRemove('s:bad'));
    await node.statusBecomes(() => node.workloadStatus(BAD), undefined);
  });

  test.each(cases(LEFT_OUT))('$what is left out', async ({ messages }) => {
    node.send(...messages);
    await node.statusBecomes(() => node.workloadStatus(BAD), 'up');
    await expectUnharmed();
    node.send(workloadRemove(BAD));
    await node.statusBecomes(() => node.workloadStatus(BAD), undefined);
  });

  test.each(cases(SKIPPED))('$what is skipped', async ({ messages }) => {
    node.send(...messages);
    // A later message is carried out, so the bad one has been.
    node.send(pod(2, []));
    node.send(workload('default/after', 'missing', {}));
    await node.statusBecomes(() => node.workloadStatus('default/after'), 'down');
    await expectUnharmed();
    node.send(workloadRemove('default/after'));
    await node.statusBecomes(() => node.workloadStatus('default/after'), undefined);
  });

  test('after all of them the kernel is as before', async () => {
    node.send(pod(2));
    // The settings and neighbours of cali3's link outlive its pod; sets are destroyed one by one.
    const rules = async (): Promise<KernelDump> => {
      const dump = await node.settled();
      delete dump['sysctl'];
      delete dump['neigh'];
      return dump;
    };
    delete before['sysctl'];
    delete before['neigh'];
    await waitFor(
      async () => JSON.stringify(await rules()) === JSON.stringify(before),
      () => 'the kernel stays different',
    ).catch(() => undefined);
    expect(await rules()).toEqual(before);
  });
});
