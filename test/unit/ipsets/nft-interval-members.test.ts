// The prefix trie against a model that looks at every pair of prefixes.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalCidr, cidrContains, parseCidr } from '../../../src/base/ip.js';
import { type ElementSink, IntervalMembers, NO_SINK } from '../../../src/ipsets/interval-members.js';
import type { Family } from '../../../src/model/family.js';

/** What is programmed, kept by following the sink; throws on an add of what is there and a remove of what is not. */
class Followed implements ElementSink {
  readonly elements = new Set<string>();
  add(element: string): void {
    if (this.elements.has(element)) throw new Error(`${element} added twice`);
    this.elements.add(element);
  }
  remove(element: string): void {
    if (!this.elements.delete(element)) throw new Error(`${element} removed but absent`);
  }
}

function maximal(wanted: ReadonlySet<string>): string[] {
  const all = [...wanted].map((text) => ({ text, cidr: parseCidr(text) }));
  return all
    .filter(({ cidr }) => cidr !== null)
    .filter(({ text, cidr }) => {
      return !all.some(
        (other) => other.text !== text && other.cidr !== null && cidr !== null && cidrContains(other.cidr, cidr),
      );
    })
    .map(({ text }) =>
      text.replace(/\/(32|128)$/u, (suffix) => ((suffix === '/32') !== text.includes(':') ? '' : suffix)),
    )
    .sort();
}

const prefixV4 = fc
  .record({
    a: fc.constantFrom(0, 10, 128, 255),
    b: fc.integer({ min: 0, max: 3 }),
    length: fc.constantFrom(0, 1, 7, 8, 9, 15, 16, 17, 30, 31, 32),
  })
  .map(({ a, b, length }) => `${a}.${b}.${b}.${a}/${length}`);
const prefixV6 = fc
  .record({
    a: fc.constantFrom('::', '::ffff:1.2.3.4', 'fd00::', 'ffff::1', '8000::'),
    length: fc.constantFrom(0, 1, 8, 31, 32, 33, 64, 96, 127, 128),
  })
  .map(({ a, length }) => `${a}/${length}`);

function modelProperty(family: Family, prefix: fc.Arbitrary<string>): void {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), prefix), { maxLength: 60 }), (steps) => {
      const trie = new IntervalMembers(family);
      const followed = new Followed();
      const model = new Set<string>();
      for (const [add, text] of steps) {
        const canonical = canonicalCidr(text) ?? '';
        if (add) {
          trie.add(text, followed);
          model.add(canonical);
        } else {
          trie.remove(text, followed);
          model.delete(canonical);
        }
        const expected = maximal(model);
        expect([...followed.elements].sort()).toEqual(expected);
        expect([...trie.elements()].sort()).toEqual(expected);
        expect(trie.size).toBe(model.size);
        expect([...trie.members()].length).toBe(model.size);
        expect(trie.has(text)).toBe(add);
      }
    }),
    { numRuns: 300 },
  );
}

describe('IntervalMembers', () => {
  it('programs exactly the maximal wanted prefixes after any sequence of v4 changes', () => {
    modelProperty(4, prefixV4);
  });

  it('programs exactly the maximal wanted prefixes after any sequence of v6 changes', () => {
    modelProperty(6, prefixV6);
  });

  it('brings covered prefixes back when the one that covers them goes', () => {
    const trie = new IntervalMembers(4);
    const followed = new Followed();
    for (const member of ['10.0.0.1', '10.0.0.0/8', '0.0.0.0/0', '10.1.0.0/16', '10.1.2.0/24'])
      trie.add(member, followed);
    expect([...followed.elements]).toEqual(['0.0.0.0/0']);
    trie.remove('0.0.0.0/0', followed);
    expect([...followed.elements]).toEqual(['10.0.0.0/8']);
    trie.remove('10.0.0.0/8', followed);
    expect([...followed.elements].sort()).toEqual(['10.0.0.1', '10.1.0.0/16']);
  });

  it.each(['', '10.0.0.0/33', '10.0.0', 'fd00::1', '10.0.0.0/', '10.0.0.0/08', 'x', '10.0.0.1/-1'])(
    'refuses %j in a v4 set and stays as it was',
    (text) => {
      const trie = new IntervalMembers(4);
      expect(trie.add(text, NO_SINK)).toBe(false);
      expect(trie.remove(text, NO_SINK)).toBe(false);
      expect(trie.size).toBe(0);
    },
  );

  it('touches only what changes: a host in a set of 200,000 costs one element', () => {
    const trie = new IntervalMembers(4);
    for (let at = 0; at < 200_000; at++) trie.add(`10.${at >>> 16}.${(at >>> 8) & 255}.${at & 255}`, NO_SINK);
    let calls = 0;
    const sink: ElementSink = { add: () => calls++, remove: () => calls++ };
    trie.add('11.0.0.1', sink);
    trie.add('12.0.0.0/8', sink);
    trie.remove('10.0.0.7', sink);
    expect(calls).toBe(3);
    expect(trie.size).toBe(200_001);
  });
});
