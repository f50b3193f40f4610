// The recordings with tools that are started for each call: the way of last resort. (The default, netlink where it works
// and open tools elsewhere, is what the replay tests of the three modes run.)
import { MODES } from '../fixtures/recording.js';
import { replayDriver } from './support/replay-mode.js';

for (const mode of MODES) replayDriver('spawn', mode);
