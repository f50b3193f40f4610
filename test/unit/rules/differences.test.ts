// Where rendering differs from Felix on purpose; rows of docs/differences.md.
import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../src/model/chain.js';
import type { DataplaneConfig } from '../../../src/model/config.js';
import type { Backend, Family, TableName } from '../../../src/model/family.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import {
  type Policy,
  PolicyIDSchema,
  PolicySchema,
  type QoSControls,
  QoSControlsSchema,
  RuleSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../../src/rules/create-rule-renderer.js';
import type { RuleRenderer, WorkloadChainsInput } from '../../../src/rules/renderer.js';
import * as iptables from '../../../src/tables/iptables/hash.js';
import * as nftables from '../../../src/tables/nftables/hash.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';

const POLICY_ID = create(PolicyIDSchema, { kind: 'GlobalNetworkPolicy', name: 'p' });

function renderer(backend: Backend, overrides: Partial<DataplaneConfig> = {}, family: Family = 4): RuleRenderer {
  const environment = testEnvironment({ backend });
  return createRuleRenderer({ family, backend, config: testConfig(overrides), environment });
}

function nftTexts(chain: Chain | undefined, layer: TableName = 'filter', family: Family = 4): readonly string[] {
  if (chain === undefined) throw new Error('no chain');
  return nftables.renderChain(chain.name, chain.rules, { family, features: MODERN_FEATURES, layer }).texts;
}

