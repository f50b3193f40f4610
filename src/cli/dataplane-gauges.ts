// How much a dataplane wants in the kernel, as Felix's gauges (ops.md section 4). Counted when somebody asks, since it
// costs as much as there is.
import type { IpSetPlane } from '../ipsets/ip-set-plane.js';
import type { Metrics, Sample } from '../metrics/metrics.js';
import type { GaugeName } from '../metrics/series.js';
import type { Family } from '../model/family.js';
import type { RouteTableReconciler } from '../routes/route-table-reconciler.js';
import type { IptablesTable } from '../tables/iptables/iptables-table.js';
import type { NftablesPlane } from '../tables/nftables/plane.js';

/** Rules and sets to be counted. */
export interface CountedTables {
  readonly iptables: readonly IptablesTable[];
  readonly ipSets: readonly IpSetPlane[];
  readonly nft: readonly NftablesPlane[];
}

/** Everything to be counted. */
export interface CountedParts {
  readonly tables: CountedTables;
  readonly routes: readonly RouteTableReconciler[];
}

/** Felix's name of a family of IP sets. */
const SET_FAMILY: Readonly<Record<Family, string>> = { 4: 'inet', 6: 'inet6' };
/** Felix's label of an nft table; sets and maps have `inet` and `inet6`. */
const TABLE_FAMILY = { ip: '4', ip6: '6', arp: 'arp' } as const;

/** Sets the gauges of all tables; those of a mode that is not in use have no series. */
export function measureDataplane(metrics: Metrics, { tables, routes }: CountedParts): void {
  const chains: Sample<'felix_iptables_chains'>[] = [];
  const rules: Sample<'felix_iptables_rules'>[] = [];
  for (const table of tables.iptables) {
    const counts = table.counts();
    const labels = { ip_version: String(table.family), table: table.table };
    chains.push({ labels, value: counts.chains });
    rules.push({ labels, value: counts.rules });
  }
  metrics.replace('felix_iptables_chains', chains);
  metrics.replace('felix_iptables_rules', rules);
  metrics.replace(
    'felix_ipsets_calico',
    tables.ipSets.map(({ family, wantedCount }) => ({
      labels: { ip_version: SET_FAMILY[family] },
      value: wantedCount,
    })),
  );
  measureNft(metrics, tables.nft);
  const described = routes.map((table) => ({ labels: { table: `IPv${table.family}:${table.table}` }, table }));
  metrics.replace(
    'felix_route_table_num_routes',
    described.map(({ labels, table }) => ({ labels, value: table.routeCount })),
  );
  metrics.replace(
    'felix_route_table_num_ifaces',
    described.map(({ labels, table }) => ({ labels, value: table.interfaceCount })),
  );
}

function measureNft(metrics: Metrics, planes: readonly NftablesPlane[]): void {
  const counted = planes.map((plane) => ({ family: plane.family, counts: plane.counts() }));
  const replace = (name: NftGauge, label: (family: NftablesPlane['family']) => string, key: keyof NftCounted): void =>
    metrics.replace(
      name,
      counted.map(({ family, counts }) => ({ labels: { ip_version: label(family) }, value: counts[key] })),
    );
  const ofTable = (family: NftablesPlane['family']): string => TABLE_FAMILY[family];
  const ofSets = (family: NftablesPlane['family']): string =>
    family === 'ip6' ? SET_FAMILY[6] : family === 'ip' ? SET_FAMILY[4] : family;
  replace('felix_nft_chains', ofTable, 'chains');
  replace('felix_nft_rules', ofTable, 'rules');
  replace('felix_nft_maps', ofSets, 'maps');
  replace('felix_nft_sets', ofSets, 'sets');
  replace('felix_nft_flowtable_devices', ofTable, 'flowtableDevices');
  replace('felix_nft_flowtable_missing_devices', ofTable, 'missingFlowtableDevices');
}

type NftGauge = Extract<GaugeName, `felix_nft_${string}`>;
type NftCounted = ReturnType<NftablesPlane['counts']>;
