// Real packets between pods of one node: every mode gives the same verdict, for IPv4 and IPv6 (tests.md, C1).
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tier } from '../fakes/messages.js';
import { waitFor } from './support/driver-process.js';
import { createModeNodes, type ModeNodes, setChainPolicy } from './support/packets-modes.js';
import { podPlugs } from './support/packets-node.js';
import { expectPackets, listenOn } from './support/packets-table.js';

const OPEN = { profiles: { open: {} } };

let nodes: ModeNodes;
beforeAll(async () => {
  nodes = await createModeNodes({ pods: podPlugs(4) });
  await nodes.each(async (node, mode) => {
    // So that it is our accept that lets packets pass.
    await setChainPolicy(node, mode, 'FORWARD', 'DROP');
    await node.start({ mode, state: { ...OPEN, pods: node.pods() } });
  });
});
afterAll(() => nodes.remove());

describe('packets between pods, in every mode', () => {
  test('S1: without a profile nothing passes but from the node; a profile that allows opens', () =>
    nodes.each(async (node) => {
      await node.become({ ...OPEN, pods: { ...node.pods({ profileIds: [] }), p3: node.pod('p3') } });
      await expectPackets(node, [
        'p0 -x-> p1, p2',
        'p1 -x-> p0, p2',
        'p2 -x-> p0, p1, x',
        'x -x-> p0',
        'n -> p0, p1, p2',
        'p3 -> x',
      ]);
      await node.become({ ...OPEN, pods: node.pods() });
      await expectPackets(node, ['p0 -> p1, p2', 'p1 -> p0, p2', 'p2 -> p0, p1', 'n -> p0, p1, p2']);
    }));

  test('S2: a policy for ingress only', () =>
    nodes.each(async (node) => {
      await node.become({
        ...OPEN,
        sets: { p1: node.addresses('p1') },
        policies: { 'np/default/in': { inboundRules: [{ action: 'allow', srcIpSetIds: ['p1'] }], outboundRules: [] } },
        pods: { ...node.pods(), p0: node.pod('p0', { tiers: [tier(['np/default/in'], [])] }) },
      });
      await expectPackets(node, ['p1 -> p0', 'p2 -x-> p0', 'x -x-> p0', 'n -> p0', 'p0 -> p1, p2']);
    }));

  test('S3: a policy for egress only', () =>
    nodes.each(async (node) => {
      await node.become({
        ...OPEN,
        sets: { p1: node.addresses('p1') },
        policies: { 'np/default/out': { inboundRules: [], outboundRules: [{ action: 'allow', dstIpSetIds: ['p1'] }] } },
        pods: { ...node.pods(), p0: node.pod('p0', { tiers: [tier([], ['np/default/out'])] }) },
      });
      await expectPackets(node, ['p0 -> p1', 'p0 -x-> p2, x', 'p1 -> p0', 'p2 -> p0', 'x -> p0']);
    }));

  test('S8: a type without rules denies, rules of a type that is absent are ignored', () =>
    nodes.each(async (node) => {
      const state = (types: ReturnType<typeof tier>, rules: { inboundRules?: object[]; outboundRules?: object[] }) =>
        node.become({
          ...OPEN,
          sets: { p1: node.addresses('p1') },
          policies: { 'np/default/s8': { inboundRules: [], outboundRules: [], ...rules } },
          pods: { ...node.pods(), p0: node.pod('p0', { tiers: [types] }) },
        });
      const fromP1 = { action: 'allow', srcIpSetIds: ['p1'] };
      await state(tier(['np/default/s8']), { inboundRules: [fromP1] });
      await expectPackets(node, ['p1 -> p0', 'p2 -x-> p0', 'p0 -x-> p1, p2', 'p1 -> p2']);
      await state(tier(['np/default/s8'], []), {});
      await expectPackets(node, ['p1 -x-> p0', 'p2 -x-> p0', 'p0 -> p1, p2']);
      await state(tier(['np/default/s8'], []), { inboundRules: [fromP1], outboundRules: [{ action: 'deny' }] });
      await expectPackets(node, ['p1 -> p0', 'p2 -x-> p0', 'p0 -> p1, p2']);
    }));

  describe('S16: named ports', () => {
    const numeric = (count: number) => Array.from({ length: count }, (_, i) => ({ first: 3000 + i, last: 3000 + i }));

    test.each([0, 1, 16])('beside %i numeric ports, positive and negated, at p0 and at the others', (count) =>
      nodes.each(async (node) => {
        const positive = { dstNamedPortIpSetIds: ['named'], dstPorts: numeric(count) };
        const negated = { notDstNamedPortIpSetIds: ['named'], notDstPorts: numeric(count) };
        const rule = (fields: object) => [
          { action: 'allow', protocol: { numberOrName: { case: 'name' as const, value: 'tcp' } }, ...fields },
        ];
        const at = (end: 'ingress' | 'egress', fields: object) =>
          node.become({
            ...OPEN,
            sets: { named: node.addresses('p0').map((address) => `${address},tcp:1100`) },
            policies: { 'np/default/s16': { inboundRules: rule(fields), outboundRules: rule(fields) } },
            pods:
              end === 'ingress'
                ? { ...node.pods(), p0: node.pod('p0', { tiers: [tier(['np/default/s16'], [])] }) }
                : { ...node.pods({ tiers: [tier([], ['np/default/s16'])] }), p0: node.pod('p0') },
          });
        const last = 3000 + count - 1;
        for (const end of ['ingress', 'egress'] as const) {
          await at(end, positive);
          const opened = count === 0 ? [] : [`p1 -> p0:3000`, `p1 -> p0:${last}`];
          await expectPackets(node, ['p1 -> p0:1100', 'p1 -x-> p0:1000', 'p1 -x-> p0:4000', ...opened]);
          await at(end, negated);
          const shut = count === 0 ? [] : [`p1 -x-> p0:3000`, `p1 -x-> p0:${last}`];
          await expectPackets(node, ['p1 -x-> p0:1100', 'p1 -> p0:1000', 'p1 -> p0:4000', ...shut]);
        }
      }),
    );
  });

  test('S18, S19: members of sets come and go, overlap and repeat', () =>
    nodes.each(async (node) => {
      const members = (...names: string[]) => node.addresses(...names);
      const state = (src: string[] | null, dst: string[]) =>
        node.become({
          ...OPEN,
          sets: { ...(src === null ? {} : { src }), dst },
          policies: {
            'np/default/s18': {
              inboundRules: src === null ? [] : [{ action: 'allow', srcIpSetIds: ['src'], dstIpSetIds: ['dst'] }],
              outboundRules: [],
            },
          },
          pods: node.pods({ tiers: [tier(['np/default/s18'], [])] }),
        });
      const baseline = ['p0 -> p2, p3', 'p1 -> p2, p3', 'p2 -> p3', 'p0 -x-> p1', 'p1 -x-> p0', 'p2 -x-> p0, p1'];
      const closed = ['p3 -x-> p0, p1'];
      await state(members('p0', 'p1', 'p2'), members('p2', 'p3'));
      await expectPackets(node, [...baseline, ...closed, 'p3 -x-> p2']);
      await state(members('p1', 'p2', 'p3'), members('p1', 'p3'));
      await expectPackets(node, [
        'p1 -> p3',
        'p2 -> p1, p3',
        'p3 -> p1',
        'p0 -x-> p1, p2, p3',
        'p1 -x-> p0, p2',
        'p2 -x-> p0',
        'p3 -x-> p0, p2',
      ]);
      // The calc graph splits a catch-all into its halves.
      await state(['0.0.0.0/1', '128.0.0.0/1', '::/1', '8000::/1'], members('p2', 'p3'));
      await expectPackets(node, [...baseline, ...closed, 'p3 -> p2']);
      // A /32 inside a /31 and a repeated member: one leaves, the other still holds.
      await state(
        [...members('p0', 'p1', 'p2'), '10.65.0.10/31', 'fd00:65::10/128', ...members('p0')],
        members('p2', 'p3'),
      );
      await expectPackets(node, [...baseline, ...closed, 'p3 -x-> p2']);
      await state([...members('p2'), '10.65.0.10/31', 'fd00:65::10/124'], members('p2', 'p3'));
      await expectPackets(node, ['p0 -> p2, p3', 'p1 -> p2, p3', 'p2 -> p3', 'p3 -x-> p2 v4', ...closed]);
      await state(null, members('p2', 'p3'));
      await expectPackets(node, ['n -> p0', 'p0 -x-> p1, p2, p3', 'p1 -x-> p2, p3', 'p2 -x-> p3', 'p3 -x-> p2']);
    }));

  test('S26: services as sets of address and port, and as addresses', () =>
    nodes.each(async (node) => {
      const port = (name: string, number: number) => node.addresses(name).map((address) => `${address},tcp:${number}`);
      const tcp = { protocol: { numberOrName: { case: 'name' as const, value: 'tcp' } } };
      const egress = (members: string[], rules: object[]) =>
        node.become({
          ...OPEN,
          sets: { service: members },
          policies: { 'np/default/s26': { inboundRules: [], outboundRules: rules } },
          pods: node.pods({ tiers: [tier([], ['np/default/s26'])] }),
        });
      const allow = [{ action: 'allow', dstIpPortSetIds: ['service'] }];
      await egress(port('p1', 80), allow);
      await expectPackets(node, ['p0 -> p1:80', 'p0 -x-> p1:81', 'p1 -x-> p0:80', 'p2 -x-> p0:80']);
      await egress([...port('p1', 80), ...port('p0', 80)], allow);
      await expectPackets(node, ['p0 -> p1:80', 'p1 -> p0:80', 'p0 -x-> p1:81', 'p1 -x-> p0:81']);
      await egress(port('p1', 80), [{ action: 'deny', dstIpPortSetIds: ['service'] }, { action: 'allow' }]);
      await expectPackets(node, ['p0 -x-> p1:80', 'p0 -> p1:81', 'p1 -> p0:80, p0:81']);
      const ingress = (rule: object) =>
        node.become({
          ...OPEN,
          sets: { addresses: node.addresses('p1') },
          policies: { 'np/default/s26': { inboundRules: [{ action: 'allow', srcIpSetIds: ['addresses'], ...rule }] } },
          pods: { ...node.pods(), p0: node.pod('p0', { tiers: [tier(['np/default/s26'], [])] }) },
        });
      await ingress({});
      await expectPackets(node, ['p1 -> p0:80, p0:81', 'p2 -x-> p0:80, p0:81']);
      await ingress({ ...tcp, dstPorts: [{ first: 80, last: 80 }] });
      await expectPackets(node, ['p1 -> p0:80', 'p1 -x-> p0:81', 'p2 -x-> p0:80']);
    }));

  test('S27: a named port of UDP is not one of TCP, nor the reverse', () =>
    nodes.each(async (node) => {
      const members = (protocol: string, port: number) =>
        node.addresses('p0').map((address) => `${address},${protocol}:${port}`);
      const rule = (protocol: string, set: string) => ({
        action: 'allow',
        protocol: { numberOrName: { case: 'name' as const, value: protocol } },
        dstNamedPortIpSetIds: [set],
      });
      const state = (tcpSet: string, udpSet: string) =>
        node.become({
          ...OPEN,
          sets: { tcp80: members('tcp', 80), udp81: members('udp', 81) },
          policies: { 'np/default/s27': { inboundRules: [rule('tcp', tcpSet), rule('udp', udpSet)] } },
          pods: { ...node.pods(), p0: node.pod('p0', { tiers: [tier(['np/default/s27'], [])] }) },
        });
      await state('tcp80', 'udp81');
      await expectPackets(node, ['p1 -> p0:80/tcp', 'p1 -> p0:81/udp', 'p1 -x-> p0:80/udp', 'p1 -x-> p0:81/tcp']);
      await state('udp81', 'tcp80');
      await expectPackets(node, [
        'n -> p0:80',
        'p1 -x-> p0:80/tcp',
        'p1 -x-> p0:81/udp',
        'p1 -x-> p0:80/udp',
        'p1 -x-> p0:81/tcp',
      ]);
    }));

  test.each(['AAA', 'AAB', 'ABB', 'ABA'])('S32: policies with selectors %s, the deny in each of them', (pattern) =>
    nodes.each(async (node) => {
      for (let denied = 0; denied < 3; denied += 1) {
        const names = [...pattern].map((_, index) => `np/default/s32-${index}`);
        const deny = { inboundRules: [{ action: 'deny' }], outboundRules: [{ action: 'deny' }] };
        const others = { sets: { p0: node.addresses('p0') } };
        const own = {
          inboundRules: [
            { action: 'deny', srcIpSetIds: ['p0'] },
            { action: 'deny', dstIpSetIds: ['p0'] },
          ],
          outboundRules: [{ action: 'deny', dstIpSetIds: ['p0'] }],
        };
        await node.become({
          ...OPEN,
          ...others,
          policies: {
            ...Object.fromEntries(
              names.map((name, index) => [
                name,
                {
                  originalSelector: `group == "${pattern[index]}"`,
                  inboundRules: [],
                  outboundRules: [],
                  ...(index === denied ? own : {}),
                },
              ]),
            ),
            'np/default/s32-open': { originalSelector: 'all()' },
            'np/default/s32-shut': { originalSelector: 'all()', ...deny },
          },
          pods: node.pods({ tiers: [tier([...names, 'np/default/s32-open', 'np/default/s32-shut'])] }),
        });
        await expectPackets(node, ['p0 -x-> p1, p2', 'p1 -x-> p0', 'p2 -x-> p0', 'p1 -> p2', 'p2 -> p1'], {
          families: denied === 1 ? [6] : [4],
        });
      }
    }),
  );

  test('S37: an inactive endpoint is closed and without route; a deleted one leaves no flow and works when back', () =>
    nodes.each(async (node) => {
      const routes = () => node.namespace.shell('ip route; ip -6 route');
      const p0 = node.site('p0');
      await node.become({ ...OPEN, pods: node.pods() });
      await expectPackets(node, ['p1 -> p0', 'p0 -> p1']);
      expect(await routes()).toContain(p0.v4);
      await node.become({ ...OPEN, pods: { ...node.pods(), p0: node.pod('p0', { state: 'inactive' }) } });
      await expectPackets(node, ['p1 -> p2', 'p1 -x-> p0', 'p0 -x-> p1, x', 'n -x-> p0']);
      expect(await routes()).not.toMatch(new RegExp(`^(${p0.v4}|${p0.v6}) `, 'm'));
      await node.become({ ...OPEN, pods: node.pods() });
      await expectPackets(node, ['p1 -> p0', 'p0 -> p1']);
      expect(await node.site('p1').probe.openFlow('kept', p0.v4, 8055)).toMatchObject({ result: 'passes' });
      const flows = () => node.namespace.run(['conntrack', '-L', '-d', p0.v4], { reject: false });
      expect(await flows()).toContain(p0.v4);
      const { p0: gone, ...rest } = node.pods();
      await node.become({ ...OPEN, pods: rest });
      await waitFor(
        async () => !(await flows()).includes(p0.v4),
        () => 'the flow of the deleted pod stays',
      );
      await expectPackets(node, ['p1 -> p2', 'p1 -x-> p0', 'n -x-> p0', 'p0 -x-> p1']);
      await node.become({ ...OPEN, pods: { ...rest, ...(gone === undefined ? {} : { p0: gone }) } });
      await expectPackets(node, ['p1 -> p0', 'p0 -> p1'], { timeoutMs: 2_000 });
      await node.site('p1').probe.closeFlow('kept');
    }));

  describe.each([
    ['ingress at the target', 'p0', { IngressMaxConnections: 4n }],
    ['egress at the source', 'p1', { EgressMaxConnections: 4n }],
  ] as const)('S31: four connections, %s', (_what, limited, qosControls) => {
    test.each([4, 6] as const)('the fifth over IPv%i is refused until one ends or the limit goes', (family) =>
      nodes.each(async (node) => {
        const from = node.site('p1').probe;
        const target = family === 4 ? node.site('p0').v4 : node.site('p0').v6;
        await listenOn(node, 'p0', 8055, 'tcp');
        const limits = { ...node.pods(), [limited]: node.pod(limited, { qosControls }) };
        await node.become({ ...OPEN, pods: limits });
        await node.namespace.run(['conntrack', '-F'], { reject: false });
        for (const flow of ['1', '2', '3', '4'])
          expect((await from.openFlow(flow, target, 8055)).result, `connection ${flow}`).toBe('passes');
        expect((await from.openFlow('5', target, 8055)).result, 'the fifth connection').toBe('refused');
        expect((await from.checkFlow('4')).result, 'an open connection').toBe('passes');
        await from.closeFlow('1');
        await waitFor(
          async () => (await from.openFlow('5', target, 8055)).result === 'passes',
          () => 'no room after one ended',
        );
        expect((await from.openFlow('6', target, 8055)).result, 'a connection too many').toBe('refused');
        await node.become({ ...OPEN, pods: node.pods() });
        expect((await from.openFlow('6', target, 8055)).result, 'without a limit').toBe('passes');
        for (const flow of ['2', '3', '4', '5', '6']) await from.closeFlow(flow);
      }),
    );
  });
});
