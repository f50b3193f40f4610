import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Cidr,
  containsCidr,
  formatAddress,
  makeCidr,
  parseAddress,
  parseCidrOrAddress,
  parseInterfaceAddress,
} from '../../../src/mock/net/cidr.js';
import { CidrTrie } from '../../../src/mock/net/cidr-trie.js';

const cidr: fc.Arbitrary<Cidr> = fc
  .record({ family: fc.constantFrom(4 as const, 6 as const), high: fc.nat(15), low: fc.nat(15), length: fc.nat(32) })
  .map(({ family, high, low, length }) => {
    const width = family === 4 ? 32n : 128n;
    const bits = (BigInt(high) << (width - 4n)) | (BigInt(low) << (width - 32n));
    return makeCidr({ family, bits }, length);
  });

describe('parseAddress and formatAddress', () => {
  it.each([
    ['10.65.0.2', '10.65.0.2'],
    ['0.0.0.0', '0.0.0.0'],
    ['::', '::'],
    ['::1', '::1'],
    ['fd00:65::', 'fd00:65::'],
    ['FD00:0:0:1:0:0:0:2', 'fd00:0:0:1::2'],
    ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
  ])('%s prints as %s', (text, expected) => {
    const address = parseAddress(text);
    expect(address === undefined ? undefined : formatAddress(address)).toBe(expected);
  });

  it.each([
    '',
    '10.0.0',
    '10.0.0.256',
    '10.0.0.01',
    '1.2.3.4.5',
    ':::',
    '1::2::3',
    '12345::',
    '1:2:3:4:5:6:7',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7:8::',
    'x',
  ])('%s is refused', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe('parseCidrOrAddress', () => {
  it.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['fd00::1/64', 'fd00::/64'],
    ['::/0', '::/0'],
  ])('%s is %s', (text, expected) => {
    expect(parseCidrOrAddress(text)?.text).toBe(expected);
  });

  it.each(['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/08', '/8', 'fd00::/129', '10.0.0.0/-1'])('%s is refused', (text) => {
    expect(parseCidrOrAddress(text)).toBeUndefined();
  });
});

describe('parseInterfaceAddress', () => {
  it('keeps the host part', () => {
    expect(parseInterfaceAddress('192.168.0.1/24')).toMatchObject({
      text: '192.168.0.1/24',
      network: { text: '192.168.0.0/24' },
    });
  });
});

describe('CidrTrie', () => {
  it('answers as a plain list of prefixes does', () => {
    const operations = fc.array(fc.record({ cidr, remove: fc.boolean() }), { maxLength: 80, size: 'max' });
    fc.assert(
      fc.property(operations, cidr, (changes, probe) => {
        const trie = new CidrTrie<number>();
        const plain = new Map<string, { readonly cidr: Cidr; readonly value: number }>();
        for (const [value, change] of changes.entries()) {
          if (change.remove) {
            trie.delete(change.cidr);
            plain.delete(change.cidr.text);
          } else {
            trie.set(change.cidr, value);
            plain.set(change.cidr.text, { cidr: change.cidr, value });
          }
        }
        const all = [...plain.values()];
        const texts = (entries: Iterable<{ readonly cidr: Cidr }>): string[] =>
          [...entries].map((entry) => entry.cidr.text).sort();
        const within = all.filter((entry) => containsCidr(probe, entry.cidr));
        const outermost = within.filter(
          (entry) => !within.some((other) => other !== entry && containsCidr(other.cidr, entry.cidr)),
        );
        expect(trie.get(probe)).toBe(plain.get(probe.text)?.value);
        expect(texts(trie.within(probe))).toEqual(texts(within));
        expect(texts(trie.outermost(probe))).toEqual(texts(outermost));
        expect(texts([...trie.all(4), ...trie.all(6)])).toEqual(texts(all));
        const path = trie.containing(probe);
        expect(texts(path)).toEqual(texts(all.filter((entry) => containsCidr(entry.cidr, probe))));
        expect(path.map((entry) => entry.cidr.length)).toEqual(
          path.map((entry) => entry.cidr.length).sort((a, b) => a - b),
        );
      }),
      { numRuns: 300 },
    );
  });
});
