// Rule hashes against the plain definition of dataplane.md 3.12, for texts of every length.
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { HashChain } from '../../../src/tables/hash-chain.js';

const TEXTS = [
  'counter accept',
  '',
  'x'.repeat(331),
  'x'.repeat(332),
  'x'.repeat(333),
  'long '.repeat(1_000),
  'log prefix "größer 日本 🐈"',
  'after',
];

function plainHashes(chainName: string, texts: readonly string[]): string[] {
  let digest = createHash('sha224').update(chainName).digest();
  return texts.map((text) => {
    digest = createHash('sha224').update(digest).update(text).digest();
    return digest.toString('base64url').slice(0, 16);
  });
}

it.each(['filter-cali-fw-cali1', 'ü'.repeat(400)])(
  'HashChain hashes the digest before and the text, chain %s',
  (name) => {
    const chain = new HashChain(name);
    expect(TEXTS.map((text) => chain.next(text))).toEqual(plainHashes(name, TEXTS));
  },
);

it('HashChain, two chains by turns, keep apart', () => {
  const [one, two] = [new HashChain('one'), new HashChain('two')];
  const hashes = TEXTS.map((text) => [one.next(text), two.next(text)]);
  expect(hashes.map(([first]) => first)).toEqual(plainHashes('one', TEXTS));
  expect(hashes.map(([, second]) => second)).toEqual(plainHashes('two', TEXTS));
});
