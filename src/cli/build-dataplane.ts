// Builds the dataplane of one session from its configuration: detection, back ends, managers, reconcilers and the loop.
// The only place where rooms are put together.
import { hostname } from 'node:os';
import type { Clock } from '../base/clock.js';
import { ConfigError, DataplaneError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { diffLive } from '../driver/config/live.js';
import { parseConfig, type ParsedConfig } from '../driver/config/config.js';
import type { DriverMetrics } from '../driver/driver-metrics.js';
import { DataplaneLoop, type Refresh } from '../driver/loop.js';
import type { DataplaneInput, RunningDataplane } from '../driver/session-driver.js';
import { StatusCombiner } from '../driver/status-combiner.js';
import { EndpointStatusFiles } from '../driver/status-files.js';
import { BandwidthReconciler } from '../interfaces/bandwidth.js';
import { detectHostMtu, podMtu, writeMtuFile } from '../interfaces/host-mtu.js';
import { InterfaceMonitor } from '../interfaces/interface-monitor.js';
import { InterfaceSysctlsReconciler } from '../interfaces/interface-sysctls.js';
import { setUpKernel } from '../interfaces/kernel-setup.js';
import { hostFiles } from '../kernel/files.js';
import { createPolicyManagers, type FamilySinks } from '../managers/create-managers.js';
import type { EndpointManager } from '../managers/endpoint-manager.js';
import type { Manager } from '../managers/manager.js';
import { createNetworkManagers } from '../managers/network/create-network-managers.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import { FAMILIES } from '../model/family.js';
import type { Operation } from '../model/operation.js';
import type { Reconciler } from '../model/reconciler.js';
import type { ConfigUpdate, Encapsulation } from '../protocol/gen/felix/felixbackend_pb.js';
import { createRuleRenderer } from '../rules/create-rule-renderer.js';
import { detectIptablesBackend } from '../tables/iptables/backend.js';
import { detectFeatures } from '../tables/iptables/features.js';
import { probeFlowtable } from '../tables/nftables/flowtable.js';
import { detectNftablesMode } from '../tables/nftables/mode.js';
import type { NftablesPlane } from '../tables/nftables/plane.js';
import { requireNft } from '../tables/nftables/version.js';
import {
  type BackendOptions,
  type Backends,
  createIptablesBackends,
  createNftablesBackends,
  type FamilyBackend,
} from './backends.js';
import type { KernelAccess } from './kernel-access.js';
import { createNetworking, type FamilyNetworking, type Networking } from './networking.js';
import type { DriverOptions } from './options.js';

const PROC_SYS = '/proc/sys';
const IPVS_INTERFACE = 'kube-ipvs0';
/** Felix looks as often (2.7). */
const HOST_MTU_CHECK_MS = 30_000;

/** What all dataplanes of a process share. */
export interface DataplaneBuilderOptions {
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly options: DriverOptions;
  readonly driverMetrics: DriverMetrics;
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
    await requireNft(access.runner);
    return createNftablesBackends(options);
  }
  const variant = await detectIptablesBackend(access.runner, hostFiles, config.iptablesBackend, log);
  return createIptablesBackends(options, variant);
}

/** The sinks that the managers of one family write to. */
function familySinks(
  backend: FamilyBackend,
  networking: FamilyNetworking,
  config: DataplaneConfig,
  environment: DataplaneEnvironment,
  plane: NftablesPlane | undefined,
): FamilySinks {
  const { family, routes, linkAddresses, bgpPeers } = networking;
  const offloads = plane !== undefined && config.nftablesFlowTableOffload === 'All';
  return {
    ...(offloads ? { flowtable: plane } : {}),
    renderer: createRuleRenderer({ family, backend: environment.backend, config, environment }),
    tables: backend.tables,
    ipSets: backend.ipSets,
    routes,
    linkAddresses,
    bgpPeers,
  };
}

