// The text of a set of rule messages in both back ends and families. Read `policy-rules.golden` to see what a rule
// becomes; `vitest -u` writes it anew.
import { create } from '@bufbuild/protobuf';
import { expect, it } from 'vitest';
import type { Backend, Family } from '../../src/model/family.js';
import { MODERN_FEATURES } from '../../src/model/features.js';
import { PolicyIDSchema, PolicySchema, RuleSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../src/rules/create-rule-renderer.js';
import * as iptables from '../../src/tables/iptables/hash.js';
import * as nftables from '../../src/tables/nftables/hash.js';
import { testConfig, testEnvironment } from '../fakes/config.js';

const tcp = { numberOrName: { case: 'name', value: 'tcp' } };
const port = (value: number): object => ({ first: value, last: value });
const manyPorts = Array.from({ length: 16 }, (_, index) => port(index + 1));

const CASES: readonly (readonly [string, object])[] = [
  ['allow everything', { action: 'allow' }],
  ['deny everything', { action: 'deny' }],
  ['pass, old word', { action: 'next-tier' }],
  ['log', { action: 'log', protocol: tcp, dstPorts: [port(23)] }],
  ['protocol by number', { action: 'allow', protocol: { numberOrName: { case: 'number', value: 47 } } }],
  ['not a protocol', { action: 'deny', notProtocol: tcp }],
  ['one net of either family', { action: 'allow', srcNet: ['10.0.0.0/8', 'fd00::/8'] }],
  ['nets of IPv4 only', { action: 'allow', dstNet: ['10.0.0.0/8'] }],
  ['IPv6 only', { action: 'allow', ipVersion: 6 }],
  ['two nets', { action: 'allow', srcNet: ['10.0.0.0/8', '11.0.0.0/8', 'fd00::/16', 'fd01::/16'] }],
  ['negated catch-all', { action: 'allow', notSrcNet: ['0.0.0.0/0', '::/0'] }],
  [
    'net and negated net',
    { action: 'allow', dstNet: ['10.0.0.0/8', 'fd00::/8'], notDstNet: ['10.1.0.0/16', 'fd01::/16'] },
  ],
  ['sixteen ports', { action: 'allow', protocol: tcp, dstPorts: manyPorts }],
  ['not sixteen ports', { action: 'allow', protocol: tcp, notSrcPorts: manyPorts }],
  ['ports and named port', { action: 'allow', protocol: tcp, dstPorts: [port(80)], dstNamedPortIpSetIds: ['n:abc'] }],
  ['sets', { action: 'allow', srcIpSetIds: ['s:a', 's:b'], notDstIpSetIds: ['s:c'], dstIpPortSetIds: ['svc:d'] }],
  ['not a named port', { action: 'allow', notDstNamedPortIpSetIds: ['n:abc'] }],
  ['ICMP type', { action: 'allow', icmp: { case: 'icmpType', value: 8 } }],
  ['not an ICMP type and code', { action: 'deny', notIcmp: { case: 'notIcmpTypeCode', value: { type: 3, code: 1 } } }],
  ['annotations', { action: 'allow', metadata: { annotations: { why: 'be "nice"', owner: 'a' } } }],
  [
    'three positive blocks',
    {
      action: 'allow',
      protocol: tcp,
      dstPorts: manyPorts,
      srcNet: ['1.0.0.0/8', '2.0.0.0/8'],
      dstNet: ['3.0.0.0/8', '4.0.0.0/8'],
    },
  ],
  ['unknown action', { action: 'explode' }],
];

function render(backend: Backend, family: Family, rule: object): string[] {
  const config = testConfig({
    flowLogsEnabled: true,
    logPrefix: 'calico %t %k %p',
    logActionRateLimit: '10/minute',
  });
  const renderer = createRuleRenderer({ family, backend, config, environment: testEnvironment({ backend }) });
  const id = create(PolicyIDSchema, { kind: 'NetworkPolicy', namespace: 'ns', name: 'p' });
  const policy = create(PolicySchema, { tier: 'default', inboundRules: [create(RuleSchema, rule)] });
  const chain = renderer.policyChains(id, policy)[0];
  if (chain === undefined) throw new Error('no chain');
  if (backend === 'iptables') {
    return [...iptables.renderChain(chain.name, chain.rules, { family, features: MODERN_FEATURES }).texts];
  }
  const ctx = { family, features: MODERN_FEATURES, layer: 'filter' } as const;
  const { texts, hashes } = nftables.renderChain(chain.name, chain.rules, ctx);
  const comments = nftables.ruleComments(chain.rules, hashes);
  return texts.map((text, index) => `${text} comment "${comments[index]}"`);
}

it('policy rules have the text of the golden file', async () => {
  const lines: string[] = [];
  for (const [name, rule] of CASES) {
    lines.push(`== ${name}`);
    for (const backend of ['iptables', 'nftables'] as const) {
      for (const family of [4, 6] as const) {
        lines.push(`-- ${backend} IPv${family}`, ...render(backend, family, rule));
      }
    }
  }
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('policy-rules.golden');
});
