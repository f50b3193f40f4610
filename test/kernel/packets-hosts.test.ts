// Real packets beside host endpoints: every mode gives the same verdict, for IPv4 and IPv6 (tests.md, C1). The outside
// host `x` stands for the other node.
import { afterAll, beforeAll, beforeEach, describe, test } from 'vitest';
import { tier } from '../fakes/messages.js';
import { createModeNodes, type ModeNodes, setChainPolicy } from './support/packets-modes.js';
import { type PacketNode, podPlugs } from './support/packets-node.js';
import type { DesiredState } from './support/packets-state.js';
import { expectPackets } from './support/packets-table.js';

const ALLOW = [{ action: 'allow' }];
const DENY = [{ action: 'deny' }];
/** Service addresses that kube-proxy would translate: to p0, and to the outside host. */
const SERVICE = { p0: ['10.96.0.10', 'fd00:96::10'], x: ['10.96.0.20', 'fd00:96::20'] } as const;

let nodes: ModeNodes;

/** What kube-proxy and hostPort make: translated services, and ports of the node that lead into pods. */
async function addForeignNat(node: PacketNode): Promise<void> {
  const table = (family: 'ip' | 'ip6', index: 0 | 1): string => {
    const address = (name: string): string => node.addresses(name)[index] ?? '';
    const to = (name: string, port: number): string =>
      family === 'ip' ? `${address(name)}:${port}` : `[${address(name)}]:${port}`;
    const rules = `
      ${family} daddr ${SERVICE.p0[index]} dnat to ${to('p0', 8055)
        .replace(/:8055$/, '')
        .replace(/[[\]]/g, '')}
      ${family} daddr ${SERVICE.x[index]} dnat to ${to('x', 8055)
        .replace(/:8055$/, '')
        .replace(/[[\]]/g, '')}
      ${family} daddr ${address('n')} tcp dport 32010 dnat to ${to('p0', 8055)}
      ${family} daddr ${address('n')} tcp dport 32011 dnat to ${to('p1', 8055)}`;
    return `table ${family} foreign-nat {
      chain prerouting { type nat hook prerouting priority -100; ${rules.trim().split('\n').join(';')}; }
      chain output { type nat hook output priority -100; ${rules.trim().split('\n').join(';')}; }
    }`;
  };
  await node.namespace.shell(`
    ip route add 10.96.0.0/16 via ${node.site('x').v4}
    ip -6 route add fd00:96::/64 via ${node.site('x').v6}
  `);
  await node.namespace.run(['nft', '-f', '-'], { input: `${table('ip', 0)}\n${table('ip6', 1)}\n` });
}

/** The state with pods open, host endpoints and policies. */
function state(node: PacketNode, fields: DesiredState = {}): DesiredState {
  return { profiles: { open: {} }, pods: node.pods(), ...fields };
}

beforeAll(async () => {
  nodes = await createModeNodes({ pods: podPlugs(2) });
  await nodes.each(async (node, mode) => {
    await setChainPolicy(node, mode, 'FORWARD', 'DROP');
    await addForeignNat(node);
    await node.start({ mode, state: state(node) });
  });
});
beforeEach(() => nodes.each((node) => node.become(state(node))));
afterAll(() => nodes.remove());

const WHOLE_POD_TRAFFIC = ['p0 -> p1', 'p1 -> p0', 'x -> p0', 'p0 -> x', 'n -> p0', 'n -> p1'];

