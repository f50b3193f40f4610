import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SetMembers } from '../../../src/mock/graph/ip-set.js';
import { MatchIndex } from '../../../src/mock/graph/match-index.js';
import { type Cidr, containsCidr, makeCidr } from '../../../src/mock/net/cidr.js';
import { parseSelector } from '../../../src/mock/selector/selector.js';
import { applyValid, newMock, valuesOf } from './support/mock.js';

const prefix: fc.Arbitrary<Cidr> = fc
  .record({ bits: fc.nat(15), length: fc.integer({ min: 1, max: 6 }), family: fc.constantFrom(4 as const, 6 as const) })
  .map(({ bits, length, family }) => makeCidr({ family, bits: BigInt(bits) << (family === 4 ? 28n : 124n) }, length));

describe('SetMembers with overlaps suppressed', () => {
  it('announces exactly the outermost prefixes, whatever comes and goes', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ prefix, remove: fc.boolean() }), { maxLength: 60, size: 'max' }), (changes) => {
        const announced = new Set<string>();
        const counts = new Map<string, { readonly cidr: Cidr; count: number }>();
        const members = new SetMembers('s', true, {
          onMemberAdded: (_, member) => expect(announced.has(member) || !announced.add(member)).toBe(false),
          onMemberRemoved: (_, member) => expect(announced.delete(member)).toBe(true),
        });
        for (const change of changes) {
          const entry = counts.get(change.prefix.text) ?? { cidr: change.prefix, count: 0 };
          counts.set(change.prefix.text, entry);
          if (change.remove && entry.count === 0) continue;
          entry.count += change.remove ? -1 : 1;
          members[change.remove ? 'remove' : 'add']({ text: change.prefix.text, cidr: change.prefix });
          const present = [...counts.values()].filter(({ count }) => count > 0).map(({ cidr }) => cidr);
          const outermost = present.filter(
            (inner) => !present.some((outer) => outer !== inner && containsCidr(outer, inner)),
          );
          expect([...announced].sort()).toEqual(outermost.map(({ text }) => text).sort());
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('MatchIndex', () => {
  const label = fc.constantFrom('a', 'b', 'c');
  const value = fc.constantFrom('x', 'y');
  const labels = fc.dictionary(label, value).map((record) => new Map(Object.entries(record)));
  const selector = fc.constantFrom(
    "a == 'x'",
    "a in {'x', 'y'} && has(b)",
    "b != 'x'",
    '!has(c)',
    "c == 'y' || has(a)",
    'all()',
    "b starts with 'x'",
    'a in {}',
  );
  const id = fc.constantFrom('1', '2', '3');
  const change = fc.oneof(
    fc.record({ what: fc.constant('selector' as const), id, selector: fc.option(selector) }),
    fc.record({
      what: fc.constant('item' as const),
      id,
      labels: fc.option(labels),
      parents: fc.uniqueArray(fc.constantFrom('p', 'q')),
    }),
    fc.record({ what: fc.constant('parent' as const), id: fc.constantFrom('p', 'q'), labels: fc.option(labels) }),
  );

  it('reports the matches that a full comparison finds, each change once', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 50, size: 'max' }), (changes) => {
        const reported = new Set<string>();
        const index = new MatchIndex(
          (s, i) => expect(reported.has(`${s} ${i}`) || !reported.add(`${s} ${i}`)).toBe(false),
          (s, i) => expect(reported.delete(`${s} ${i}`)).toBe(true),
        );
        const selectors = new Map<string, string>();
        const items = new Map<string, { labels: ReadonlyMap<string, string>; parents: string[] }>();
        const parents = new Map<string, ReadonlyMap<string, string>>();
        for (const step of changes) {
          if (step.what === 'selector') {
            if (step.selector === null) index.deleteSelector(step.id);
            else index.setSelector(step.id, parseSelector(step.selector));
            if (step.selector === null) selectors.delete(step.id);
            else selectors.set(step.id, step.selector);
          } else if (step.what === 'item') {
            if (step.labels === null) index.deleteItem(step.id);
            else index.setItem(step.id, step.labels, step.parents);
            if (step.labels === null) items.delete(step.id);
            else items.set(step.id, { labels: step.labels, parents: step.parents });
          } else {
            index.setParent(step.id, step.labels ?? undefined);
            if (step.labels === null) parents.delete(step.id);
            else parents.set(step.id, step.labels);
          }
          const expected = [...selectors].flatMap(([s, text]) =>
            [...items]
              .filter(([, item]) =>
                parseSelector(text).matches((name) =>
                  [item.labels, ...item.parents.map((parent) => parents.get(parent))]
                    .map((source) => source?.get(name))
                    .find((found) => found !== undefined),
                ),
              )
              .map(([i]) => `${s} ${i}`),
          );
          expect([...reported].sort()).toEqual(expected.sort());
        }
      }),
      { numRuns: 200 },
    );
  });
});

const WORLD = `
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {namespace: default, labels: {app: a}}
spec: {node: node1, orchestrator: k8s, pod: a, endpoint: eth0, interfaceName: cali1, ipNetworks: [10.65.0.2/32], profiles: []}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: s, labels: {feed: bad}}
spec: {nets: [0.0.0.0/0, 10.0.0.0/8, 10.1.0.0/16, "fd00::1/64"]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {ingress: [{action: Deny, source: {selector: "feed == 'bad'"}}]}
`;

describe('members of a selector set', () => {
  it.each([
    ['Auto', ['0.0.0.0/1', '128.0.0.0/1', 'fd00::/64']],
    ['Disabled', ['0.0.0.0/1', '10.0.0.0/8', '10.1.0.0/16', '128.0.0.0/1', 'fd00::/64']],
  ])('with NFTablesMode %s', (NFTablesMode, expected) => {
    const mock = newMock({ NFTablesMode });
    applyValid(mock, WORLD);
    expect(valuesOf(mock.flush(), 'ipsetUpdate').map(({ members }) => members)).toEqual([expected]);
  });

  it('of named ports name protocol and port, without prefix length, and skip network sets', () => {
    const mock = newMock();
    applyValid(
      mock,
      `
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {namespace: default, labels: {feed: bad}}
spec:
  {node: node2, orchestrator: k8s, pod: b, endpoint: eth0, interfaceName: cali2, ipNetworks: [10.65.0.3/32, fd00::3/128],
   ports: [{name: dns, port: 53, protocol: UDP}, {name: dns, port: 54, protocol: TCP}, {name: x, port: 1, protocol: UDP}]}
---${WORLD}---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {egress: [{action: Allow, protocol: UDP, destination: {selector: "feed == 'bad'", ports: [dns]}}, {action: Allow, destination: {ports: [dns]}}]}
`,
    );
    const sets = valuesOf(mock.flush(), 'ipsetUpdate').map(({ members }) => members);
    expect(sets).toContainEqual(['10.65.0.3,udp:53', 'fd00::3,udp:53']);
    expect(sets).toContainEqual(['10.65.0.3,tcp:54', '10.65.0.3,udp:53', 'fd00::3,tcp:54', 'fd00::3,udp:53']);
  });
});
