// Endpoint chains, dispatch, groups and endpoint marks where the recordings have no example.
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../src/model/chain.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../../../src/model/config.js';
import type { Backend } from '../../../src/model/family.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import { type PolicyID, PolicyIDSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../../src/rules/create-rule-renderer.js';
import { EndpointMarks } from '../../../src/rules/endpoint-marks.js';
import { allocateMarkBits } from '../../../src/rules/mark-bits.js';
import { ANY_INTERFACE, type PolicyGroup, type RuleRenderer } from '../../../src/rules/renderer.js';
import { renderBody } from '../../../src/tables/iptables/render.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';

const HOST = { tiers: [], untrackedTiers: [], preDnatTiers: [], forwardTiers: [], profileIds: [] };

function renderer(
  overrides: Partial<DataplaneConfig> = {},
  environment: Partial<DataplaneEnvironment> = {},
  backend: Backend = 'iptables',
): RuleRenderer {
  const config = testConfig(overrides);
  return createRuleRenderer({ family: 4, backend, config, environment: testEnvironment({ backend, ...environment }) });
}

function byName(a: Chain, b: Chain): number {
  return a.name < b.name ? -1 : 1;
}

/** Chains as text, one line a rule, comments last in brackets. */
function show(chains: readonly Chain[]): string[] {
  return chains.flatMap((chain) => [
    `${chain.name}:`,
    ...chain.rules.map(({ comments, ...bare }) => {
      const text = renderBody(bare, { family: 4, features: MODERN_FEATURES }).trimStart();
      return comments === undefined ? text : `${text} [${comments.join('; ')}]`;
    }),
  ]);
}

function policy(name: string, kind = 'GlobalNetworkPolicy'): PolicyID {
  return create(PolicyIDSchema, { kind, name });
}

function group(...policies: readonly PolicyID[]): PolicyGroup {
  return { direction: 'ingress', selector: 'all()', policies };
}

describe('a * host endpoint', () => {
  it('is the default of the filter dispatch, also in child chains', () => {
    const { chains } = renderer().hostFilterDispatch([ANY_INTERFACE, 'eth1', 'eth0', 'lo']);
    expect(show(chains).slice(0, 9)).toEqual([
      'cali-from-host-endpoint-e:',
      '--in-interface eth0 --goto cali-fh-eth0',
      '--in-interface eth1 --goto cali-fh-eth1',
      '--goto cali-fh-any-interface-at-all',
      'cali-from-host-endpoint:',
      '--in-interface e+ --goto cali-from-host-endpoint-e',
      '--in-interface lo --goto cali-fh-lo',
      '--goto cali-fh-any-interface-at-all',
      'cali-to-host-endpoint-e:',
    ]);
  });

  it('spares traffic to local workloads in mangle only', () => {
    const plain = renderer({ interfacePrefixes: ['cali', 'tap'] });
    expect(show(plain.hostMangleDispatch([ANY_INTERFACE], []).chains)).toEqual([
      'cali-from-host-endpoint:',
      'cali-to-host-endpoint:',
      '--out-interface cali+ --jump RETURN [Skip egress WHEP policy for traffic to local workload]',
      '--out-interface tap+ --jump RETURN [Skip egress WHEP policy for traffic to local workload]',
      '--goto cali-th-any-interface-at-all',
    ]);
    expect(show(plain.hostMangleDispatch([], [ANY_INTERFACE]).chains)).toEqual([
      'cali-from-host-endpoint:',
      '--goto cali-fh-any-interface-at-all',
      'cali-to-host-endpoint:',
    ]);
  });

  it('has no part in raw and in the endpoint mark dispatch', () => {
    const plain = renderer({}, { ipvs: true });
    expect(show(plain.hostRawDispatch([ANY_INTERFACE]).chains)).toEqual([
      'cali-from-host-endpoint:',
      'cali-to-host-endpoint:',
    ]);
    expect(show(plain.endpointMarkDispatch([], [ANY_INTERFACE]).chains)).toEqual([
      'cali-set-endpoint-mark:',
      '--in-interface cali+ --jump DROP [Unknown endpoint]',
      '--jump MARK --set-mark 0x200000/0xffe00000 [Non-Cali endpoint mark]',
      'cali-from-endpoint-mark:',
      '--jump DROP [Unknown interface]',
    ]);
  });
});