describe('packets beside a host endpoint, in every mode', () => {
  test('without a host endpoint all is open', () =>
    nodes.each((node) =>
      expectPackets(node, [
        ...WHOLE_POD_TRAFFIC,
        'n -> x',
        'x -> n',
        `n -> [${SERVICE.p0[0]}] v4`,
        `n -> [${SERVICE.p0[1]}] v6`,
        `n -> [${SERVICE.x[0]}] v4`,
        `n -> [${SERVICE.x[1]}] v6`,
      ]),
    ));

  test.each([
    ['named', 'eth0'],
    ['wildcard', '*'],
  ] as const)('S4: a bare %s host endpoint closes the host; pods and host to own pod stay open', (_what, name) =>
    nodes.each(async (node) => {
      await node.become(state(node, { hosts: { h: { name, expectedIpv4Addrs: [], expectedIpv6Addrs: [] } } }));
      await expectPackets(node, [
        'n -x-> x',
        'x -x-> n',
        'n -> p0, p1',
        'p0 -> p1, x',
        'x -> p0',
        `p0 -> [${SERVICE.x[0]}] v4`,
        `p0 -> [${SERVICE.x[1]}] v6`,
        `n -> [${SERVICE.p0[0]}] v4`,
        `n -> [${SERVICE.p0[1]}] v6`,
        `n -x-> [${SERVICE.x[0]}] v4`,
        `n -x-> [${SERVICE.x[1]}] v6`,
      ]);
    }),
  );

  test('S5: failsafe ports stay open', () =>
    nodes.each(async (node) => {
      await node.become(state(node, { hosts: { h: { name: 'eth0' } } }));
      await expectPackets(node, [
        'n -> x:2379',
        'n -> x:6443',
        'n -> x:53/udp',
        'n -x-> x:22',
        'n -x-> x:8055',
        'x -> n:22',
        'x -> n:2379',
        'x -x-> n:8055',
        'x -x-> n:53/udp',
      ]);
    }));

  test('S7: policies of the host endpoint open one way, then both, then close', () =>
    nodes.each(async (node) => {
      const become = (inboundRules: object[], types: ReturnType<typeof tier>) =>
        node.become(
          state(node, {
            policies: { 'gnp/host': { inboundRules, outboundRules: ALLOW } },
            hosts: { h: { name: '*', tiers: [types] } },
          }),
        );
      await become([], tier([], ['gnp/host']));
      await expectPackets(node, ['n -> x', 'x -x-> n', ...WHOLE_POD_TRAFFIC]);
      await become(ALLOW, tier(['gnp/host']));
      await expectPackets(node, ['n -> x', 'x -> n', ...WHOLE_POD_TRAFFIC]);
      await become(DENY, tier(['gnp/host']));
      await expectPackets(node, ['n -> x', 'x -x-> n', ...WHOLE_POD_TRAFFIC]);
    }));

  test('S33: an allow-all profile opens; an egress policy that denies shuts one way', () =>
    nodes.each(async (node) => {
      await node.become(state(node, { hosts: { h: { name: '*', profileIds: ['open'] } } }));
      await expectPackets(node, ['n -> x', 'x -> n', ...WHOLE_POD_TRAFFIC]);
      await node.become(
        state(node, {
          policies: { 'gnp/out': { inboundRules: [], outboundRules: DENY } },
          hosts: { h: { name: '*', profileIds: ['open'], tiers: [tier([], ['gnp/out'])] } },
        }),
      );
      await expectPackets(node, ['n -x-> x', 'x -> n', ...WHOLE_POD_TRAFFIC]);
    }));

  test('S14, S15: only apply-on-forward reaches forwarded packets', () =>
    nodes.each(async (node) => {
      const policies = {
        'gnp/fwd': {
          inboundRules: [{ action: 'allow', protocol: { numberOrName: { case: 'name' as const, value: 'udp' } } }],
          outboundRules: ALLOW,
        },
      };
      await node.become(state(node, { policies, hosts: { h: { name: '*', tiers: [tier(['gnp/fwd'])] } } }));
      await expectPackets(node, ['x -x-> n', 'n -> x', ...WHOLE_POD_TRAFFIC]);
      const both = { tiers: [tier(['gnp/fwd'])], forwardTiers: [tier(['gnp/fwd'])] };
      await node.become(state(node, { policies, hosts: { h: { name: '*', ...both } } }));
      await expectPackets(node, [
        'x -x-> n',
        'n -> x, p0',
        'x -x-> p0',
        'x -> p0/udp',
        'p0 -x-> x, p1',
        'p0 -> p1/udp',
      ]);
    }));

  test('S12, S29: pre-DNAT policy sees the port before translation', () =>
    nodes.each(async (node) => {
      const named = (ports: number[] | null) =>
        node.become(
          state(node, {
            policies: {
              'gnp/pre': {
                preDnat: true,
                inboundRules: [
                  ...(ports ?? []).map((port) => ({
                    action: 'allow',
                    protocol: { numberOrName: { case: 'name' as const, value: 'tcp' } },
                    dstPorts: [{ first: port, last: port }],
                  })),
                  ...DENY,
                ],
                outboundRules: [],
              },
            },
            hosts: {
              h: {
                name: 'eth0',
                profileIds: ['open'],
                ...(ports === null ? {} : { preDnatTiers: [tier(['gnp/pre'], [])] }),
              },
            },
          }),
        );
      await named(null);
      await expectPackets(node, ['x -> n:32010, n:32011, n:8055', 'p0 -> n:32011']);
      await named([]);
      await expectPackets(node, ['x -x-> n:32010, n:32011, n:8055', 'p0 -> n:32011', 'p1 -> n:32010', 'n -> p0']);
      await named([32010]);
      await expectPackets(node, ['x -> n:32010', 'x -x-> n:32011, n:8055', 'p0 -> n:32011']);
      await named([8055]);
      await expectPackets(node, ['x -> n:8055', 'x -x-> n:32010, n:32011', 'p0 -> n:32011']);
    }));
});

