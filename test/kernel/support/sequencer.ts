// The order of the kernel tests' files: long ones first, so that the last worker does not run one alone at the end.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longer than about ten seconds, the longest first. */
const LONG: readonly string[] = [
  'serve-kill',
  'faults-tools',
  'pairs-nftables-1',
  'pairs-nftables-2',
  'packets-pods',
  'packets-recordings-3',
  'replay-spawn',
  'replay-coprocess',
  'packets-refused',
  'faults-rules',
  'faults-sets',
  'replay-iptables-nft',
  'replay-iptables-legacy',
  'replay-nftables',
  'soak',
  'mock-nftables',
  'adopt-after-kill',
  'packets-hosts',
  'faults-input',
  'packets-recordings-1',
  'packets-recordings-2',
  'mode-switch',
  'faults-links',
  'record-replay',
  'watchdog',
  'order',
  'replay-memory',
  'idle',
  'pairs-iptables',
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
