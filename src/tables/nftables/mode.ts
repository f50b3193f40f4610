// Decides between iptables and nftables where NFTablesMode is Auto, which Felix does not tell an external driver
// (dataplane.md 5.1): nftables where kube-proxy uses it.
import type { NftFamily, NftIo } from './io.js';

/** The backend, and why, for `status` and the log. */
export interface NftablesModeDecision {
  readonly backend: 'iptables' | 'nftables';
  readonly reasons: readonly string[];
  /** False where nft could not be asked: good enough to start with, no reason to change over. */
  readonly isCertain: boolean;
}

const KUBE_PROXY_TABLE = 'kube-proxy';
const FAMILIES: readonly NftFamily[] = ['ip', 'ip6'];

/**
 * Resolves NFTablesMode. `Auto` looks for chains in kube-proxy's table, IPv4 first; an nft that cannot be asked counts
 * as none, and the decision is not certain.
 */
export async function detectNftablesMode(
  io: Pick<NftIo, 'listChains'>,
  mode: 'Enabled' | 'Disabled' | 'Auto',
): Promise<NftablesModeDecision> {
  if (mode === 'Enabled') return { backend: 'nftables', reasons: ['NFTablesMode is Enabled'], isCertain: true };
  if (mode === 'Disabled') return { backend: 'iptables', reasons: ['NFTablesMode is Disabled'], isCertain: true };
  const reasons: string[] = ['NFTablesMode is Auto'];
  let isCertain = true;
  for (const family of FAMILIES) {
    try {
      const chains = await io.listChains(family, KUBE_PROXY_TABLE);
      if (chains.length > 0) {
        reasons.push(`table ${family} ${KUBE_PROXY_TABLE} has ${chains.length} chains`);
        return { backend: 'nftables', reasons, isCertain: true };
      }
      reasons.push(`table ${family} ${KUBE_PROXY_TABLE} does not exist or has no chains`);
    } catch (error) {
      isCertain = false;
      reasons.push(`${family} tables cannot be listed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { backend: 'iptables', reasons, isCertain };
}
