// The six switches between modes on a node in use: an open flow and probes all the while, kube-proxy's and others' rules
// in every back end. Nothing that policy denies passes, nothing established breaks, nothing of the old mode stays,
// nothing of others changes.
import { afterEach, describe, expect, test } from 'vitest';
import { tier } from '../fakes/messages.js';
import type { Mode } from '../fixtures/recording.js';
import { waitFor } from './support/driver-process.js';
import { PacketNode, podPlugs } from './support/packets-node.js';
import type { DesiredState } from './support/packets-state.js';
import { expectPackets, listenOn } from './support/packets-table.js';

const PORT = 8055;
/** Rules, chains and tables of others, in the form in which each back end shows them. */
const OURS = /cali|felix-/;

let node: PacketNode | null = null;

afterEach(async () => {
  await node?.remove();
  node = null;
});

/** kube-proxy-like and other rules in legacy and nft iptables of both families, and a table of nft's own. */
async function plantForeign(target: PacketNode): Promise<void> {
  for (const program of ['iptables-legacy', 'ip6tables-legacy', 'iptables-nft', 'ip6tables-nft']) {
    const host = program.startsWith('ip6') ? 'fd00:99::9/128' : '203.0.113.9/32';
    await target.namespace.run([`${program}-restore`, '--noflush'], {
      input: `*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d ${host} -p tcp -m tcp --dport 443 -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A INPUT -s ${host} -j DROP
COMMIT
`,
    });
  }
  await target.namespace.shell('ipset create foreign hash:ip; ipset add foreign 203.0.113.7');
  await target.namespace.run(['nft', '-f', '-'], {
    input: `table inet foreign {
  chain forward {
    type filter hook forward priority 10;
    ip saddr 203.0.113.9 counter drop
  }
}
table ip kube-proxy {
  chain services {
    ip daddr 203.0.113.10 tcp dport 80 accept
  }
}
`,
  });
}

/** Everything in the kernel's rules and IP sets, split into what is ours and what is others', without counters. */
async function rules(target: PacketNode): Promise<{ ours: Record<string, string[]>; foreign: string }> {
  const texts = {
    legacy: await target.namespace.shell('iptables-legacy-save; ip6tables-legacy-save'),
    nft: await target.namespace.shell('iptables-nft-save; ip6tables-nft-save'),
    sets: (await target.namespace.run(['ipset', 'save'])).replace(/ (bucketsize|initval) \S+/g, ''),
    tables: await target.namespace.shell(
      'nft list tables; nft -s list table inet foreign; nft -s list table ip kube-proxy',
    ),
  };
  const ours: Record<string, string[]> = {};
  const foreign: string[] = [];
  for (const [place, text] of Object.entries(texts)) {
    const lines = text
      .split('\n')
      .filter((line) => !line.startsWith('#') && line !== '')
      .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))
      // The ARP table exists in every mode.
      .filter((line) => line !== 'table arp calico-arp');
    ours[place] = lines.filter((line) => OURS.test(line));
    // Tables that iptables makes when it is asked are nobody's.
    foreign.push(
      ...lines.filter(
        (line) => !OURS.test(line) && !/^(\*|COMMIT|:[A-Z]+ ACCEPT$|table ip6? (filter|nat|raw|mangle)$)/.test(line),
      ),
    );
  }
  return { ours, foreign: foreign.join('\n') };
}

/** Where a mode has its rules and sets. */
const PLACES: Record<Mode, readonly string[]> = {
  'iptables-legacy': ['legacy', 'sets'],
  'iptables-nft': ['nft', 'sets'],
  nftables: ['tables'],
};

function state(target: PacketNode): DesiredState {
  return {
    profiles: { open: {} },
    sets: { p1: target.addresses('p1') },
    policies: { 'np/default/in': { inboundRules: [{ action: 'allow', srcIpSetIds: ['p1'] }], outboundRules: [] } },
    pods: { ...target.pods(), p0: target.pod('p0', { tiers: [tier(['np/default/in'], [])] }) },
  };
}