function iptablesTexts(chain: Chain | undefined, family: Family = 4): string[] {
  if (chain === undefined) throw new Error('no chain');
  const { texts } = iptables.renderChain(chain.name, chain.rules, { family, features: MODERN_FEATURES });
  return texts.map((text) => text.replace(/(?:-m comment --comment "[^"]*" ?)+/, ''));
}

function inbound(rule: object): Policy {
  return create(PolicySchema, { inboundRules: [create(RuleSchema, rule)] });
}

function named(chains: readonly Chain[], name: string): Chain | undefined {
  return chains.find((chain) => chain.name === name);
}

describe('row 1: third positive match block', () => {
  const threeBlocks = {
    action: 'allow',
    protocol: { numberOrName: { case: 'name', value: 'tcp' } },
    dstPorts: Array.from({ length: 16 }, (_, index) => ({ first: index * 2, last: index * 2 })),
    srcNet: ['10.0.0.0/8', '11.0.0.0/8'],
    dstNet: ['10.1.0.0/16', '10.2.0.0/16'],
  };

  it('starts with Scratch1 clear, so that the second block cannot stand in for it', () => {
    const texts = iptablesTexts(renderer('iptables').policyChains(POLICY_ID, inbound(threeBlocks))[0]);
    const closing = '-m mark --mark 0/0x100000 --jump MARK --set-mark 0/0x80000';
    const afterSecond = texts.indexOf(closing) + 1;
    expect(texts[afterSecond]).toBe('--jump MARK --set-mark 0/0x100000');
    expect(texts[afterSecond + 1]).toBe('--destination 10.1.0.0/16 --jump MARK --set-mark 0x100000/0x100000');
    expect(texts.lastIndexOf(closing)).toBeGreaterThan(afterSecond + 1);
  });

  it('changes nothing for rules with two blocks', () => {
    const texts = iptablesTexts(
      renderer('iptables').policyChains(POLICY_ID, inbound({ ...threeBlocks, dstNet: [] }))[0],
    );
    expect(texts).not.toContain('--jump MARK --set-mark 0/0x100000');
  });
});

describe('row 2: host endpoint policy in filter OUTPUT', () => {
  it('nft sends DNATed packets away and all others, tracked or not, to policy', () => {
    const chain = named(renderer('nftables').staticTable('filter').chains, 'cali-OUTPUT');
    expect(nftTexts(chain).slice(-3)).toEqual([
      'ct status dnat counter return',
      'counter jump filter-cali-to-host-endpoint',
      'meta mark & 0x10000 == 0x10000 counter accept',
    ]);
  });
});

describe('row 3: ICMP type with code in nft', () => {
  const rule = {
    action: 'allow',
    icmp: { case: 'icmpTypeCode', value: { type: 3, code: 1 } },
    notIcmp: { case: 'notIcmpTypeCode', value: { type: 8, code: 0 } },
  };

  it.each([
    [4, 'icmp'],
    [6, 'icmpv6'],
  ] as const)('is a pair, and its negation excludes the pair, for IPv%i', (family, module) => {
    const chain = renderer('nftables', {}, family).policyChains(POLICY_ID, inbound(rule))[0];
    expect(nftTexts(chain, 'filter', family)[0]).toBe(
      `${module} type . ${module} code { 3 . 1 } ${module} type . ${module} code != { 8 . 0 } ` +
        'counter meta mark set mark or 0x10000',
    );
  });
});

describe('row 4: wildcard of the NAT interface filter', () => {
  const overrides = { iptablesNATOutgoingInterfaceFilter: 'eth+' };

  it('is + in iptables and * in nft', () => {
    expect(iptablesTexts(renderer('iptables', overrides).natOutgoingChain(true))[0]).toContain('--out-interface eth+ ');
    expect(nftTexts(renderer('nftables', overrides).natOutgoingChain(true), 'nat')[0]).toContain('oifname eth* ');
  });
});

describe('row 5: REJECT as deny action', () => {
  const overrides = { filterDenyAction: { iptables: 'REJECT', nftables: 'REJECT' } } as const;
  const host = {
    interfaceName: 'eth0',
    tiers: [],
    untrackedTiers: [],
    preDnatTiers: [
      {
        name: 't',
        defaultAction: 'Deny',
        ingress: [{ direction: 'ingress' as const, selector: '', policies: [POLICY_ID] }],
        egress: [],
      },
    ],
    forwardTiers: [],
    profileIds: [],
  };
  const kinds = (chains: readonly Chain[]): string[] =>
    chains.flatMap((chain) => chain.rules.map((rule) => rule.action?.kind ?? ''));

  it('stays out of raw and mangle in iptables', () => {
    const plain = renderer('iptables', overrides);
    for (const table of ['raw', 'mangle'] as const)
      expect(kinds(plain.staticTable(table).chains)).not.toContain('reject');
    expect(kinds(plain.hostMangleChains(host))).not.toContain('reject');
    const policy = plain.policyChains(POLICY_ID, inbound({ action: 'deny' }));
    expect(kinds(policy)).toContain('reject');
    expect(kinds(plain.inTable('filter', policy))).toContain('reject');
    expect(kinds(plain.inTable('raw', policy))).not.toContain('reject');
    expect(kinds(plain.inTable('mangle', policy))).not.toContain('reject');
  });

  it('stays out of what postrouting reaches in nft, and only there', () => {
    const plain = renderer('nftables', overrides);
    expect(kinds(plain.staticTable('raw').chains)).toContain('reject');
    const [toHost, fromHost] = plain.hostMangleChains(host);
    expect(kinds(toHost === undefined ? [] : [toHost])).not.toContain('reject');
    expect(kinds(fromHost === undefined ? [] : [fromHost])).toContain('reject');
    const deny = create(RuleSchema, { action: 'deny' });
    const both = create(PolicySchema, { inboundRules: [deny], outboundRules: [deny] });
    const [ingress, egress] = plain.inTable('mangle', plain.policyChains(POLICY_ID, both));
    expect(kinds(ingress === undefined ? [] : [ingress])).toContain('reject');
    expect(kinds(egress === undefined ? [] : [egress])).not.toContain('reject');
  });

  it('says in comments what it does', () => {
    const comments = (chains: readonly Chain[]): string =>
      chains.flatMap((chain) => chain.rules.flatMap((rule) => rule.comments ?? [])).join();
    const plain = renderer('iptables', overrides);
    expect(comments(plain.hostFilterChains(host))).toContain('Reject if no profiles matched');
    expect(comments(plain.hostMangleChains(host))).toContain('Drop if no profiles matched');
  });

  it('leaves policy chains alone when the deny action is DROP', () => {
    const plain = renderer('iptables');
    const policy = plain.policyChains(POLICY_ID, inbound({ action: 'deny' }));
    expect(plain.inTable('mangle', policy)).toBe(policy);
  });
});

describe('row 6: DSCP', () => {
  it('has one rule per address, sorted', () => {
    const chain = renderer('iptables').dscpChain([
      { address: '10.0.0.9', dscp: 1 },
      { address: '10.0.0.10', dscp: 2 },
    ]);
    expect(iptablesTexts(chain)).toEqual([
      '--source 10.0.0.10 --jump DSCP --set-dscp 2',
      '--source 10.0.0.9 --jump DSCP --set-dscp 1',
    ]);
  });
});

describe('row 8: order of what comes from maps', () => {
  it('annotations are sorted', () => {
    const policy = inbound({ action: 'allow', metadata: { annotations: { zebra: '1', ant: '2' } } });
    const chain = renderer('iptables').policyChains(POLICY_ID, policy)[0];
    expect(chain?.rules[0]?.comments).toEqual(['ant=2', 'zebra=1', 'GlobalNetworkPolicy p ingress']);
  });

  it('interfaces of cali-rpf-skip are sorted, their prefixes keep their order', () => {
    const prefixes = new Map([
      ['cali2', ['10.0.0.0/8']],
      ['cali1', ['11.0.0.0/8', '10.0.0.0/8']],
    ]);
    expect(iptablesTexts(renderer('iptables').rpfSkipChain(prefixes))).toEqual([
      '--in-interface cali1 --source 11.0.0.0/8 --jump ACCEPT',
      '--in-interface cali1 --source 10.0.0.0/8 --jump ACCEPT',
      '--in-interface cali2 --source 10.0.0.0/8 --jump ACCEPT',
    ]);
  });
});

describe('row 9: NATOutgoingAddress', () => {
  it('is for IPv4 only', () => {
    const overrides = { natOutgoingAddress: '192.168.0.1', natPortRange: { first: 1024, last: 2047 } };
    const texts = (family: Family): string => {
      const chain = renderer('iptables', overrides, family).natOutgoingChain(true);
      return iptablesTexts(chain, family).join('\n');
    };
    expect(texts(4)).toContain('--jump SNAT --to-source 192.168.0.1:1024-2047 --random-fully');
    expect(texts(6)).not.toContain('SNAT');
    expect(texts(6)).toContain('--jump MASQUERADE --to-ports 1024-2047 --random-fully');
  });
});

describe('what cannot be rendered', () => {
  const tcp = { numberOrName: { case: 'name', value: 'tcp' } };

  it.each([
    ['an unknown action', { action: 'explode' }, '"explode" is no action'],
    ['ports without protocol', { action: 'allow', dstPorts: [{ first: 80, last: 80 }] }, 'ports need protocol'],
    [
      'a port range upside down',
      { action: 'allow', protocol: tcp, dstPorts: [{ first: 9, last: 8 }] },
      'no port range',
    ],
    ['a net that is none', { action: 'allow', srcNet: ['10.0.0.0/8 -j ACCEPT'] }, 'no CIDR'],
    ['a set id with a line break', { action: 'allow', srcIpSetIds: ['s:a\n'] }, 'no IP set id'],
    ['protocol 0', { action: 'allow', protocol: { numberOrName: { case: 'number', value: 0 } } }, 'no protocol number'],
    ['an ICMP type out of range', { action: 'allow', icmp: { case: 'icmpType', value: 256 } }, 'no ICMP type'],
  ])('%s makes the policy chain drop everything and leaves the other direction alone', (_name, rule, reason) => {
    for (const backend of ['iptables', 'nftables'] as const) {
      const [ingress, egress] = renderer(backend).policyChains(POLICY_ID, inbound(rule));
      expect(ingress?.refused).toContain(reason);
      expect(ingress?.rules).toHaveLength(1);
      expect(ingress?.rules[0]).toMatchObject({ match: [], action: { kind: 'drop' } });
      expect(egress?.refused).toBeUndefined();
    }
  });

  it.each([
    ['packet rate', { IngressPacketRate: 10_001n, IngressPacketBurst: 5n }],
    ['packet burst', { IngressPacketRate: 10n, IngressPacketBurst: 0n }],
    ['connection limit', { IngressMaxConnections: -1n }],
  ])('a bad %s closes the workload in that direction', (name, controls) => {
    const qosControls: QoSControls = create(QoSControlsSchema, controls);
    const input: WorkloadChainsInput = {
      interfaceName: 'cali1',
      adminUp: true,
      tiers: [],
      profileIds: [],
      qosControls,
    };
    const [to, from] = renderer('iptables').workloadChains(input);
    expect(to?.refused).toContain(name);
    expect(to?.rules.map((rule) => rule.action?.kind)).toEqual(['drop']);
    expect(from?.refused).toBeUndefined();
  });

  it('a quote or line break in the log prefix is replaced', () => {
    const overrides = { logPrefix: 'a"b\n%p' };
    const [ingress] = renderer('iptables', overrides).policyChains(POLICY_ID, inbound({ action: 'log' }));
    expect(ingress?.rules[0]?.action).toEqual({ kind: 'log', prefix: 'a_b_p' });
  });

  it.each(['a b', 'a\n:INPUT ACCEPT', 'a"b', "a'b", 'a\\b', 'a\tb'])(
    'the name %j of a policy, profile or tier ends neither a chain name nor a line',
    (name) => {
      const id = create(PolicyIDSchema, { kind: 'GlobalNetworkPolicy', name });
      const tier = {
        name,
        defaultAction: 'Deny',
        ingress: [{ direction: 'ingress' as const, selector: '', policies: [id] }],
        egress: [],
      };
      const plain = renderer('iptables', { flowLogsEnabled: true, logPrefix: '%t %k %n %p' });
      const policy = create(PolicySchema, {
        tier: name,
        inboundRules: ['allow', 'log'].map((action) => create(RuleSchema, { action })),
      });
      const workload = { interfaceName: 'cali1', adminUp: true, tiers: [tier], profileIds: [name] };
      const chains = [...plain.policyChains(id, policy), ...plain.workloadChains(workload)];
      expect(chains.map((chain) => chain.name).join()).toMatch(/^[\w,-]+$/);
      for (const chain of chains) {
        for (const text of iptablesTexts(chain)) expect(text).toMatch(/^[\w .:/|,=!-]*(?:"[^"\n]*"[\w .:/|,=-]*)?$/);
      }
      expect(chains[2]?.rules.map((rule) => rule.action)).toContainEqual({ kind: 'jump', chain: chains[0]?.name });
    },
  );

  it('a rule of the other family is skipped before it is judged', () => {
    const [ingress] = renderer('iptables').policyChains(POLICY_ID, inbound({ action: 'explode', ipVersion: 6 }));
    expect(ingress?.refused).toBeUndefined();
  });

  it('a mark mask with too few bits ends the start with the parameter named', () => {
    expect(() => renderer('iptables', { markMask: { iptables: 0xf0000, nftables: 0xffff0000 } })).toThrow(
      /IptablesMarkMask 0xf0000 has 4 bits/,
    );
  });

  it('in IPVS mode, a mark mask without a bit for endpoints is too small, for policy would be passed by', () => {
    const make = (mask: number, ipvs: boolean) => () =>
      createRuleRenderer({
        family: 4,
        backend: 'nftables',
        config: testConfig({ markMask: { iptables: mask, nftables: mask } }),
        environment: testEnvironment({ backend: 'nftables', ipvs }),
      });
    expect(make(0x1f0000, false)).not.toThrow();
    expect(make(0x1f0000, true)).toThrow(/NftablesMarkMask 0x1f0000 has 5 bits, but 6 are needed/);
    expect(make(0x3f0000, true)).not.toThrow();
  });
});
