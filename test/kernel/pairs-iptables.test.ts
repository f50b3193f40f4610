// Pairs of recordings drawn at random in both iptables modes, each in a process of its own: see pairs-nftables.
import { describe } from 'vitest';
import { testSomePairs } from './support/pairs.js';
import { seededRandom } from './support/random.js';

const random = seededRandom('pairs of recordings');

describe.each(['iptables-legacy', 'iptables-nft'] as const)('%s', (mode) => {
  testSomePairs(mode, 8, random);
});
