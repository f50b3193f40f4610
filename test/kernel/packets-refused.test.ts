// The recordings on which Felix's own dataplane exits: programmed in every mode, and packets decide what is right
// (docs/differences.md rows 3, 4 and 5).
import { afterEach, describe, expect, test } from 'vitest';
import { tier } from '../fakes/messages.js';
import { loadRecording } from '../fixtures/recording.js';
import { waitFor } from './support/driver-process.js';
import { createModeNodes, type ModeNodes } from './support/packets-modes.js';
import { type PacketNode, type PodPlug, podPlugs } from './support/packets-node.js';
import { arrivals, countArrivals, type RawPacket, sendRaw } from './support/packets-raw.js';
import { expectPackets } from './support/packets-table.js';
import { recordingFrames } from './support/replay.js';

let nodes: ModeNodes | null = null;

afterEach(async () => {
  await nodes?.remove();
  nodes = null;
});

/** The pods of the recordings: pod1 behind cali1 at 10.65.0.2, and so on. */
function recordedPods(count: number): PodPlug[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `pod${index + 1}`,
    interfaceName: `cali${index + 1}`,
    peer: `pcali${index + 1}`,
    v4: `10.65.0.${index + 2}`,
    v6: `fd00:65::${index + 2}`,
    mac: `ee:ee:ee:ee:ee:0${index + 1}`,
  }));
}

/** Nodes with the recording's interfaces; each is handed over before the driver starts, then fed the whole stream. */
async function play(name: string, pods: number, prepare: (node: PacketNode) => Promise<void>): Promise<ModeNodes> {
  const recording = loadRecording(name);
  const made = await createModeNodes({ pods: recordedPods(pods), script: recording.hostScript });
  nodes = made;
  await made.each(async (node, mode) => {
    await prepare(node);
    await node.startWithFrames(recordingFrames(recording, mode));
  });
  return made;
}

function isRunning(node: PacketNode): Promise<boolean> {
  return Promise.race([node.driver.exited.then(() => false), Promise.resolve(true)]);
}

