// The real tools and this kernel judge what the renderer and the printers make: every recording in every mode and
// both families, and a sample of every match and action. Loaded for good, not only checked: `nft -c` and
// `--test` let through what the kernel refuses later.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Action } from '../../src/model/action.js';
import type { Rule } from '../../src/model/chain.js';
import type { DataplaneConfig } from '../../src/model/config.js';
import type { Family, TableName } from '../../src/model/family.js';
import type { Match } from '../../src/model/match.js';
import { createRuleRenderer } from '../../src/rules/create-rule-renderer.js';
import { testConfig, testEnvironment } from '../fakes/config.js';
import { loadRecording, MODES, type Mode, recordingNames, splitFrames } from '../fixtures/recording.js';
import { RuleState, TABLES, type TableContent } from '../golden/rule-state.js';
import { ipsetText, iptablesText, nftText } from '../golden/rule-text.js';
import { createNamespace, type Namespace } from './support/namespace.js';

const FAMILIES: readonly Family[] = [4, 6];

type Contents = ReadonlyMap<TableName, TableContent>;

async function load(mode: Mode, family: Family, contents: Contents): Promise<void> {
  const space = await createNamespace('rules');
  try {
    if (mode === 'nftables') {
      await space.run(['nft', '-f', '-'], { input: nftText(contents, family) });
      return;
    }
    await space.run(['ipset', 'restore'], { input: ipsetText(contents.values(), family) });
    const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${mode.slice('iptables-'.length)}-restore`;
    for (const [table, content] of contents) {
      await space.run([tool, '--noflush'], { input: iptablesText(content, table, family) });
    }
  } finally {
    await space.remove();
  }
}

/** A table with the given rules in one chain, jumped to from a hook that takes them. */
function contentOf(hook: string, rules: readonly Rule[], targets: readonly string[] = []): TableContent {
  const chains = [{ name: 'cali-sample', rules }, ...targets.map((name) => ({ name, rules: [] }))];
  return {
    chains: new Map(chains.map((chain) => [chain.name, chain])),
    maps: [],
    inserted: new Map([[hook, [{ match: [], action: { kind: 'jump', chain: 'cali-sample' } }]]]),
    appended: new Map(),
  };
}

describe.each([...MODES])('rules of the recordings in mode %s', (mode) => {
  it.each(recordingNames())('are taken by the kernel: %s', async (name) => {
    const recording = loadRecording(name);
    const state = new RuleState(recording.hostScript);
    const frames = splitFrames(recording.stream);
    // Before the last step, which often only removes.
    const end = recording.steps.steps.at(-2)?.frames ?? frames.length;
    for (const frame of frames.slice(0, end)) state.apply(frame);
    const loadState = async (): Promise<void> => {
      for (const family of FAMILIES) {
        const renderer = state.renderer(mode, family);
        await load(mode, family, new Map(TABLES.map((table) => [table, state.table(renderer, table)])));
      }
    };
    await loadState();
    for (const frame of frames.slice(end)) state.apply(frame);
    await loadState();
  });
});

const BOTH: readonly boolean[] = [false, true];

function sampleMatches(family: Family): Match[][] {
  const net = family === 4 ? '10.0.0.0/8' : 'fd00::/8';
  const tcp: Match = { kind: 'protocol', protocol: 'tcp' };
  const icmp: Match = { kind: 'protocol', protocol: family === 4 ? 'icmp' : 'icmpv6' };
  const ports = [
    { first: 80, last: 80 },
    { first: 1000, last: 2000 },
  ];
  const set = family === 4 ? 'cali40s:abc' : 'cali60s:abc';
  const portSet = family === 4 ? 'cali40n:abc' : 'cali60n:abc';
  const negatable: Match[][] = BOTH.flatMap((negated): Match[][] => [
    [{ kind: 'mark-value', value: 0x10000, mask: 0x30000, negated }],
    [{ kind: 'protocol', protocol: 'udp', negated }],
    [{ kind: 'protocol', protocol: 47, negated }],
    [{ kind: 'source-net', net, negated }],
    [{ kind: 'dest-net', net, negated }],
    [{ kind: 'source-set', set, negated }],
    [{ kind: 'dest-set', set, negated }],
    [{ kind: 'source-port-set', set: portSet, negated }],
    [{ kind: 'dest-port-set', set: portSet, negated }],
    [tcp, { kind: 'source-ports', protocol: 'tcp', ports, negated }],
    [
      { kind: 'protocol', protocol: 132 },
      { kind: 'dest-ports', protocol: 132, ports, negated },
    ],
    [{ kind: 'conntrack-state', states: ['RELATED', 'ESTABLISHED'], negated }],
    [{ kind: 'conntrack-dnat', negated }],
    [{ kind: 'source-address-type', type: 'LOCAL', negated }],
    [icmp, { kind: 'icmp-type', type: 128, negated }],
    [icmp, { kind: 'icmp-type-code', type: 3, code: 1, negated }],
  ]);
  return [
    ...negatable,
    [{ kind: 'mark-clear', mask: 0x10000 }],
    [{ kind: 'mark-not-clear', mask: 0x30000 }],
    [{ kind: 'in-interface', name: 'cali', wildcard: true }],
    ...['eth0.100', 'bridge', 'tcp', '1eth', 'eth0@x', 'lan'].map((name): Match[] => [{ kind: 'in-interface', name }]),
    [{ kind: 'in-interface', name: 'bridge', wildcard: true }],
    [{ kind: 'in-interface', name: '1eth', wildcard: true }],
    [tcp, { kind: 'dest-port', protocol: 'tcp', port: 4789 }],
    [{ kind: 'dest-address-type', type: 'LOCAL' }],
    [{ kind: 'limit', rate: '10/minute', burst: 5 }],
    [{ kind: 'limit', rate: '1/second', burst: 0 }],
  ];
}

const FILTER_ACTIONS: readonly Action[] = [
  { kind: 'accept' },
  { kind: 'drop' },
  { kind: 'return' },
  { kind: 'reject' },
  { kind: 'jump', chain: 'cali-target' },
  { kind: 'goto', chain: 'cali-target' },
  { kind: 'set-mark', mask: 0x10000 },
  { kind: 'clear-mark', mask: 0x10000 },
  { kind: 'set-masked-mark', value: 0, mask: 0x180000 },
  { kind: 'set-masked-mark', value: 0x80000, mask: 0x180000 },
  { kind: 'log', prefix: 'calico-packet np/default/a-policy-with-a-long-name' },
  { kind: 'log', prefix: 'x'.repeat(1000) },
  { kind: 'nflog', group: 1, prefix: 'API0|knp/default/a' },
  { kind: 'limit-packet-rate', perSecond: 10_000, burst: 10_000, mark: 0x80000 },
  { kind: 'limit-connections', max: 4_294_967_295 },
];

describe.each([...MODES])('samples in mode %s', (mode) => {
  describe.each(FAMILIES)('IPv%i', (family) => {
    const address = family === 4 ? '10.1.2.3' : 'fd00::3';

    it('every match and comment form', async () => {
      const rules = sampleMatches(family).map(
        (match): Rule => ({
          match,
          action: { kind: 'set-mark', mask: 0x10000 },
          comments: ["it's", 'a "té🙂st"\n', 'x'.repeat(300)],
        }),
      );
      const outRule: Rule = { match: [{ kind: 'out-interface', name: 'cali', wildcard: true }] };
      await load(mode, family, new Map([['filter', contentOf('FORWARD', [...rules, outRule, { match: [] }])]]));
    });

    it('every action of filter', async () => {
      const rules = FILTER_ACTIONS.map((action): Rule => ({ match: [], action }));
      await load(mode, family, new Map([['filter', contentOf('FORWARD', rules, ['cali-target'])]]));
    });

    it('every action of nat, raw and mangle', async () => {
      const raw: Rule[] = [
        { match: [{ kind: 'rpf-failed' }], action: { kind: 'drop' } },
        { match: [], action: { kind: 'notrack' } },
      ];
      const dnat: Rule[] = [
        { match: [], action: { kind: 'dnat', address } },
        { match: [{ kind: 'protocol', protocol: 'tcp' }], action: { kind: 'dnat', address, port: 8775 } },
      ];
      const snat: Rule[] = [
        {
          match: [{ kind: 'source-address-type', type: 'LOCAL', limitInterfaceOut: true, negated: true }],
          action: { kind: 'masquerade' },
        },
        { match: [], action: { kind: 'snat', address } },
        { match: [{ kind: 'protocol', protocol: 'tcp' }], action: { kind: 'snat', address, ports: '1024-2047' } },
        { match: [{ kind: 'protocol', protocol: 'udp' }], action: { kind: 'masquerade', ports: '1024-2047' } },
      ];
      const dscp: Rule[] = [{ match: [], action: { kind: 'dscp', value: 63 } }];
      await load(mode, family, new Map([['raw', contentOf('PREROUTING', raw)]]));
      await load(mode, family, new Map([['nat', contentOf('PREROUTING', dnat)]]));
      await load(mode, family, new Map([['nat', contentOf('POSTROUTING', snat)]]));
      await load(mode, family, new Map([['mangle', contentOf('POSTROUTING', dscp)]]));
    });

    it('static chains with everything switched on', async () => {
      const config: Partial<DataplaneConfig> = {
        filterDenyAction: { iptables: 'REJECT', nftables: 'REJECT' },
        filterAllowAction: { iptables: 'RETURN', nftables: 'RETURN' },
        defaultEndpointToHostAction: 'REJECT',
        serviceLoopPrevention: 'Reject',
        wireguardEnabled: true,
        wireguardEnabledV6: true,
        wireguardHostEncryptionEnabled: true,
        istioAmbientMode: true,
        openstack: true,
        metadataAddr: '10.9.9.9',
        ipInIpTunnelAddr: '10.65.1.1',
        ipv4VXLANTunnelAddr: '10.65.1.2',
        ipv6VXLANTunnelAddr: 'fd00:65::2',
        interfacePrefixes: ['cali', 'tap'],
        failsafeInboundHostPorts: [{ protocol: 'tcp', port: 22, net: '10.0.0.0/8' }],
      };
      const backend = mode === 'nftables' ? 'nftables' : 'iptables';
      const environment = testEnvironment({
        backend,
        ipvs: true,
        ipipEnabled: true,
        vxlanEnabled: true,
        vxlanEnabledV6: true,
      });
      const renderer = createRuleRenderer({ family, backend, config: testConfig(config), environment });
      const hosts = ['eth0', 'eth1', 'any-interface-at-all'];
      const host = { tiers: [], untrackedTiers: [], preDnatTiers: [], forwardTiers: [], profileIds: [] };
      const hostInputs = hosts.map((interfaceName) => ({ interfaceName, ...host }));
      const workloads = ['cali1', 'cali12', 'tap3'];
      const dispatch = renderer.workloadDispatch(workloads);
      const endpointChains: Readonly<
        Record<TableName, TableContent['chains'] extends Map<string, infer C> ? C[] : never>
      > = {
        raw: [renderer.rpfSkipChain(new Map([['cali1', [address]]])), ...renderer.hostRawDispatch([]).chains],
        mangle: [
          renderer.dscpChain([{ address, dscp: 4 }]),
          ...hostInputs.flatMap((input) => renderer.hostMangleChains(input)),
          ...renderer.hostMangleDispatch(hosts, []).chains,
        ],
        nat: [renderer.natOutgoingChain(true), ...renderer.floatingIpChains(new Map(), new Map())],
        filter: [
          renderer.cidrBlockChain([address]),
          ...workloads.flatMap((interfaceName) => [
            ...renderer.workloadChains({ interfaceName, adminUp: true, tiers: [], profileIds: [] }),
          ]),
          ...hostInputs.flatMap((input) => renderer.hostFilterChains(input)),
          ...dispatch.chains,
          ...renderer.hostFilterDispatch(hosts).chains,
          ...renderer.endpointMarkDispatch(workloads, hosts).chains,
        ],
      };
      const contents = new Map(
        TABLES.map((table): [TableName, TableContent] => {
          const { chains, inserted, appended } = renderer.staticTable(table);
          const all = [...chains, ...endpointChains[table]];
          const maps = table === 'filter' ? dispatch.maps : [];
          return [table, { chains: new Map(all.map((each) => [each.name, each])), maps, inserted, appended }];
        }),
      );
      await load(mode, family, contents);
    });
  });
});

describe('differences.md row 2: nft filter OUTPUT of a host', () => {
  let space: Namespace;

  beforeAll(async () => {
    space = await createNamespace('rules-dnat');
    const renderer = createRuleRenderer({
      family: 4,
      backend: 'nftables',
      config: testConfig(),
      environment: testEnvironment({ backend: 'nftables' }),
    });
    const output = renderer.staticTable('filter').chains.find((chain) => chain.name === 'cali-OUTPUT');
    if (output === undefined) throw new Error('no cali-OUTPUT');
    const policy: Rule[] = [{ match: [], action: { kind: 'drop' } }];
    const content: TableContent = {
      chains: new Map([
        [output.name, output],
        ['cali-to-host-endpoint', { name: 'cali-to-host-endpoint', rules: policy }],
      ]),
      maps: [],
      inserted: new Map([['OUTPUT', [{ match: [], action: { kind: 'jump', chain: 'cali-OUTPUT' } }]]]),
      appended: new Map(),
    };
    const others = [
      'add table ip other',
      'add chain ip other raw { type filter hook output priority -300; }',
      'add rule ip other raw udp dport 1001 notrack',
      'add chain ip other nat { type nat hook output priority -100; }',
      'add rule ip other nat udp dport 1002 dnat to 127.0.0.1:1003',
    ];
    await space.run(['nft', '-f', '-'], {
      input: `${nftText(new Map([['filter', content]]), 4)}${others.join('\n')}\n`,
    });
  });

  afterAll(async () => {
    await space.remove();
  });

  /** Packets that host endpoint policy has seen so far. */
  async function dropped(): Promise<number> {
    const text = await space.run(['nft', 'list', 'chain', 'ip', 'calico', 'filter-cali-to-host-endpoint']);
    return Number(/counter packets (\d+)/.exec(text)?.[1]);
  }

  it.each([
    ['a tracked packet meets policy', 1000, 1],
    ['a packet without conntrack entry meets policy', 1001, 1],
    ['a DNATed packet is left to mangle POSTROUTING', 1002, 0],
  ])('%s', async (_name, port, expected) => {
    const before = await dropped();
    // The send may fail with EPERM, which is what a dropped packet of one's own looks like.
    await space.run(['bash', '-c', `echo x > /dev/udp/127.0.0.1/${port}`], { reject: false });
    expect((await dropped()) - before).toBe(expected);
  });
});
