// The order of the kernel tests' files: long ones first, so that the last worker does not run one alone at the end.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longer than about ten seconds, the longest first. */
const LONG: readonly string[] = [
  'serve-kill',
  'faults-tools',
  'serve-limits',
  'pairs-nftables',
  'replay-coprocess',
  'replay-spawn',
  'felix-contract',
  'packets-recordings-3',
  'replay-iptables-nft',
  'replay-iptables-legacy',
  'replay-nftables',
  'faults-sets',
  'packets-pods',
  'packets-refused',
  'faults-rules',
  'faults-input',
  'soak',
  'iptables-compile',
  'rules-syntax',
  'serve',
  'mock-nftables',
  'packets-recordings-2',
  'legacy-compile',
  'vxlan-replay',
  'faults-links',
  'ipset-plane',
  'serve-transports',
  'io-contract',
  'watchdog',
  'packets-recordings-1',
  'idle',
  'order',
  'adopt-after-kill',
  'packets-hosts',
  'mode-switch',
  'record-replay',
  'replay-memory',
  'standalone-recipes',
  'nftables-plane',
  'pairs-iptables',
  'ipset-fake',
];

function rank({ moduleId }: TestSpecification): number {
  const name = /([^/]+)\.test\.ts$/.exec(moduleId)?.[1] ?? '';
  const index = LONG.indexOf(name);
  return index === -1 ? LONG.length : index;
}

/** Sorts by the list above; files that are not in it come after those that are, as vitest would have them. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted
      .map((file, index) => ({ file, index }))
      .sort((a, b) => rank(a.file) - rank(b.file) || a.index - b.index)
      .map(({ file }) => file);
  }
}