describe('recordings on which Felix exits, in every mode', () => {
  test('deny-reject: denied packets are refused for host, forwarded and pod traffic', async () => {
    const made = await play('deny-reject', 2, () => Promise.resolve());
    await made.each(async (node) => {
      await expectPackets(
        node,
        [
          'x -> n:443, n:8055',
          'x -r-> n:8055/udp',
          'n -> x:8055/udp, x:8055',
          'n -r-> x:25',
          'pod1 -> x:8055 seen n',
          'pod1 -r-> x:25',
          'x -> pod1',
          'x -r-> pod1/udp',
          'pod1 -> pod2, pod2:25',
        ],
        { families: [4] },
      );
      expect(await isRunning(node), 'the driver runs').toBe(true);
      expect(node.problems(), 'nothing is refused').toBe('');
    });
  });

  test('REJECT as deny action: refused in filter, dropped where the kernel takes no REJECT', async () => {
    const made = await createModeNodes({ pods: podPlugs(3) });
    nodes = made;
    const tcp = { protocol: { numberOrName: { case: 'name' as const, value: 'tcp' } } };
    await made.each(async (node, mode) => {
      const deny = (port: number) => ({ action: 'deny', ...tcp, dstPorts: [{ first: port, last: port }] });
      await node.start({
        mode,
        config: { IptablesFilterDenyAction: 'REJECT', NftablesFilterDenyAction: 'REJECT' },
        state: {
          profiles: { open: {} },
          policies: {
            'np/default/shut': { inboundRules: [{ action: 'deny' }] },
            'np/default/out': { inboundRules: [], outboundRules: [deny(81), { action: 'allow' }] },
            'gnp/pre': { preDnat: true, inboundRules: [deny(9000), { action: 'allow' }], outboundRules: [] },
            'gnp/raw': { untracked: true, inboundRules: [deny(9001), { action: 'pass' }], outboundRules: [] },
          },
          pods: {
            ...node.pods(),
            p1: node.pod('p1', { tiers: [tier(['np/default/shut'], [])] }),
            p2: node.pod('p2', { tiers: [tier([], ['np/default/out'])] }),
          },
          hosts: {
            h: {
              name: 'eth0',
              profileIds: ['open'],
              preDnatTiers: [tier(['gnp/pre'], [])],
              untrackedTiers: [tier(['gnp/raw'], [])],
            },
          },
        },
      });
      // nft takes REJECT on the hook prerouting, iptables only in the filter table.
      const beforeNat = mode === 'nftables' ? '-r->' : '-d->';
      await expectPackets(node, [
        // This kernel's TCP takes no notice of an ICMPv6 port-unreachable; UDP does.
        'p0 -r-> p1 v4',
        'p0 -r-> p1/udp',
        'x -r-> p1 v4',
        'x -r-> p1/udp',
        'n -> p1',
        'p2 -> p0:80',
        'p2 -r-> p0:81 v4',
        'p2 -x-> p0:81 v6',
        'x -> n:8055',
        `x ${beforeNat} n:9000 v4`,
        'x -x-> n:9000 v6',
        'x -d-> n:9001',
        'x -> p0:8055',
        `x ${beforeNat} p0:9000 v4`,
        'x -x-> p0:9000 v6',
      ]);
      expect(await isRunning(node), 'the driver runs').toBe(true);
      expect(node.problems(), 'nothing is refused').toBe('');
    });
  });

  test('icmp-codes: a type with a code lets in that pair only, its negation all but that pair', async () => {
    const made = await play('icmp-codes', 1, async (node) => {
      // Errors that belong to no flow would be INVALID and never reach policy.
      await node.namespace.run(['nft', '-f', '-'], {
        input: `table inet foreign-raw {
          chain prerouting { type filter hook prerouting priority -300; icmp type != echo-reply notrack; icmpv6 type { 1, 128 } notrack; }
        }`,
      });
    });
    const v4 = [
      [3, 4, true],
      [3, 0, true],
      [3, 1, false],
      [8, 0, true],
    ] as const;
    const v6 = [
      [1, 4, true],
      [1, 3, false],
      [128, 0, false],
    ] as const;
    await made.each(async (node) => {
      const [outside, pod] = [node.site('x'), node.site('pod1')];
      await countArrivals(
        pod,
        Object.fromEntries([
          ...v4.map(([type, code]) => [`v4t${type}c${code}`, `icmp type ${type} icmp code ${code}`]),
          ...v6.map(([type, code]) => [`v6t${type}c${code}`, `icmpv6 type ${type} icmpv6 code ${code}`]),
        ]) as Record<string, string>,
      );
      const icmp = (source: string, target: string, type: number, code: number): RawPacket => ({
        kind: 'icmp',
        source,
        target,
        type,
        code,
      });
      const wanted = [
        ...v4.map(([type, code, passes]) => ({ name: `v4t${type}c${code}`, passes })),
        ...v6.map(([type, code, passes]) => ({ name: `v6t${type}c${code}`, passes })),
      ];
      let seen: string[] = [];
      const allowed = wanted.filter((row) => row.passes).map((row) => row.name);
      await waitFor(
        async () => {
          // Those that are denied go first: when the others have come, they had their chance.
          await sendRaw(outside, [
            ...[...v4]
              .sort((a, b) => Number(a[2]) - Number(b[2]))
              .map(([type, code]) => icmp(outside.v4, pod.v4, type, code)),
            ...[...v6]
              .sort((a, b) => Number(a[2]) - Number(b[2]))
              .map(([type, code]) => icmp(outside.v6, pod.v6, type, code)),
          ]);
          const counts = await arrivals(pod);
          seen = wanted.map((row) => row.name).filter((name) => (counts[name] ?? 0) > 0);
          return allowed.every((name) => seen.includes(name));
        },
        () => `of ${allowed.join(', ')} only ${seen.join(', ')} arrived\n${node.problems()}`,
      );
      expect(seen).toEqual(allowed);
      expect(await isRunning(node), 'the driver runs').toBe(true);
      expect(node.problems(), 'nothing is refused').toBe('');
    });
  });

  test('nat-interface-filter: pods are masqueraded on interfaces eth+ and on no other', async () => {
    const made = await play('nat-interface-filter', 2, (node) => node.addOutside('y', 'wan0', 9));
    await made.each(async (node) => {
      await expectPackets(
        node,
        [
          'pod1 -> x seen n',
          'pod2 -> x/udp seen n',
          'pod1 -> y seen pod1',
          'pod2 -> y/udp seen pod2',
          'pod1 -> pod2 seen pod1',
          'x -> pod1 seen x',
        ],
        { families: [4] },
      );
      expect(await isRunning(node), 'the driver runs').toBe(true);
      expect(node.problems(), 'nothing is refused').toBe('');
    });
  });
});
