// Builds the dataplane of one session from its configuration: detection, back ends, managers, reconcilers and the loop.
// The only place where rooms are put together.
import { hostname } from 'node:os';
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { diffLive } from '../driver/config/live.js';
import { parseConfig, type ParsedConfig } from '../driver/config/config.js';
import { DataplaneLoop } from '../driver/loop.js';
import type { DataplaneInput, RunningDataplane } from '../driver/session-driver.js';
import { StatusCombiner } from '../driver/status-combiner.js';
import { EndpointStatusFiles } from '../driver/status-files.js';
import { BandwidthReconciler } from '../interfaces/bandwidth.js';
import { detectHostMtu } from '../interfaces/host-mtu.js';
import { InterfaceMonitor } from '../interfaces/interface-monitor.js';
import { InterfaceSysctlsReconciler } from '../interfaces/interface-sysctls.js';
import { setUpKernel } from '../interfaces/kernel-setup.js';
import { hostFiles } from '../kernel/files.js';
import { createPolicyManagers, type FamilySinks } from '../managers/create-managers.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { Family } from '../model/family.js';
import type { Operation } from '../model/operation.js';
import type { ConfigUpdate, Encapsulation } from '../protocol/gen/felix/felixbackend_pb.js';
import { CommandConntrackCleaner } from '../routes/conntrack-cleaner.js';
import { MainTableOwnership } from '../routes/ownership.js';
import { RouteTableReconciler } from '../routes/route-table-reconciler.js';
import { MAIN_TABLE } from '../routes/route-kernel.js';
import { createRuleRenderer } from '../rules/create-rule-renderer.js';
import { detectIptablesBackend } from '../tables/iptables/backend.js';
import { detectFeatures } from '../tables/iptables/features.js';
import { detectNftablesMode } from '../tables/nftables/mode.js';
import { requireNft } from '../tables/nftables/version.js';
import {
  type BackendOptions,
  type Backends,
  createIptablesBackends,
  createNftablesBackends,
  type FamilyBackend,
} from './backends.js';
import type { KernelAccess } from './kernel-access.js';
import type { DriverOptions } from './options.js';

const PROC_SYS = '/proc/sys';
const IPVS_INTERFACE = 'kube-ipvs0';
const VXLAN_DEVICES: Readonly<Record<Family, string>> = { 4: 'vxlan.calico', 6: 'vxlan-v6.calico' };

/** What all dataplanes of a process share. */
export interface DataplaneBuilderOptions {
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly options: DriverOptions;
}

/** Parses a ConfigUpdate and says in the log what it could not use. @throws ConfigError where Felix would die. */
export function readConfig(update: ConfigUpdate, log: Logger): ParsedConfig {
  const parsed = parseConfig(update, hostname());
  for (const warning of parsed.warnings) log.warn('Configuration value cannot be used', { ...warning });
  for (const setting of parsed.unsupported) log.warn('Configuration is not supported by this dataplane', { setting });
  if (parsed.unknown.length > 0)
    log.debug('Configuration keys that nobody knows are ignored', { keys: parsed.unknown });
  return parsed;
}

async function detectEnvironment(
  config: DataplaneConfig,
  encapsulation: Encapsulation,
  builder: DataplaneBuilderOptions,
): Promise<DataplaneEnvironment> {
  const { access, log } = builder;
  const mode = await detectNftablesMode(access.nft, config.nftablesMode);
  log.info('Chose the back end', { backend: mode.backend, reasons: mode.reasons });
  const links = await access.routes.listLinks();
  const rpFilter = await hostFiles.read(`${PROC_SYS}/net/ipv4/conf/default/rp_filter`);
  return {
    backend: mode.backend,
    ipvs: links.some((link) => link.name === IPVS_INTERFACE),
    ipipEnabled: config.ipInIpEnabled ?? encapsulation.ipipEnabled,
    vxlanEnabled: config.vxlanEnabled ?? encapsulation.vxlanEnabled,
    vxlanEnabledV6: encapsulation.vxlanEnabledV6,
    noEncapEnabled: encapsulation.noEncapEnabled,
    hostMtu: detectHostMtu(links, config.mtuIfacePattern),
    defaultRpFilter: rpFilter?.trim() ?? '0',
  };
}

async function createBackends(environment: DataplaneEnvironment, options: BackendOptions): Promise<Backends> {
  const { config, access, log } = options;
  if (environment.backend === 'nftables') {
    await requireNft(access.broker);
    return createNftablesBackends(options);
  }
  const variant = await detectIptablesBackend(access.broker, hostFiles, config.iptablesBackend, log);
  return createIptablesBackends(options, variant);
}

