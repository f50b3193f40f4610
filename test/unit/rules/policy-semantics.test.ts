// Random policies against random packets: what the rendered rules do must be what the messages say, whatever mix of
// match blocks they became. The message side is evaluated directly, without any rendering.
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Rule as ProtoRule,
  PolicyIDSchema,
  PolicySchema,
  RuleSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../../../src/rules/create-rule-renderer.js';
import { testConfig, testEnvironment } from '../../fakes/config.js';
import { inNet, inRanges, type Packet, type Sets, walk } from './packet-walk.js';

const ACCEPT = 0x10000;
const PASS = 0x20000;

const ADDRESSES = 8;
const PORTS = 40;
const SET_IDS = ['s:0', 's:1', 's:2'];
const PORT_SET_IDS = ['n:0', 'n:1', 'n:2'];

const address = fc.integer({ min: 0, max: ADDRESSES - 1 });
const port = fc.integer({ min: 0, max: PORTS - 1 });
const net = fc.tuple(address, address).map(([a, b]) => (a === b ? `${a}` : `${Math.min(a, b)}.${Math.max(a, b)}`));
const nets = fc.array(net, { maxLength: 3 });
const range = fc.tuple(port, fc.integer({ min: 0, max: 3 })).map(([first, more]) => ({ first, last: first + more }));
// Up to three pieces of a multiport match.
const ranges = fc.oneof(
  { weight: 2, arbitrary: fc.constant([]) },
  { weight: 2, arbitrary: fc.array(range, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.array(range, { minLength: 8, maxLength: 24 }) },
);
const setIds = fc.subarray(SET_IDS, { maxLength: 2 });
const portSetIds = fc.subarray(PORT_SET_IDS, { maxLength: 2 });

const action = fc.constantFrom('allow', 'deny', 'pass', 'next-tier', '');
const allCriteria = fc.record({
  srcNet: nets,
  dstNet: nets,
  notSrcNet: nets,
  notDstNet: nets,
  srcPorts: ranges,
  dstPorts: ranges,
  notDstPorts: ranges,
  srcIpSetIds: setIds,
  notDstIpSetIds: setIds,
  srcNamedPortIpSetIds: portSetIds,
  dstNamedPortIpSetIds: portSetIds,
  notSrcNamedPortIpSetIds: portSetIds,
  dstIpPortSetIds: portSetIds,
});
// Most criteria are left out of most rules, or nothing would ever match.
const someCriteria = allCriteria.chain((full) =>
  fc
    .subarray(Object.keys(full), { maxLength: 5 })
    .map((keys) => Object.fromEntries(Object.entries(full).filter(([key]) => keys.includes(key)))),
);
// Three positive blocks and perhaps negative ones.
const blocks = fc.record({
  srcNet: fc.array(net, { minLength: 2, maxLength: 3 }),
  dstNet: fc.array(net, { minLength: 2, maxLength: 3 }),
  dstPorts: fc.array(range, { minLength: 8, maxLength: 24 }),
  notSrcNet: fc.array(net, { maxLength: 1 }),
});
const rule = fc
  .tuple(action, fc.oneof({ weight: 3, arbitrary: someCriteria }, { weight: 1, arbitrary: blocks }))
  .map(([chosen, criteria]) =>
    create(RuleSchema, {
      action: chosen,
      protocol: { numberOrName: { case: 'name', value: 'tcp' } },
      ...criteria,
    }),
  );

const packet: fc.Arbitrary<Packet> = fc.record({
  source: address,
  dest: address,
  protocol: fc.constantFrom('tcp', 'tcp', 'tcp', 'udp'),
  sourcePort: port,
  destPort: port,
});

const addressAndPort = fc.tuple(address, port).map(([a, p]) => `${a}:${p}`);
const sets: fc.Arbitrary<Sets> = fc
  .tuple(
    fc.array(fc.array(address.map(String), { maxLength: 6 }), { minLength: 3, maxLength: 3 }),
    // Felix's named port sets hold the protocol; here all members are TCP.
    fc.array(fc.array(addressAndPort, { maxLength: 80 }), { minLength: 3, maxLength: 3 }),
  )
  .map(([plain, withPorts]) => {
    const named = (ids: readonly string[], members: readonly string[][]): [string, Set<string>][] =>
      ids.map((id, index) => [`cali40${id}`, new Set(members[index])]);
    return new Map([...named(SET_IDS, plain), ...named(PORT_SET_IDS, withPorts)]);
  });

function saysMatch(proto: ProtoRule, { source, dest, protocol, sourcePort, destPort }: Packet, members: Sets): boolean {
  const inSet = (id: string, member: string): boolean => members.get(`cali40${id}`)?.has(member) === true;
  const from = `${source}:${sourcePort}`;
  const to = `${dest}:${destPort}`;
  const ports = (list: ProtoRule['srcPorts'], named: readonly string[], value: number, member: string): boolean =>
    (list.length === 0 && named.length === 0) || inRanges(list, value) || named.some((id) => inSet(id, member));
  return (
    protocol === 'tcp' &&
    (proto.srcNet.length === 0 || proto.srcNet.some((each) => inNet(each, source))) &&
    (proto.dstNet.length === 0 || proto.dstNet.some((each) => inNet(each, dest))) &&
    !proto.notSrcNet.some((each) => inNet(each, source)) &&
    !proto.notDstNet.some((each) => inNet(each, dest)) &&
    ports(proto.srcPorts, proto.srcNamedPortIpSetIds, sourcePort, from) &&
    ports(proto.dstPorts, proto.dstNamedPortIpSetIds, destPort, to) &&
    !inRanges(proto.notDstPorts, destPort) &&
    proto.srcIpSetIds.every((id) => inSet(id, `${source}`)) &&
    !proto.notDstIpSetIds.some((id) => inSet(id, `${dest}`)) &&
    !proto.notSrcNamedPortIpSetIds.some((id) => inSet(id, from)) &&
    proto.dstIpPortSetIds.every((id) => inSet(id, to))
  );
}

function verdict(protoRules: readonly ProtoRule[], each: Packet, members: Sets): string {
  const found = protoRules.find((proto) => saysMatch(proto, each, members));
  if (found === undefined) return 'none';
  if (found.action === 'deny') return 'drop';
  return found.action === 'allow' || found.action === '' ? 'accept' : 'pass';
}

describe('rendered policy chains', () => {
  it('do what the first matching rule says, for random policies and packets', () => {
    const renderer = createRuleRenderer({
      family: 4,
      backend: 'iptables',
      config: testConfig(),
      environment: testEnvironment(),
    });
    const id = create(PolicyIDSchema, { kind: 'GlobalNetworkPolicy', name: 'p' });
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 1, maxLength: 4 }),
        fc.array(packet, { minLength: 20, maxLength: 20 }),
        sets,
        fc.boolean(),
        (protoRules, packets, members, dirty) => {
          const chain = renderer.policyChains(id, create(PolicySchema, { inboundRules: protoRules }))[0];
          expect(chain?.refused).toBeUndefined();
          for (const each of packets) {
            // Endpoint chains clear accept and pass only; the scratch bits may hold anything.
            const outcome = walk(chain?.rules ?? [], each, members, dirty ? 0x180000 : 0);
            const marked = (outcome.mark & ACCEPT) !== 0 ? 'accept' : (outcome.mark & PASS) !== 0 ? 'pass' : 'none';
            const expected = verdict(protoRules, each, members);
            expect(outcome.dropped ? 'drop' : marked).toBe(expected);
            seen.set(expected, (seen.get(expected) ?? 0) + 1);
          }
        },
      ),
      { numRuns: 2_000 },
    );
    // The test means something only if every verdict came up often.
    for (const each of ['none', 'drop', 'accept', 'pass']) expect(seen.get(each) ?? 0).toBeGreaterThan(500);
  });
});