/** Tells the CNI plugin the MTU for pods. Fatal only where RequireMTUFile says so. */
async function saveMtu(
  config: DataplaneConfig,
  environment: DataplaneEnvironment,
  builder: DataplaneBuilderOptions,
): Promise<void> {
  const { options, log } = builder;
  const mtu = podMtu(config, environment);
  try {
    await writeMtuFile(hostFiles, options.mtuFile, mtu);
  } catch (error) {
    if (config.requireMTUFile) {
      const message = `The MTU file ${options.mtuFile} cannot be written (${errorMessage(error)}), and RequireMTUFile is set`;
      throw new ConfigError(message, 'RequireMTUFile', 'true', 'dataplane');
    }
    log.warn('The MTU file cannot be written; pods get the CNI plugin’s default', {
      file: options.mtuFile,
      mtu,
      error: errorMessage(error),
    });
  }
}

/** Felix restarts for another host MTU: devices, rules and pods depend on it. So do we, every 30 s at the most. */
function watchHostMtu(
  parts: Parts,
  config: DataplaneConfig,
  builder: DataplaneBuilderOptions,
  fail: (error: unknown) => void,
): Refresh {
  const { access, log } = builder;
  const { hostMtu } = parts.environment;
  return {
    name: 'host MTU',
    intervalMs: HOST_MTU_CHECK_MS,
    queueResync: () => {
      access.routes.listLinks().then(
        (links) => {
          const now = detectHostMtu(links, config.mtuIfacePattern);
          if (now === hostMtu) return;
          fail(
            new DataplaneError('tool', `The host MTU changed from ${hostMtu} to ${now}: a restart is needed to use it`),
          );
        },
        (error: unknown) => log.warn('The host MTU cannot be checked', { error: errorMessage(error) }),
      );
    },
  };
}

/** The parts of a dataplane that the loop is built around. */
interface Parts {
  readonly environment: DataplaneEnvironment;
  readonly backends: Backends;
  readonly networking: Networking;
  readonly sysctls: InterfaceSysctlsReconciler;
  readonly bandwidth: BandwidthReconciler;
  readonly statuses: StatusCombiner;
  readonly managers: readonly Manager[];
  readonly endpointManagers: readonly EndpointManager[];
}

/** Flow offload only where the kernel has flowtables: a rule that names a missing one would refuse the table. */
async function withoutMissingOffload(
  config: DataplaneConfig,
  environment: DataplaneEnvironment,
  builder: DataplaneBuilderOptions,
): Promise<DataplaneConfig> {
  if (environment.backend !== 'nftables' || config.nftablesFlowTableOffload === 'Disabled') return config;
  const isSupported = await probeFlowtable(builder.access.nft, 'ip', builder.log);
  return isSupported ? config : { ...config, nftablesFlowTableOffload: 'Disabled' };
}

async function createParts(
  configured: DataplaneConfig,
  encapsulation: Encapsulation,
  builder: DataplaneBuilderOptions,
): Promise<Parts> {
  const { access, clock, log, driverMetrics } = builder;
  const onOperation = (operation: Operation): void => {
    driverMetrics.operation(operation);
    log.debug('Operation', { ...operation });
  };
  const [environment, features] = await Promise.all([
    detectEnvironment(configured, encapsulation, builder),
    detectFeatures(access.runner, hostFiles, configured.featureDetectOverride, log),
  ]);
  const config = await withoutMissingOffload(configured, environment, builder);
  const shared = { config, features, access, clock, log, onOperation };
  const common = { files: hostFiles, logger: log, observe: onOperation, procSys: PROC_SYS };
  const [backends] = await Promise.all([
    createBackends(environment, shared),
    setUpKernel({ ...common, config, runner: access.runner }),
  ]);
  await saveMtu(config, environment, builder);
  const networking = createNetworking(shared);
  const statuses = new StatusCombiner();
  for (const family of FAMILIES) statuses.setWireguardKey(family, '');
  const sysctls = new InterfaceSysctlsReconciler(common);
  const bandwidth = new BandwidthReconciler({ kernel: access.routes, logger: log, observe: onOperation });
  const network = createNetworkManagers({
    config,
    environment,
    v4: { ...networking.v4, ipSets: backends.v4.ipSets },
    v6: networking.v6 === null || backends.v6 === null ? null : { ...networking.v6, ipSets: backends.v6.ipSets },
    devices: networking.devices,
    log,
  });
  const { managers, endpointManagers } = createPolicyManagers({
    v4: familySinks(backends.v4, networking.v4, config, environment, backends.planes.get(4)),
    v6:
      networking.v6 === null || backends.v6 === null
        ? null
        : familySinks(backends.v6, networking.v6, config, environment, backends.planes.get(6)),
    arpTable: backends.arpTable,
    sysctls,
    bandwidth,
    status: statuses,
    network,
    log,
  });
  return { environment, backends, networking, sysctls, bandwidth, statuses, managers, endpointManagers };
}

