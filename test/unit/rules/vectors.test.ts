// The vectors of dataplane.md 3.11 and 3.12, which were made by running Felix's own code.
import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../src/model/chain.js';
import type { DataplaneConfig } from '../../../src/model/config.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import {
  endpointChainName,
  policyChainName,
  policyGroupChainName,
  profileChainName,
} from '../../../src/model/names.js';
import {
  PolicyIDSchema,
  PolicySchema,
  type Rule as ProtoRule,
  RuleSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../../src/rules/create-rule-renderer.js';
import { fnv1 } from '../../../src/rules/endpoint-marks.js';
import { ruleNflogPrefix, tierNflogPrefix } from '../../../src/rules/nflog.js';
import type { RuleRenderer } from '../../../src/rules/renderer.js';
import * as iptables from '../../../src/tables/iptables/hash.js';
import * as nftables from '../../../src/tables/nftables/hash.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';

const IPT = { family: 4, features: MODERN_FEATURES } as const;
const NFT = { family: 4, features: MODERN_FEATURES, layer: 'filter' } as const;

function renderer(backend: 'iptables' | 'nftables', overrides: Partial<DataplaneConfig> = {}): RuleRenderer {
  return createRuleRenderer({
    family: 4,
    backend,
    config: testConfig(overrides),
    environment: testEnvironment({ backend }),
  });
}

function named(chains: readonly Chain[], name: string): Chain {
  const chain = chains.find((each) => each.name === name);
  if (chain === undefined) throw new Error(`no chain ${name}`);
  return chain;
}

function hashes(chain: Chain): string[] {
  return iptables.ruleHashes(chain.name, chain.rules, IPT);
}

describe('iptables hashes of static rules', () => {
  const plain = renderer('iptables');
  const filter = plain.staticTable('filter');

  it.each([
    ['INPUT', 'Cz_u1IQiXIMmKD4c'],
    ['FORWARD', 'wUHhoiAYhphO9Mso'],
    ['OUTPUT', 'tVnHkvAo15HuiPy0'],
  ])('filter %s hook', (hook, hash) => {
    expect(iptables.ruleHashes(hook, filter.inserted.get(hook) ?? [], IPT)).toEqual([hash]);
  });

  it('PREROUTING hook and the appended rules of FORWARD and POSTROUTING', () => {
    const raw = plain.staticTable('raw').inserted.get('PREROUTING') ?? [];
    expect(iptables.ruleHashes('PREROUTING', raw, IPT)).toEqual(['6gwbT8clXdHdC1b1']);
    const forward = filter.appended.get('FORWARD') ?? [];
    const name = iptables.appendedChainName('FORWARD');
    expect(iptables.ruleHashes(name, forward, IPT)).toEqual(['S93hcgKJrXEqnTfs', 'mp77cMpurHhyjLrM']);
    const postrouting = plain.staticTable('nat').appended.get('POSTROUTING') ?? [];
    const natName = iptables.appendedChainName('POSTROUTING');
    expect(iptables.ruleHashes(natName, postrouting, IPT)).toEqual(['0i8pjzKKPyA34aQD']);
    expect(iptables.ruleHashes('POSTROUTING', postrouting, IPT)).toEqual(['O3lYWMrLQYEMJtB5']);
  });

  it('failsafes, workload to host, forward, nat outgoing', () => {
    for (const table of ['raw', 'mangle', 'filter'] as const) {
      expect(hashes(named(plain.staticTable(table).chains, 'cali-failsafe-in'))[0]).toBe('wWFQM43tJU7wwnFZ');
    }
    expect(hashes(named(filter.chains, 'cali-wl-to-host'))).toEqual(['Ee9Sbo10IpVujdIY', 'eFOMW3jAdcq1gnVZ']);
    expect(hashes(named(filter.chains, 'cali-FORWARD'))[0]).toBe('W_vvds1Nw3n9QE2f');
    expect(hashes(plain.natOutgoingChain(true))).toEqual(['W_qq_N2KSTWyCvrX']);
  });

  it('dispatch over two names with a wildcard bin', () => {
    const { chains } = plain.workloadDispatch(['cali2', 'cali12', 'cali11']);
    expect(hashes(named(chains, 'cali-to-wl-dispatch'))).toEqual([
      'svNUGuuCd7LCNEXq',
      'SKYBWtVelqCrsPL9',
      'jybgjFsrCbcMUeBP',
    ]);
  });

  it('empty chain of a policy', () => {
    const id = create(PolicyIDSchema, { kind: 'NetworkPolicy', namespace: 'default', name: 'allow-nginx' });
    const chain = plain.policyChains(id, create(PolicySchema))[1];
    expect(chain?.name).toBe('cali-po-_yRQPlfN_6_ZnKAy2_VE');
    expect(chain === undefined ? [] : hashes(chain)).toEqual(['kJUOnuE7ci9EaYah']);
  });
});

describe('nftables hashes of static rules', () => {
  const plain = renderer('nftables');
  const filter = plain.staticTable('filter');

  it('hooks and appended rules', () => {
    const hook = (name: string): string[] => nftables.ruleHashes(name, filter.inserted.get(name) ?? [], NFT);
    expect(hook('INPUT')).toEqual(['H0S9z2pOh43UL0cc']);
    expect(hook('FORWARD')).toEqual(['dpfqBgJrpRwlrqw1']);
    expect(hook('OUTPUT')).toEqual(['cxN7yDysHHPQSuUC']);
    const name = nftables.appendedChainName('FORWARD');
    const appended = nftables.ruleHashes(name, filter.appended.get('FORWARD') ?? [], NFT);
    expect(appended).toEqual(['yp7iNUYNEhDmKF6E', 'fXaqbwKfGHq5dvHP']);
  });

  it('workload to host and dispatch by verdict map', () => {
    const toHost = named(filter.chains, 'cali-wl-to-host');
    expect(nftables.ruleHashes(toHost.name, toHost.rules, NFT)).toEqual(['Ny8jNeS1ncqmgkwL', 'ugXF1ghMPV60mSSX']);
    const dispatch = named(plain.workloadDispatch([]).chains, 'cali-from-wl-dispatch');
    const { hashes } = nftables.renderChain(dispatch.name, dispatch.rules, NFT);
    expect(hashes).toEqual(['Lui9n9_J-BlSLUtk', 'KMISEjprqaGFiicp']);
    expect(nftables.ruleComments(dispatch.rules, hashes)[1]).toBe('cali:KMISEjprqaGFiicp; Unknown interface');
  });
});

describe('policy rules', () => {
  const id = create(PolicyIDSchema, { kind: 'GlobalNetworkPolicy', name: 'p' });
  const rules = (proto: Partial<ProtoRule>, overrides: Partial<DataplaneConfig> = {}): Chain => {
    const policy = create(PolicySchema, { inboundRules: [create(RuleSchema, proto as object)] });
    const chain = renderer('iptables', overrides).policyChains(id, policy)[0];
    if (chain === undefined) throw new Error('no chain');
    return chain;
  };

  it('deny with blocks on both sides and one negated net, text of dataplane.md 3.5', () => {
    const chain = rules({
      action: 'deny',
      srcNet: ['10.0.0.0/8', '192.168.0.0/16'],
      notSrcNet: ['10.1.0.0/16'],
      dstNet: ['1.1.1.1', '2.2.2.2'],
    });
    const { texts } = iptables.renderChain(chain.name, chain.rules, IPT);
    const bare = texts.map((text) => text.replace(/(?:-m comment --comment "[^"]*" ?)+/, ''));
    expect(bare).toEqual([
      '--jump MARK --set-mark 0x0/0x180000',
      '--source 10.0.0.0/8 --jump MARK --set-mark 0x80000/0x80000',
      '--source 192.168.0.0/16 --jump MARK --set-mark 0x80000/0x80000',
      '--destination 1.1.1.1 --jump MARK --set-mark 0x100000/0x100000',
      '--destination 2.2.2.2 --jump MARK --set-mark 0x100000/0x100000',
      '-m mark --mark 0/0x100000 --jump MARK --set-mark 0/0x80000',
      '! --source 10.1.0.0/16 -m mark --mark 0x80000/0x80000 --jump MARK --set-mark 0x40000/0x40000',
      '-m mark --mark 0x40000/0x40000 --jump DROP',
    ]);
  });
});

describe('names', () => {
  it('chain names are shortened at 28 bytes in iptables', () => {
    const policy = { kind: 'NetworkPolicy', namespace: 'default', name: 'allow-nginx' };
    expect(policyChainName('ingress', policy, 'iptables')).toBe('cali-pi-_yRQPlfN_6_ZnKAy2_VE');
    expect(policyChainName('ingress', policy, 'nftables')).toBe('cali-pi-np/default/allow-nginx');
    expect(endpointChainName('cali-thfw-', 'any-interface-at-all', 'iptables')).toBe('cali-thfw-_Nqh4HyA73udmyanQI');
    expect(endpointChainName('cali-fh-', 'any-interface-at-all', 'iptables')).toBe('cali-fh-any-interface-at-all');
    const profile = 'kns.a-very-long-namespace-name';
    expect(profileChainName('ingress', profile, 'iptables')).toBe('cali-pri-_neO7P1RQR7KOVLZoM6');
    expect(endpointChainName('cali-tw-', '', 'iptables')).toBe('cali-tw-_');
  });

  it('group chain names cover selector, direction and policies', () => {
    const policies = ['a', 'b'].map((name) => ({ kind: 'GlobalNetworkPolicy', namespace: '', name }));
    expect(policyGroupChainName('ingress', 'all()', policies)).toBe('cali-gi-js-B7zioflPRrAki3OCu');
  });

  it('NFLOG prefixes are shortened at 63 characters', () => {
    const id = `knp/${'n'.repeat(63)}/${'p'.repeat(20)}`;
    const expected = 'DPI0|knp/n_ndswdfN1_LBfkcTZqCxIj3dyk-VdrvS1eWmPp9M_w_pppppppppp';
    expect(ruleNflogPrefix('D', 'policy', 'ingress', 0, id)).toBe(expected);
    expect(expected).toHaveLength(63);
    expect(tierNflogPrefix('P', 'egress', 'default')).toBe('PPE|default');
  });

  it.each([
    ['cali1234567890a', 0x716d3418, 1048],
    ['eth0', 0x08a3dfa2, 1954],
  ])('endpoint mark of %s', (name, hash, position) => {
    expect(fnv1(name)).toBe(hash);
    expect(hash % 2048).toBe(position);
  });
});
