// Where we differ from Felix on purpose (docs/differences.md): named line by line, never by a pattern.
import type { Mode } from '../../fixtures/recording.js';
import type { NamedDifference } from './replay.js';

export const DIFFERENCES: Record<Mode, readonly NamedDifference[]> = {
  'iptables-legacy': [],
  'iptables-nft': [],
  nftables: [],
};