describe('workload dispatch', () => {
  it('a name that is the common prefix of all has a bin of its own', () => {
    const [child, root] = renderer().workloadDispatch(['cali1', 'cali', 'cali12']).chains;
    expect(show(child === undefined || root === undefined ? [] : [child, root])).toEqual([
      'cali-from-wl-dispatch-1:',
      '--in-interface cali1 --goto cali-fw-cali1',
      '--in-interface cali12 --goto cali-fw-cali12',
      '--jump DROP [Unknown interface]',
      'cali-from-wl-dispatch:',
      '--in-interface cali --goto cali-fw-cali',
      '--in-interface cali1+ --goto cali-from-wl-dispatch-1',
      '--jump DROP [Unknown interface]',
    ]);
  });

  it('kept up name by name, has the chains that all names at once give', () => {
    const name = fc.stringMatching(/^c?[a-c]{1,4}$/);
    const step = fc.record({ added: fc.array(name, { maxLength: 4 }), removed: fc.array(name, { maxLength: 4 }) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1 }), (steps) => {
        const plain = renderer();
        const tree = plain.createWorkloadDispatchTree();
        const names = new Set<string>();
        const kept = new Map<string, Chain>();
        for (const { added, removed } of steps) {
          const gone = removed.filter((name) => !added.includes(name));
          for (const name of gone) names.delete(name);
          for (const name of added) names.add(name);
          const change = tree.change(added, gone);
          for (const chain of change.changed) {
            expect(kept.get(chain.name)).not.toEqual(chain);
            kept.set(chain.name, chain);
          }
          for (const name of change.gone) expect(kept.delete(name)).toBe(true);
          const { chains } = plain.workloadDispatch(names);
          expect([...kept.values()].sort(byName)).toEqual([...chains].sort(byName));
        }
      }),
    );
  });

  it('kept up name by name, hands out the bin of a name alone', () => {
    const tree = renderer().createWorkloadDispatchTree();
    tree.change(['cali10', 'cali11', 'cali20', 'cali21'], []);
    const { changed, gone } = tree.change(['cali22'], ['cali99']);
    expect(changed.map((chain) => chain.name)).toEqual(['cali-from-wl-dispatch-2', 'cali-to-wl-dispatch-2']);
    expect(gone).toEqual([]);
    expect(tree.change(['cali22'], ['cali23'])).toEqual({ changed: [], gone: [] });
  });

  it('is a verdict map in nft', () => {
    const { maps } = renderer({}, {}, 'nftables').workloadDispatch(['cali2', 'cali1']);
    expect(maps.map(({ name, elements }) => [name, [...elements]])).toEqual([
      [
        'cali-from-wl-dispatch',
        [
          ['cali1', 'cali-fw-cali1'],
          ['cali2', 'cali-fw-cali2'],
        ],
      ],
      [
        'cali-to-wl-dispatch',
        [
          ['cali1', 'cali-tw-cali1'],
          ['cali2', 'cali-tw-cali2'],
        ],
      ],
    ]);
  });

  it('gives the same chains for any order and repetition of names', () => {
    const plain = renderer();
    const name = fc.stringMatching(/^[a-c]{1,5}$/);
    fc.assert(
      fc.property(fc.array(name), fc.array(name), (names, again) => {
        const all = [...names, ...again];
        expect(plain.workloadDispatch(all.reverse())).toEqual(plain.workloadDispatch(new Set(all)));
      }),
    );
  });
});

describe('policy groups', () => {
  it('return every fifth policy once there is a verdict', () => {
    const policies = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => policy(name));
    const rules = show([renderer().groupChain(group(...policies))]).slice(1);
    expect(rules).toEqual([
      '--jump cali-pi-gnp/a',
      ...['b', 'c', 'd', 'e'].map((name) => `-m mark --mark 0/0x30000 --jump cali-pi-gnp/${name}`),
      '-m mark ! --mark 0/0x30000 --jump RETURN [Return on verdict]',
      '--jump cali-pi-gnp/f',
    ]);
  });

  it('of one enforced policy are inlined, of staged ones only leave the tier open', () => {
    const plain = renderer();
    const staged = policy('s', 'StagedGlobalNetworkPolicy');
    expect(plain.groupNeedsChain(group(staged, policy('a')))).toBe(false);
    expect(plain.groupNeedsChain(group(staged, policy('a'), policy('b')))).toBe(true);
    const tier = { name: 't', defaultAction: 'Deny', ingress: [group(staged)], egress: [] };
    const [to] = plain.workloadChains({ interfaceName: 'cali1', adminUp: true, tiers: [tier], profileIds: ['p'] });
    expect(show(to === undefined ? [] : [to]).slice(3)).toEqual([
      '--jump MARK --set-mark 0/0x30000',
      '--jump MARK --set-mark 0/0x20000 [Start of tier t]',
      '--jump cali-pri-p',
      '-m mark --mark 0x10000/0x10000 --jump RETURN [Return if profile accepted]',
      '--jump DROP [Drop if no profiles matched]',
    ]);
  });
});

