// Half of all ordered pairs of recordings: the second, played over the first, ends in the state of the second alone.
import { testEveryPair } from './support/pairs.js';

testEveryPair('nftables', 0, 2);