function createLoop(
  parts: Parts,
  config: DataplaneConfig,
  input: DataplaneInput,
  builder: DataplaneBuilderOptions,
): DataplaneLoop {
  const { backends, networking, sysctls, bandwidth, managers, endpointManagers } = parts;
  const { clock, log, driverMetrics } = builder;
  let applyNumber = 0;
  const resync = (reconcilers: readonly Reconciler[]) => (): void => {
    for (const reconciler of reconcilers) reconciler.queueResync();
  };
  return new DataplaneLoop({
    phases: {
      managers,
      interfaceSettings: [sysctls],
      ipSets: backends.ipSets,
      links: networking.links,
      routes: [...networking.routes, bandwidth],
      tables: backends.reconcilers,
      cleanups: backends.cleanups,
    },
    refreshes: [
      watchHostMtu(parts, config, builder, input.fail),
      {
        name: 'IP sets',
        intervalMs: config.ipsetsRefreshIntervalMs,
        queueResync: resync([...backends.ipSets, ...backends.cleanups]),
      },
      {
        name: 'routes',
        intervalMs: config.routeRefreshIntervalMs,
        queueResync: resync([...networking.links, ...networking.routes]),
      },
    ],
    clock,
    log,
    jitter: Math.random,
    takeMessages: () => {
      const messages = input.takeMessages();
      driverMetrics.messages(messages.map((message) => message.case ?? ''));
      return messages;
    },
    setRefusals: (refusals) => {
      for (const manager of endpointManagers) manager.setRefusals(refusals);
      driverMetrics.refusals(refusals);
      for (const refusal of refusals) log.error('Closed instead of programmed', { ...refusal });
    },
    afterApply: (outcome) => {
      for (const manager of endpointManagers) manager.reportStatuses();
      applyNumber += 1;
      driverMetrics.applied(outcome);
      const level = applyNumber === 1 || outcome.operations > 0 ? 'info' : 'debug';
      const { operations, dirty, phaseMs } = outcome;
      log[level]('Applied', { apply: applyNumber, operations, dirty, phaseMs });
      input.publish();
    },
    onInSync: input.reportInSync,
    onFatal: input.fail,
  });
}

/** Takes over what a later ConfigUpdate may change while we run, and says what it may not. */
function createConfigUpdater(parsed: ParsedConfig, log: Logger): (update: ConfigUpdate) => void {
  let current = parsed;
  return (update) => {
    try {
      const change = diffLive(current, readConfig(update, log));
      current = { ...current, config: change.config, live: change.live };
      if (change.applied.length > 0) log.info('Configuration changed', { keys: change.applied });
      if (change.needRestart.length > 0) {
        log.warn('Configuration changed that needs a restart; it is not applied', { keys: change.needRestart });
      }
    } catch (error) {
      log.error('A later configuration cannot be used; the one in force stays', { error: errorMessage(error) });
    }
  };
}

/** Builds a dataplane that has not written any rule yet; `loop.open()` starts it. */
export async function buildDataplane(
  input: DataplaneInput,
  parsed: ParsedConfig,
  builder: DataplaneBuilderOptions,
): Promise<RunningDataplane> {
  const { access, clock, log, options } = builder;
  const { config } = parsed;
  const parts = await createParts(config, input.encapsulation, builder);
  const loop = createLoop(parts, config, input, builder);
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
  monitor.start(
    (event) => {
      parts.networking.onInterfaceState(event);
      parts.bandwidth.onInterfaceState(event);
      loop.onInterfaceState(event);
    },
    (event) => loop.onInterfaceAddresses(event),
    () => loop.setInterfacesInSync(),
  );
  return {
    loop,
    statuses: parts.statuses,
    reportingIntervalMs: config.reportingIntervalMs,
    onConfigUpdate: createConfigUpdater(parsed, log),
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