/** Builds a dataplane that has not written anything yet; `loop.open()` starts it. */
export async function buildDataplane(
  input: DataplaneInput,
  parsed: ParsedConfig,
  builder: DataplaneBuilderOptions,
): Promise<RunningDataplane> {
  const { access, clock, log, options } = builder;
  const { config } = parsed;
  const onOperation = (operation: Operation): void => log.debug('Operation', { ...operation });
  const environment = await detectEnvironment(config, input.encapsulation, builder);
  const features = await detectFeatures(access.broker, hostFiles, config.featureDetectOverride, log);
  const backends = await createBackends(environment, { config, features, access, clock, log, onOperation });
  await setUpKernel({
    config,
    runner: access.broker,
    files: hostFiles,
    logger: log,
    observe: onOperation,
    procSys: PROC_SYS,
  });

  const statuses = new StatusCombiner();
  statuses.setWireguardKey(4, '');
  statuses.setWireguardKey(6, '');
  const sysctls = new InterfaceSysctlsReconciler({
    files: hostFiles,
    logger: log,
    observe: onOperation,
    procSys: PROC_SYS,
  });
  const bandwidth = new BandwidthReconciler({ kernel: access.routes, logger: log, observe: onOperation });
  const conntrack = new CommandConntrackCleaner({ runner: access.broker, logger: log, observe: onOperation });
  const routeTables: RouteTableReconciler[] = [];
  const family = (number: Family, backend: FamilyBackend): FamilySinks => {
    const ownership = new MainTableOwnership({
      workloadPrefixes: config.interfacePrefixes,
      removeExternalRoutes: config.removeExternalRoutes,
      deviceRouteProtocol: config.deviceRouteProtocol,
      vxlanDevice: VXLAN_DEVICES[number],
      ownsBirdIpipRoutes:
        config.programClusterRoutes === 'Enabled' || config.programClusterRoutes === 'EnabledIPIPOnly',
    });
    const routes = new RouteTableReconciler({
      family: number,
      table: MAIN_TABLE,
      kernel: access.routes,
      ownership,
      conntrack,
      staticNeighbours: number === 4,
      disabled: config.routeSyncDisabled,
      clock,
      logger: log,
      observe: onOperation,
    });
    routeTables.push(routes);
    return {
      renderer: createRuleRenderer({ family: number, backend: environment.backend, config, environment }),
      tables: backend.tables,
      ipSets: backend.ipSets,
      routes,
      linkAddresses: { family: number, setAddress: () => undefined },
      bgpPeers: ownership,
    };
  };
  const { managers, endpointManagers } = createPolicyManagers({
    v4: family(4, backends.v4),
    v6: backends.v6 === null ? null : family(6, backends.v6),
    arpTable: backends.arpTable,
    sysctls,
    bandwidth,
    status: statuses,
    log,
  });

  const statusFiles = new EndpointStatusFiles({
    prefix: options.statusPathPrefix ?? config.endpointStatusPathPrefix,
    files: hostFiles,
    clock,
    logger: log,
  });
  const monitor = new InterfaceMonitor({
    source: access.openLinkEvents(),
    lister: access.routes,
    clock,
    logger: log,
    interfaceExclude: config.interfaceExclude,
    workloadPrefixes: config.interfacePrefixes,
    refreshIntervalMs: config.interfaceRefreshIntervalMs,
  });
  let applyNumber = 0;
  let isFirst = true;
  const loop = new DataplaneLoop({
    phases: {
      managers,
      interfaceSettings: [sysctls],
      ipSets: backends.ipSets,
      links: [],
      routes: [...routeTables, bandwidth],
      tables: backends.reconcilers,
      cleanups: backends.cleanups,
    },
    refreshes: [
      {
        name: 'IP sets',
        intervalMs: config.ipsetsRefreshIntervalMs,
        queueResync: () => {
          for (const plane of [...backends.ipSets, ...backends.cleanups]) plane.queueResync();
        },
      },
      {
        name: 'routes',
        intervalMs: config.routeRefreshIntervalMs,
        queueResync: () => {
          for (const table of routeTables) table.queueResync();
        },
      },
    ],
    clock,
    log,
    jitter: Math.random,
    takeMessages: input.takeMessages,
    setRefusals: (refusals) => {
      for (const manager of endpointManagers) manager.setRefusals(refusals);
      for (const refusal of refusals) log.error('Closed instead of programmed', { ...refusal });
    },
    afterApply: (outcome) => {
      for (const manager of endpointManagers) manager.reportStatuses();
      applyNumber += 1;
      const level = isFirst || outcome.operations > 0 ? 'info' : 'debug';
      isFirst = false;
      log[level]('Applied', {
        apply: applyNumber,
        operations: outcome.operations,
        dirty: outcome.dirty,
        phaseMs: outcome.phaseMs,
      });
      input.publish();
    },
    onInSync: input.reportInSync,
    onFatal: input.fail,
  });
  monitor.start(
    (event) => {
      for (const table of routeTables) table.onInterfaceState(event);
      loop.onInterfaceState(event);
    },
    (event) => loop.onInterfaceAddresses(event),
    () => loop.setInterfacesInSync(),
  );
  let current = parsed;
  return {
    loop,
    statuses,
    reportingIntervalMs: config.reportingIntervalMs,
    onConfigUpdate: (update) => {
      try {
        const change = diffLive(current, readConfig(update, log));
        current = { ...current, config: change.config, live: change.live };
        if (change.applied.length > 0) log.info('Configuration changed', { keys: change.applied });
        if (change.needRestart.length > 0)
          log.warn('Configuration changed that needs a restart; it is not applied', { keys: change.needRestart });
      } catch (error) {
        log.error('A later configuration cannot be used; the one in force stays', { error: errorMessage(error) });
      }
    },
    onWorkloadStatuses: (list) => {
      for (const status of list) statusFiles.report(status);
    },
    onInSync: () => statusFiles.inSync(),
    stop: async () => {
      monitor.stop();
      await loop.stop();
      await statusFiles.stop();
    },
  };
}
