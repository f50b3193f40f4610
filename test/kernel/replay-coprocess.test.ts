// The recordings with tools that are kept open, for the sets and nftables that the default does by netlink.
import { replayDriver } from './support/replay-mode.js';

replayDriver('coprocess', 'iptables-nft');
replayDriver('coprocess', 'nftables');
