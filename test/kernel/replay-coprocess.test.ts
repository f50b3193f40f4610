// The recordings with tools that are kept open, for the sets, routes and nftables that the default does by netlink.
import { MODES } from '../fixtures/recording.js';
import { replayDriver } from './support/replay-mode.js';

for (const mode of MODES) replayDriver('coprocess', mode);
