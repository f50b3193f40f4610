// What docs/differences.md says of a dump, taken out of both sides before they are compared.
import type { Mode } from '../fixtures/recording.js';
import type { KernelDump } from '../kernel/support/dump.js';

/** Row 2: the rules after the guard of host endpoint policy in nftables' filter OUTPUT. */
function withoutOutputGuard(text: string): string {
  return text
    .split('\n')
    .filter((line) => !/ct status (!= )?dnat counter|jump filter-cali-to-host-endpoint /.test(line))
    .map((line) => line.replace(/"cali:[^;]*; (Host endpoint policy accepted packet\.)"/, '"$1"'))
    .join('\n');
}

/** The dump without what is different on purpose. */
export function withoutDifferences(dump: KernelDump, mode: Mode): KernelDump {
  if (mode !== 'nftables' || dump['nft'] === undefined) return dump;
  return { ...dump, nft: withoutOutputGuard(dump['nft']) };
}

/**
 * The dump without the words that follow a hash in nftables comments. They are no part of the hash, so a chain that
 * changes in its words alone keeps the old ones, in Felix as here: which ones stand depends on what came in one apply.
 */
export function withoutWords(dump: KernelDump): KernelDump {
  return dump['nft'] === undefined ? dump : { ...dump, nft: dump['nft'].replace(/"(cali:[\w-]{16};) [^"]*"/g, '"$1"') };
}
