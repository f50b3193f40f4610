// Builds the rule tables and IP sets of the back end in use, for both families, and the ARP table that every mode has.
import type { Clock } from '../base/clock.js';
import type { Logger } from '../base/logger.js';
import { IpSetCleanup } from '../ipsets/cleanup.js';
import { IpSetPlane } from '../ipsets/ip-set-plane.js';
import type { IpSetReconciler } from '../ipsets/ip-sets.js';
import { hostFiles } from '../kernel/files.js';
import type { FamilyTables } from '../managers/static-rules.js';
import type { DataplaneConfig } from '../model/config.js';
import { FAMILIES, type Family, TABLE_NAMES, type TableName } from '../model/family.js';
import type { Features } from '../model/features.js';
import type { OperationObserver } from '../model/operation.js';
import type { Reconciler } from '../model/reconciler.js';
import { createIptablesCleanups } from '../tables/iptables/cleanups.js';
import { CommandIptablesIo } from '../tables/iptables/command-io.js';
import type { RenderedChain } from '../tables/iptables/hash.js';
import { IptablesTable } from '../tables/iptables/iptables-table.js';
import { readsOurForms } from '../tables/iptables/known-forms.js';
import { createOwnTablesCleanup } from '../tables/nftables/cleanup.js';
import { NftablesPlane } from '../tables/nftables/plane.js';
import type { PrintedChain } from '../tables/nftables/rendered-chains.js';
import { probeNft } from '../tables/nftables/version.js';
import type { RuleTable } from '../tables/rule-table.js';
import { SharedRenderings } from '../tables/shared-renderings.js';
import { Turns } from '../tables/turns.js';
import type { Metrics } from '../metrics/metrics.js';
import { countIptables } from './counted-io.js';
import type { CountedTables } from './dataplane-gauges.js';
import type { KernelAccess } from './kernel-access.js';

/** Sets destroyed per apply: 40 ms each in the kernel (4.7). */
const MAX_SET_DELETIONS = 1;

/** Rules and sets of one family. */
export interface FamilyBackend {
  readonly tables: FamilyTables;
  readonly ipSets: IpSetReconciler;
}

/** Everything that programs rules and sets. */
export interface Backends {
  readonly v4: FamilyBackend;
  readonly v6: FamilyBackend | null;
  readonly arpTable: RuleTable | null;
  readonly reconcilers: readonly Reconciler[];
  /** In these the tables make their scripts. */
  readonly turns: Turns;
  readonly ipSets: readonly IpSetReconciler[];
  readonly cleanups: readonly Reconciler[];
  /** nftables planes by family; empty in iptables mode. */
  readonly planes: ReadonlyMap<Family, NftablesPlane>;
  /** What is counted at scrape time. */
  readonly counted: CountedTables;
}

/** What back ends are built from. */
export interface BackendOptions {
  readonly config: DataplaneConfig;
  readonly features: Features;
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
  readonly metrics: Metrics;
}

/** The ARP table needs nft in every mode; without it, or where it is overridden away, ARP suppression is left out, and said so. */
async function createArpPlane(options: BackendOptions, refreshIntervalMs: number): Promise<NftablesPlane | null> {
  if (options.config.featureDetectOverride.get('NFTablesSupported') === false) {
    options.log.info('The table arp calico-arp is left out: FeatureDetectOverride says NFTablesSupported=false');
    return null;
  }
  const probe = await probeNft(options.access.runner);
  if (probe.problem !== null) {
    options.log.warn('The table arp calico-arp is left out: hosts may answer for pods', { reason: probe.problem });
    return null;
  }
  return new NftablesPlane({
    family: 'arp',
    features: options.features,
    refreshIntervalMs,
    io: options.access.nft,
    clock: options.clock,
    log: options.log,
    onOperation: options.onOperation,
    required: false,
  });
}

/** Rules of ours that another back end, or an older Calico, left in iptables. */
function iptablesCleanups(
  options: BackendOptions,
  backendInUse: 'legacy' | 'nft' | 'nftables',
  refreshIntervalMs: number,
): readonly Reconciler[] {
  const { config, features, access, clock, log, onOperation } = options;
  return createIptablesCleanups({
    backendInUse,
    families: config.ipv6Support ? FAMILIES : [4],
    runner: access.runner,
    files: hostFiles,
    restoreSupportsLock: features.restoreSupportsLock,
    lockProbeIntervalMs: config.iptablesLockProbeIntervalMs,
    refreshIntervalMs,
    clock,
    log,
    onOperation,
  });
}

/** What the tables of both families share; nobody takes what waits when there is one family only. */
function sharedByTable<T>(config: DataplaneConfig): ReadonlyMap<TableName, SharedRenderings<T>> | undefined {
  return config.ipv6Support ? new Map(TABLE_NAMES.map((name) => [name, new SharedRenderings<T>()])) : undefined;
}

