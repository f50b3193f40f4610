// Counts and times what reaches tools and kernel, under Felix's own metric names (ops.md section 4).
import { basename } from 'node:path';
import type { IpSetIo } from '../ipsets/kernel-set.js';
import type { Broker } from '../kernel/broker.js';
import type { Metrics } from '../metrics/metrics.js';
import type { CounterName } from '../metrics/series.js';
import type { RouteTimings } from '../routes/route-table-reconciler.js';
import type { IptablesIo } from '../tables/iptables/io.js';
import type { NftIo, Statement } from '../tables/nftables/io.js';

/** Counters of calls and failures without labels. */
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
const NFT_SET: Pair = ['felix_nft_set_calls', 'felix_nft_set_errors'];

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
  let count = 0;
  for (let at = script.indexOf('\n'); at >= 0; at = script.indexOf('\n', at + 1)) count += 1;
  return count;
}

const SET_STATEMENT = /^(?:add|delete|flush) set /u;

/** Whether the statement is on a set, or on elements of a set or map. */
function isOfSet(statement: Statement): boolean {
  return typeof statement === 'string' ? SET_STATEMENT.test(statement) : 'set' in statement;
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
    expectLongScript: (family, table) => io.expectLongScript?.(family, table),
    readTags: (family, table) => io.readTags(family, table),
    isAsKnown: (family, table, known) => io.isAsKnown(family, table, known),
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
  announce(metrics, NFT, NFT_LIST, NFT_SET);
  return {
    transaction: (statements, onReady) => {
      const work = counted(metrics, NFT, io.transaction(statements, onReady));
      // Rules and sets go in one transaction; Felix has one for each.
      return statements.some(isOfSet) ? counted(metrics, NFT_SET, work) : work;
    },
    check: (statements) => counted(metrics, NFT, io.check(statements)),
    listTable: (family, table) => counted(metrics, NFT_LIST, io.listTable(family, table)),
    listTables: (family) => counted(metrics, NFT_LIST, io.listTables(family)),
    listChains: (family, table) => counted(metrics, NFT_LIST, io.listChains(family, table)),
    generation: () => io.generation(),
  };
}

/** The same access, counted. */
export function countIpSets(io: IpSetIo, metrics: Metrics): IpSetIo {
  announce(metrics, IPSET);
  metrics.add('felix_ipset_lines_executed', 0);
  return {
    listNames: async () => {
      const names = await counted(metrics, IPSET, io.listNames());
      metrics.set('felix_ipsets_total', names.length);
      return names;
    },
    list: (name) => counted(metrics, IPSET, io.list(name)),
    digest: (name) => counted(metrics, IPSET, io.digest(name)),
    restore: (script) => {
      metrics.add('felix_ipset_lines_executed', lineCount(script));
      return counted(metrics, IPSET, io.restore(script));
    },
  };
}

/** The same broker; commands that it starts are counted, by program. */
export function countCommands(broker: Broker, metrics: Metrics): Broker {
  metrics.announce('felix_exec_time_micros');
  return {
    run: async (command) => {
      const result = await broker.run(command);
      const tool = basename(command.argv[0] ?? '');
      metrics.add('felix_driver_tool_calls', 1, { tool });
      metrics.add('felix_driver_tool_errors', result.exitCode === 0 ? 0 : 1, { tool });
      if (result.startMs !== undefined) metrics.observe('felix_exec_time_micros', result.startMs * 1_000);
      return result;
    },
    transaction: (tool, command) => broker.transaction(tool, command),
    close: () => broker.close(),
  };
}

/** Times of route tables as Felix's summaries. */
export function routeTimings(metrics: Metrics): RouteTimings {
  metrics.announce(
    'felix_route_table_resync_seconds',
    'felix_route_table_partial_resync_seconds',
    'felix_route_table_conntrack_wait_seconds',
  );
  return {
    resync: (seconds) => metrics.observe('felix_route_table_resync_seconds', seconds),
    partialResync: (seconds) => metrics.observe('felix_route_table_partial_resync_seconds', seconds),
    conntrackWait: (seconds) => metrics.observe('felix_route_table_conntrack_wait_seconds', seconds),
  };
}
