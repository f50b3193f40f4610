// Ordered pairs of recordings: the second, played over the first, ends in the state of the second alone. There are 462,
// and each run plays half of them: all would take a tenth of the whole suite's time.
import { testHalfOfPairs } from './support/pairs.js';
import { seededRandom } from './support/random.js';

testHalfOfPairs('nftables', seededRandom('half of all pairs of recordings'));