describe('endpoint chains', () => {
  it('of a workload that is down deny everything', () => {
    const input = { interfaceName: 'cali1', adminUp: false, tiers: [], profileIds: ['p'] };
    expect(show(renderer().workloadChains(input))).toEqual([
      'cali-tw-cali1:',
      '--jump DROP [Endpoint admin disabled]',
      'cali-fw-cali1:',
      '--jump DROP [Endpoint admin disabled]',
    ]);
  });

  it('mark known connections when the allow action is RETURN', () => {
    const plain = renderer({ filterAllowAction: { iptables: 'RETURN', nftables: 'RETURN' } });
    const [chain] = plain.hostFilterChains({ interfaceName: 'eth0', ...HOST });
    expect(show(chain === undefined ? [] : [chain]).slice(1, 3)).toEqual([
      '-m conntrack --ctstate RELATED,ESTABLISHED --jump MARK --set-mark 0x10000/0x10000',
      '-m conntrack --ctstate RELATED,ESTABLISHED --jump RETURN',
    ]);
  });

  it('exist in raw and mangle PREROUTING only where a tier calls for them', () => {
    const plain = renderer();
    const names = (chains: readonly Chain[]): string[] => chains.map(({ name }) => name);
    const tier = { name: 't', defaultAction: '', ingress: [group(policy('a'))], egress: [] };
    const bare = { interfaceName: 'eth0', ...HOST };
    expect(names(plain.hostRawChains(bare))).toEqual([]);
    expect(names(plain.hostMangleChains(bare))).toEqual(['cali-th-eth0']);
    expect(names(plain.hostRawChains({ ...bare, untrackedTiers: [tier] }))).toEqual(['cali-th-eth0', 'cali-fh-eth0']);
    expect(names(plain.hostMangleChains({ ...bare, preDnatTiers: [tier] }))).toEqual(['cali-th-eth0', 'cali-fh-eth0']);
  });
});

describe('EndpointMarks', () => {
  const marks = (mask: number): EndpointMarks =>
    new EndpointMarks(allocateMarkBits(testConfig({ markMask: { iptables: mask, nftables: mask } }), 'iptables'));

  it('never gives two interfaces one id, nor the id of foreign endpoints', () => {
    const few = marks(0xff0000);
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => few.markOf(name));
    // Three bits: 8 positions less the zero and the reserved one.
    expect(new Set(ids.slice(0, 6)).size).toBe(6);
    expect(ids.slice(0, 6)).not.toContain(null);
    expect(ids).not.toContain(0x200000);
    expect(ids[6]).toBeNull();
  });

  it('keeps an id until the interface is gone, then gives it away', () => {
    const few = marks(0xff0000);
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) few.markOf(name);
    const kept = few.markOf('a');
    few.retain(new Set(['a', 'b', 'c', 'd', 'e']));
    expect(few.markOf('a')).toBe(kept);
    expect(few.markOf('g')).not.toBeNull();
    expect(few.markOf('f')).toBeNull();
  });

  it('closes an endpoint for which no id is left', () => {
    const plain = renderer({ markMask: { iptables: 0x3f0000, nftables: 0x3f0000 } }, { ipvs: true });
    const chains = plain.hostFilterChains({ interfaceName: 'eth0', ...HOST });
    const setMark = chains.find(({ name }) => name === 'cali-sm-eth0');
    expect(setMark?.refused).toContain('all endpoint marks are taken');
    expect(setMark?.rules.map(({ action }) => action?.kind)).toEqual(['drop']);
  });
});

describe('ports that are set to none', () => {
  const natTexts = (overrides: Partial<DataplaneConfig>): string[] =>
    show(renderer(overrides, { vxlanEnabled: true }).staticTable('nat').chains);

  it('VXLANPort leaves all source ports to masquerading', () => {
    const tunnel = { ipv4VXLANTunnelAddr: '10.0.0.1' };
    const masquerades = (vxlanPort: number): string[] =>
      natTexts({ ...tunnel, vxlanPort }).filter((text) => text.includes('MASQUERADE'));
    expect(masquerades(4789)).toHaveLength(2);
    expect(masquerades(0)).toHaveLength(1);
    expect(masquerades(0)[0]).not.toContain('--to-ports');
  });

  it('MetadataPort keeps the port of the request', () => {
    const openstack = { openstack: true, metadataAddr: '10.9.9.9' };
    expect(natTexts({ ...openstack, metadataPort: 0 }).at(2)).toContain('--to-destination 10.9.9.9');
    expect(natTexts({ ...openstack, metadataPort: 0 }).join('\n')).not.toContain('10.9.9.9:');
    expect(natTexts({ ...openstack, metadataPort: 8775 }).join('\n')).toContain('--to-destination 10.9.9.9:8775');
  });
});
