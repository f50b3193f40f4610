// The same recordings through the other ways to the kernel: tools started for each call, and tools kept open. (The
// default, netlink where it works, is what the replay tests of the three modes run.)
import { describe, test } from 'vitest';
import { loadRecording, type Mode, recordingNames } from '../fixtures/recording.js';
import { DIFFERENCES } from './support/differences.js';
import { replayAtOnce } from './support/replay.js';

/** `coprocess` differs from `spawn` in what it keeps open; routes and links are the same. */
const WAYS: readonly (readonly [string, Mode])[] = [
  ['spawn', 'iptables-legacy'],
  ['spawn', 'iptables-nft'],
  ['spawn', 'nftables'],
  ['coprocess', 'iptables-legacy'],
  ['coprocess', 'iptables-nft'],
  ['coprocess', 'nftables'],
];

describe.each(WAYS)('kernel driver %s in %s', (driver, mode) => {
  const names = recordingNames().filter((name) => loadRecording(name).expected[mode] !== undefined);
  test.each(names)('%s ends in the recorded kernel state', async (name) => {
    await replayAtOnce(name, mode, {
      differences: DIFFERENCES[mode],
      environment: { DATAPLANE_KERNEL_DRIVER: driver },
    });
  });
});
