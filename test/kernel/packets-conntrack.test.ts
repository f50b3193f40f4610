// docs/differences.md row 2 by packets: the egress policy of a host endpoint also holds for packets that belong to no
// flow. Felix lets them leave in nftables mode.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tier } from '../fakes/messages.js';
import { waitFor } from './support/driver-process.js';
import { createModeNodes, type ModeNodes } from './support/packets-modes.js';
import { type PacketNode, podPlugs } from './support/packets-node.js';
import { arrivals, countArrivals, pairs, type RawPacket, sendRaw } from './support/packets-raw.js';
import { expectPackets } from './support/packets-table.js';

const SYN = 2;
const SYN_ACK = 18;
const FIN_ACK = 17;
const RST = 4;
/** Source port whose packets a foreign rule takes out of connection tracking. */
const UNTRACKED_PORT = 7777;
const STRAYS = { synAck: SYN_ACK, finAck: FIN_ACK, rst: RST } as const;
const COUNTERS = {
  synAck4: 'meta nfproto ipv4 tcp sport 7001 tcp flags == syn|ack',
  synAck6: 'meta nfproto ipv6 tcp sport 7001 tcp flags == syn|ack',
  finAck4: 'meta nfproto ipv4 tcp sport 7001 tcp flags == fin|ack',
  finAck6: 'meta nfproto ipv6 tcp sport 7001 tcp flags == fin|ack',
  rst4: 'meta nfproto ipv4 tcp sport 7001 tcp flags == rst',
  rst6: 'meta nfproto ipv6 tcp sport 7001 tcp flags == rst',
  untracked4: `meta nfproto ipv4 tcp sport ${UNTRACKED_PORT}`,
  untracked6: `meta nfproto ipv6 tcp sport ${UNTRACKED_PORT}`,
  echo4: 'icmp type echo-request',
  echo6: 'icmpv6 type echo-request',
};
const ALL = Object.keys(COUNTERS);
const CONTROL = ['echo4', 'echo6'];

let nodes: ModeNodes;

/** Strays and untracked packets from the node to the outside host, then an echo request that policy allows. */
function packets(node: PacketNode): RawPacket[] {
  return pairs(node, 'n', 'x').flatMap(([source, target]): RawPacket[] => {
    const tcp = (flags: number, sourcePort: number): RawPacket => ({
      kind: 'tcp',
      source,
      target,
      flags,
      sourcePort,
      targetPort: 8055,
    });
    return [
      ...Object.values(STRAYS).map((flags) => tcp(flags, 7001)),
      tcp(SYN, UNTRACKED_PORT),
      { kind: 'icmp', source, target, type: source.includes(':') ? 128 : 8, code: 0 },
    ];
  });
}

/** Names of the packets that the outside host saw, after one volley; the echo requests come last. */
async function seenOutside(node: PacketNode): Promise<string[]> {
  await countArrivals(node.site('x'), COUNTERS);
  await node.namespace.run(['conntrack', '-F'], { reject: false });
  await sendRaw(node.site('n'), packets(node));
  let seen: string[] = [];
  await waitFor(
    async () => {
      const counts = await arrivals(node.site('x'));
      seen = ALL.filter((name) => (counts[name] ?? 0) > 0);
      return CONTROL.every((name) => seen.includes(name));
    },
    () => `the allowed echo requests do not arrive, only ${seen.join(', ')}\n${node.problems()}`,
  );
  return seen;
}

beforeAll(async () => {
  nodes = await createModeNodes({ pods: podPlugs(1) });
  await nodes.each(async (node, mode) => {
    await node.namespace.run(['nft', '-f', '-'], {
      input: `table inet foreign-raw {
        chain output { type filter hook output priority -300; tcp sport ${UNTRACKED_PORT} notrack; }
      }`,
    });
    await node.start({ mode, state: { profiles: { open: {} }, pods: node.pods() } });
  });
});
afterAll(() => nodes.remove());

describe('host endpoint egress policy, in every mode', () => {
  test('holds for packets that belong to no connection and for untracked ones', () =>
    nodes.each(async (node) => {
      const open = { profiles: { open: {} }, pods: node.pods() };
      await node.become(open);
      await expectPackets(node, ['n -> x', 'x -> n']);
      expect(await seenOutside(node), 'without a host endpoint').toEqual(ALL);
      await node.become({
        ...open,
        policies: {
          'gnp/no-tcp': {
            inboundRules: [],
            outboundRules: [
              { action: 'deny', protocol: { numberOrName: { case: 'name', value: 'tcp' } } },
              { action: 'allow' },
            ],
          },
        },
        hosts: { h: { name: 'eth0', profileIds: ['open'], tiers: [tier([], ['gnp/no-tcp'])] } },
      });
      await expectPackets(node, ['n -> x/udp', 'n -x-> x', 'x -> n', 'n -> p0']);
      expect(await seenOutside(node), 'with a policy that denies TCP').toEqual(CONTROL);
    }));
});
