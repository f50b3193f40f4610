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

/** Row 36: tables that a look at them made, with nothing in them. */
function withoutEmptyTables(text: string): string {
  return text.replace(/^\*\w+\n(:[A-Z]+ ACCEPT\n)*COMMIT\n/gm, '');
}

/** The dump without what is different on purpose. */
export function withoutDifferences(dump: KernelDump, mode: Mode): KernelDump {
  if (mode === 'nftables') return { ...dump, nft: withoutOutputGuard(dump['nft'] ?? '') };
  const [v4, v6] = [mode, mode.replace('iptables', 'ip6tables')] as const;
  return { ...dump, [v4]: withoutEmptyTables(dump[v4] ?? ''), [v6]: withoutEmptyTables(dump[v6] ?? '') };
}

/** Row 41: bandwidth limits, which Felix loses with an interface and does not put on the one that comes instead. */
export function withoutShaping(dump: KernelDump): KernelDump {
  const lines = (dump['links'] ?? '').split('\n').filter((line) => !line.includes('"name": "bwcali'));
  return { ...dump, links: lines.join('\n'), qdisc: '' };
}

/**
 * The dump without the words that follow a hash in nftables comments. They are no part of the hash, so a chain that
 * changes in its words alone keeps the old ones, in Felix as here: which ones stand depends on what came in one apply.
 */
export function withoutWords(dump: KernelDump): KernelDump {
  return dump['nft'] === undefined ? dump : { ...dump, nft: dump['nft'].replace(/"(cali:[\w-]{16};) [^"]*"/g, '"$1"') };
}
