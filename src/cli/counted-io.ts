// Counts the calls that reach iptables, nft and ipset, under Felix's own metric names (ops.md section 4).
import type { IpSetIo } from '../ipsets/kernel-set.js';
import type { Metrics } from '../metrics/metrics.js';
import type { CounterName } from '../metrics/series.js';
import type { IptablesIo } from '../tables/iptables/io.js';
import type { NftIo } from '../tables/nftables/io.js';

/** Unlabelled counters of calls and failures. */
type Labelled = 'felix_driver_tool_calls' | 'felix_driver_tool_errors';
type Pair = readonly [
  calls: Exclude<Extract<CounterName, `felix_${string}_calls`>, Labelled>,
  errors: Exclude<Extract<CounterName, `felix_${string}_errors`>, Labelled>,
];

const SAVE: Pair = ['felix_iptables_save_calls', 'felix_iptables_save_errors'];
const RESTORE: Pair = ['felix_iptables_restore_calls', 'felix_iptables_restore_errors'];
const NFT: Pair = ['felix_nft_calls', 'felix_nft_errors'];
const NFT_LIST: Pair = ['felix_nft_list_calls', 'felix_nft_list_errors'];
const IPSET: Pair = ['felix_ipset_calls', 'felix_ipset_errors'];

async function counted<T>(metrics: Metrics, [calls, errors]: Pair, work: Promise<T>): Promise<T> {
  metrics.add(calls, 1);
  try {
    return await work;
  } catch (error) {
    metrics.add(errors, 1);
    throw error;
  }
}

/** Lines of a script, for the counters of lines executed. */
function lineCount(script: string): number {
  return script.split('\n').length - 1;
}

/** Says that these are counted, so that a zero means none. */
function announce(metrics: Metrics, ...pairs: readonly Pair[]): void {
  for (const [calls, errors] of pairs) {
    metrics.add(calls, 0);
    metrics.add(errors, 0);
  }
}

/** The same access, counted. */
export function countIptables(io: IptablesIo, metrics: Metrics): IptablesIo {
  announce(metrics, SAVE, RESTORE);
  return {
    epoch: () => io.epoch(),
    save: (family, table) => counted(metrics, SAVE, io.save(family, table)),
    restore: (family, script) => {
      const table = /^\*(\S+)/m.exec(script)?.[1] ?? '';
      metrics.add('felix_iptables_lines_executed', lineCount(script), { ip_version: String(family), table });
      return counted(metrics, RESTORE, io.restore(family, script));
    },
  };
}

/** The same access, counted. */
export function countNft(io: NftIo, metrics: Metrics): NftIo {
  announce(metrics, NFT, NFT_LIST);
  return {
    transaction: (script) => counted(metrics, NFT, io.transaction(script)),
    check: (script) => counted(metrics, NFT, io.check(script)),
    listTable: (family, table) => counted(metrics, NFT_LIST, io.listTable(family, table)),
    listTables: (family) => counted(metrics, NFT_LIST, io.listTables(family)),
    listChains: (family, table) => counted(metrics, NFT_LIST, io.listChains(family, table)),
    generation: () => io.generation(),
  };
}

/** The same access, counted. */
export function countIpSets(io: IpSetIo, metrics: Metrics): IpSetIo {
  announce(metrics, IPSET);
  return {
    listNames: () => counted(metrics, IPSET, io.listNames()),
    list: (name) => counted(metrics, IPSET, io.list(name)),
    restore: (script) => {
      metrics.add('felix_ipset_lines_executed', lineCount(script));
      return counted(metrics, IPSET, io.restore(script));
    },
  };
}
