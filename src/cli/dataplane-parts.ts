// Detects what the machine is and builds the parts of a dataplane for it: back ends, networking, managers.
import type { Clock } from '../base/clock.js';
import { ConfigError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { DriverMetrics } from '../driver/driver-metrics.js';
import { StatusCombiner } from '../driver/status-combiner.js';
import { BandwidthReconciler } from '../interfaces/bandwidth.js';
import { detectHostMtu, podMtu, writeMtuFile } from '../interfaces/host-mtu.js';
import { InterfaceSysctlsReconciler } from '../interfaces/interface-sysctls.js';
import { setUpKernel } from '../interfaces/kernel-setup.js';
import { ProxyNeighbourReconciler } from '../interfaces/proxy-neighbours.js';
import { hostFiles } from '../kernel/files.js';
import { createPolicyManagers, type FamilySinks } from '../managers/create-managers.js';
import type { EndpointManager } from '../managers/endpoint-manager.js';
import type { Manager } from '../managers/manager.js';
import { createAnnouncementCapture } from '../managers/network/announcement-capture.js';
import { createNetworkManagers } from '../managers/network/create-network-managers.js';
import { LiveMigrationMonitor } from '../managers/network/live-migration-monitor.js';
import { ProxyNeighbourManager } from '../managers/network/proxy-neighbour-manager.js';
import type { DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { Metrics } from '../metrics/metrics.js';
import { FAMILIES, type Family } from '../model/family.js';
import type { Operation } from '../model/operation.js';
import type { Encapsulation } from '../protocol/gen/felix/felixbackend_pb.js';
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
import { IPVS_INTERFACE } from './restart-watch.js';
import { createWireguard, type FamilyWireguard } from './wireguard.js';
import type { DriverOptions } from './options.js';

const PROC_SYS = '/proc/sys';

/** What all dataplanes of a process share. */
export interface DataplaneBuilderOptions {
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly options: DriverOptions;
  readonly driverMetrics: DriverMetrics;
  readonly metrics: Metrics;
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

/** The parts of a dataplane that the loop is built around. */
export interface Parts {
  readonly environment: DataplaneEnvironment;
  readonly backends: Backends;
  readonly networking: Networking;
  readonly wireguard: readonly FamilyWireguard[];
  readonly proxyNeighbours: readonly ProxyNeighbourReconciler[];
  readonly liveMigration: LiveMigrationMonitor;
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

/** Answers ARP and NDP on the node's own subnets, if that is asked for. */
function createProxyNeighbours(
  config: DataplaneConfig,
  builder: DataplaneBuilderOptions,
  wake: () => void,
): ProxyNeighbourReconciler[] {
  const { access, clock, log } = builder;
  if (config.localSubnetL2Reachability === 'Disabled') return [];
  return (config.ipv6Support ? FAMILIES : ([4] as const)).map(
    (family) =>
      new ProxyNeighbourReconciler({
        family,
        kernel: access.routes,
        openSocket: access.openFrameSocket,
        workloadPrefixes: config.interfacePrefixes,
        refreshIntervalMs: config.localSubnetL2ReachabilityRefreshIntervalMs,
        clock,
        wake,
        logger: log,
      }),
  );
}

/** Detects what the machine is, and builds managers and reconcilers for it. Writes nothing but kernel set-up and MTU file. */
export async function createParts(
  configured: DataplaneConfig,
  encapsulation: Encapsulation,
  builder: DataplaneBuilderOptions,
  wake: () => void,
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
  const shared = { config, features, access, clock, log, onOperation, metrics: builder.metrics };
  const common = { files: hostFiles, logger: log, observe: onOperation, procSys: PROC_SYS };
  const [backends] = await Promise.all([
    createBackends(environment, shared),
    setUpKernel({ ...common, config, runner: access.runner }),
  ]);
  await saveMtu(config, environment, builder);
  const networking = createNetworking(shared);
  const statuses = new StatusCombiner();
  const setPublicKey = (family: Family, publicKey: string): void => statuses.setWireguardKey(family, publicKey);
  const [wireguard4, wireguard6] = FAMILIES.map((family) =>
    family === 4 || networking.v6 !== null ? createWireguard(family, { ...shared, environment, setPublicKey }) : null,
  );
  // Where there is nothing that could have a key, the control plane still waits for the word that there is none.
  for (const [family, own] of [
    [4, wireguard4],
    [6, wireguard6],
  ] as const)
    if (!own) setPublicKey(family, '');
  const sysctls = new InterfaceSysctlsReconciler({ ...common, lister: access.sysctls });
  const bandwidth = new BandwidthReconciler({ kernel: access.routes, logger: log, observe: onOperation });
  const proxyNeighbours = createProxyNeighbours(config, builder, wake);
  const liveMigration = new LiveMigrationMonitor({
    clock,
    convergenceTimeMs: config.liveMigrationRouteConvergenceTimeMs,
    startCapture: access.openFrameSocket === null ? null : createAnnouncementCapture(access.openFrameSocket),
    wake,
    log,
  });
  const networkSinks = (
    own: FamilyNetworking,
    backend: FamilyBackend,
    wireguard: FamilyWireguard | null | undefined,
  ) => ({
    ...own,
    ipSets: backend.ipSets,
    ...(wireguard ? { wireguard: wireguard.sinks } : {}),
  });
  const network = createNetworkManagers({
    config,
    environment,
    v4: networkSinks(networking.v4, backends.v4, wireguard4),
    v6: networking.v6 === null || backends.v6 === null ? null : networkSinks(networking.v6, backends.v6, wireguard6),
    devices: networking.devices,
    liveMigration,
    proxyNeighbours: proxyNeighbours.map(
      (neighbours) => new ProxyNeighbourManager({ hostname: config.felixHostname, neighbours, log }),
    ),
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
  liveMigration.setListeners(endpointManagers);
  const wireguard = [wireguard4, wireguard6].filter((own) => own !== null && own !== undefined);
  return {
    wireguard,
    proxyNeighbours,
    liveMigration,
    environment,
    backends,
    networking,
    sysctls,
    bandwidth,
    statuses,
    managers,
    endpointManagers,
  };
}