describe('S10: what a pod may do to its host, in every mode', () => {
  const start = (
    node: PacketNode,
    mode: Parameters<Parameters<ModeNodes['each']>[0]>[1],
    action: string,
    fields: DesiredState,
  ) => node.start({ mode, config: { DefaultEndpointToHostAction: action }, state: state(node, fields) });
  const rest = ['p0 -> p1', 'n -> p0'];

  test('with INPUT DROP only Accept opens; with INPUT ACCEPT Return opens and Drop does not', () =>
    nodes.each(async (node, mode) => {
      for (const [action, withDrop, withAccept] of [
        ['Accept', '->', '->'],
        ['Return', '-x->', '->'],
        ['Drop', '-x->', '-x->'],
      ] as const) {
        await start(node, mode, action, {});
        await setChainPolicy(node, mode, 'INPUT', 'ACCEPT');
        await expectPackets(node, [`p0 ${withAccept} n`, ...rest]);
        // In nftables mode an INPUT policy of iptables is another base chain, which decides for itself.
        if (mode === 'nftables') continue;
        await setChainPolicy(node, mode, 'INPUT', 'DROP');
        await expectPackets(node, [`p0 ${withDrop} n`, 'p0 -> p1']);
        await setChainPolicy(node, mode, 'INPUT', 'ACCEPT');
      }
    }));

  test('a deny policy of a wildcard host endpoint does not override Accept, a pre-DNAT one does', () =>
    nodes.each(async (node, mode) => {
      const policies = {
        'gnp/deny': { inboundRules: DENY, outboundRules: ALLOW },
        'gnp/pre': {
          preDnat: true,
          inboundRules: [
            {
              action: 'deny',
              dstPorts: [{ first: 8055, last: 8055 }],
              protocol: { numberOrName: { case: 'name' as const, value: 'tcp' } },
              dstIpSetIds: ['host'],
            },
          ],
          outboundRules: [],
        },
      };
      const sets = { host: node.addresses('n') };
      await start(node, mode, 'Accept', { sets, policies, hosts: { h: { name: '*', tiers: [tier(['gnp/deny'])] } } });
      await expectPackets(node, ['p0 -> n', 'x -x-> n', ...rest]);
      await node.become(
        state(node, {
          sets,
          policies,
          hosts: { h: { name: '*', tiers: [tier(['gnp/deny'])], preDnatTiers: [tier(['gnp/pre'], [])] } },
        }),
      );
      await expectPackets(node, ['p0 -x-> n', 'x -x-> n', ...rest]);
    }));
});