/** Tables and sets by iptables and ipset. */
export async function createIptablesBackends(options: BackendOptions, variant: 'legacy' | 'nft'): Promise<Backends> {
  const { config, features, access, clock, log, onOperation } = options;
  const refreshIntervalMs = config.refreshIntervalMs.iptables;
  const command = new CommandIptablesIo({
    runner: access.runner,
    backend: variant,
    restoreSupportsLock: features.restoreSupportsLock,
    lockProbeIntervalMs: config.iptablesLockProbeIntervalMs,
    ...(variant === 'nft' && access.commits !== null ? { ledger: access.commits } : {}),
    ...(access.taggedRules === null ? {} : { readTags: access.taggedRules[variant] }),
  });
  const families = config.ipv6Support ? FAMILIES : ([4] as const);
  const native = access.nativeIptables;
  const isNative = native !== null && (await readsOurForms(access.runner, variant, families, log));
  const io = countIptables(isNative ? native(command, variant) : command, options.metrics);
  const reconcilers: Reconciler[] = [];
  const iptables: IptablesTable[] = [];
  const ipSetPlanes: IpSetPlane[] = [];
  const turns = new Turns();
  const shared = sharedByTable<RenderedChain>(config);
  const create = (family: Family): FamilyBackend => {
    const table = (name: TableName): IptablesTable => {
      const made = new IptablesTable({
        family,
        table: name,
        backend: variant,
        insertMode: config.chainInsertMode,
        refreshIntervalMs,
        postWriteCheckIntervalMs: config.iptablesPostWriteCheckIntervalMs,
        features,
        io,
        clock,
        log,
        onOperation,
        turns,
        shared: shared?.get(name),
      });
      reconcilers.push(made);
      iptables.push(made);
      return made;
    };
    const tables = Object.fromEntries(TABLE_NAMES.map((name) => [name, table(name)])) as unknown as FamilyTables;
    const ipSets = new IpSetPlane({
      family,
      maxDeletionsPerApply: MAX_SET_DELETIONS,
      io: access.ipSets,
      clock,
      log,
      onOperation,
    });
    ipSetPlanes.push(ipSets);
    return { tables, ipSets };
  };
  const v4 = create(4);
  const v6 = config.ipv6Support ? create(6) : null;
  const arp = await createArpPlane(options, refreshIntervalMs);
  if (arp !== null) reconcilers.push(arp);
  return {
    v4,
    v6,
    arpTable: arp?.layer('filter') ?? null,
    reconcilers,
    turns,
    ipSets: v6 === null ? [v4.ipSets] : [v4.ipSets, v6.ipSets],
    cleanups: [
      ...iptablesCleanups(options, variant, refreshIntervalMs),
      createOwnTablesCleanup({ io: access.nft, refreshIntervalMs, clock, log, onOperation }),
    ],
    planes: new Map(),
    counted: { iptables, ipSets: ipSetPlanes, nft: arp === null ? [] : [arp] },
  };
}

/** Tables and sets by nftables; ipset's sets of an earlier mode are destroyed. */
export async function createNftablesBackends(options: BackendOptions): Promise<Backends> {
  const { config, features, access, clock, log, onOperation } = options;
  const refreshIntervalMs = config.refreshIntervalMs.nftables;
  const planes = new Map<Family, NftablesPlane>();
  const turns = new Turns();
  const shared = sharedByTable<PrintedChain>(config);
  const create = (family: Family): FamilyBackend => {
    const plane = new NftablesPlane({
      family: family === 4 ? 'ip' : 'ip6',
      features,
      refreshIntervalMs,
      io: access.nft,
      clock,
      log,
      onOperation,
      required: true,
      turns,
      shared,
      listDevices: async () => (await access.routes.listLinks()).map((link) => link.name),
    });
    planes.set(family, plane);
    const tables = Object.fromEntries(TABLE_NAMES.map((name) => [name, plane.layer(name)])) as unknown as FamilyTables;
    return { tables, ipSets: plane.sets };
  };
  const v4 = create(4);
  const v6 = config.ipv6Support ? create(6) : null;
  const arp = await createArpPlane(options, refreshIntervalMs);
  return {
    v4,
    v6,
    arpTable: arp?.layer('filter') ?? null,
    reconcilers: [...planes.values(), ...(arp === null ? [] : [arp])],
    turns,
    ipSets: v6 === null ? [v4.ipSets] : [v4.ipSets, v6.ipSets],
    cleanups: [
      ...iptablesCleanups(options, 'nftables', refreshIntervalMs),
      new IpSetCleanup({ maxDeletionsPerApply: MAX_SET_DELETIONS, io: access.ipSets, log, onOperation }),
    ],
    planes,
    counted: { iptables: [], ipSets: [], nft: [...planes.values(), ...(arp === null ? [] : [arp])] },
  };
}