/** Probes without pause: the denied one must never pass, the open flow must always answer. */
class Watch {
  denied = 0;
  leaks: string[] = [];
  answers = 0;
  silences: string[] = [];
  #running = true;
  readonly #work: Promise<unknown>;

  constructor(target: PacketNode, describeMoment: () => string) {
    this.#work = Promise.all([this.#probeDenied(target, describeMoment), this.#checkFlow(target, describeMoment)]);
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#work;
  }

  async #probeDenied(target: PacketNode, describeMoment: () => string): Promise<void> {
    const { v4, v6 } = target.site('p0');
    while (this.#running) {
      const outcomes = await Promise.all(
        [v4, v6].flatMap((address) =>
          (['tcp', 'udp'] as const).map((protocol) =>
            target.site('p2').probe.connect({ protocol, address, port: PORT, timeoutMs: 60 }),
          ),
        ),
      );
      this.denied += outcomes.length;
      if (outcomes.some((outcome) => outcome.result === 'passes')) this.leaks.push(describeMoment());
    }
  }

  async #checkFlow(target: PacketNode, describeMoment: () => string): Promise<void> {
    while (this.#running) {
      // TCP sends again what a moment lost; a flow that is cut does not come back.
      for (const flow of ['flow4', 'flow6']) {
        const { result } = await target.site('p1').probe.checkFlow(flow, 5_000);
        if (result === 'passes') this.answers += 1;
        else this.silences.push(`${flow} ${result} ${describeMoment()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** A round trip: each of the six ordered pairs of modes is one step of it. */
const SWITCHES: readonly (readonly [Mode, Mode])[] = [
  ['iptables-legacy', 'iptables-nft'],
  ['iptables-nft', 'nftables'],
  ['nftables', 'iptables-legacy'],
  ['iptables-legacy', 'nftables'],
  ['nftables', 'iptables-nft'],
  ['iptables-nft', 'iptables-legacy'],
];

describe('switching between modes', () => {
  test('on a node in use: six switches, one after the other', async () => {
    const made = await PacketNode.create({ pods: podPlugs(3) });
    node = made;
    await plantForeign(made);
    const { foreign } = await rules(made);
    expect(foreign).toContain('KUBE-FORWARD');
    // Foreign rules are left alone by clean-up also when it is paced by this interval.
    const config = { IptablesRefreshInterval: '1', NftablesRefreshInterval: '1' };
    const first = SWITCHES[0]?.[0] ?? 'iptables-legacy';
    await made.start({ mode: first, config, state: state(made) });
    const table = ['p1 -> p0', 'p2 -x-> p0', 'p0 -> p2', 'n -> p0'];
    await listenOn(made, 'p0', PORT, 'udp');
    await expectPackets(made, table);
    await made.site('p1').probe.openFlow('flow4', made.site('p0').v4, PORT);
    await made.site('p1').probe.openFlow('flow6', made.site('p0').v6, PORT);
    let moment: string = first;
    const watch = new Watch(made, () => moment);
    try {
      for (const [from, to] of SWITCHES) {
        moment = `${from} to ${to}`;
        await made.start({ mode: to, config, state: state(made) });
        let left: string[] = ['not read'];
        await waitFor(
          async () => {
            const { ours } = await rules(made);
            left = Object.entries(ours).flatMap(([place, lines]) => (PLACES[to].includes(place) ? [] : lines));
            return left.length === 0;
          },
          () => `${moment}: left over\n${left.slice(0, 20).join('\n')}\n${made.problems()}`,
        );
        const after = await rules(made);
        expect(after.foreign, `${moment}: rules of others`).toBe(foreign);
        for (const place of PLACES[to]) expect(after.ours[place]?.length, `${moment}: our ${place}`).toBeGreaterThan(0);
      }
    } finally {
      await watch.stop();
    }
    expect(watch.leaks, 'denied packets that passed').toEqual([]);
    expect(watch.silences, 'times that an open flow did not answer').toEqual([]);
    expect(watch.denied).toBeGreaterThan(100);
    expect(watch.answers).toBeGreaterThan(100);
    await expectPackets(made, table);
  });
});
