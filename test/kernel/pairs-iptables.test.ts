// Pairs of recordings drawn at random in both iptables modes: see pairs-nftables for all of them.
import { describe } from 'vitest';
import { testSomePairs } from './support/pairs.js';
import { seededRandom } from './support/random.js';

const random = seededRandom('pairs of recordings');

describe.each(['iptables-legacy', 'iptables-nft'] as const)('%s', (mode) => {
  testSomePairs(mode, 8, random);
});
