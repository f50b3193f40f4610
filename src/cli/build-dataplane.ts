// Builds the dataplane of one session from its configuration: the parts, the loop around them, and what feeds it.
import { hostname } from 'node:os';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { diffLive } from '../driver/config/live.js';
import { parseConfig, type ParsedConfig } from '../driver/config/config.js';
import { DataplaneLoop } from '../driver/loop.js';
import type { DataplaneInput, RunningDataplane } from '../driver/session-driver.js';
import { EndpointStatusFiles } from '../driver/status-files.js';
import { InterfaceMonitor } from '../interfaces/interface-monitor.js';
import { hostFiles } from '../kernel/files.js';
import type { DataplaneConfig } from '../model/config.js';
import type { Reconciler } from '../model/reconciler.js';
import type { ConfigUpdate } from '../protocol/gen/felix/felixbackend_pb.js';
import { measureDataplane } from './dataplane-gauges.js';
import { measuredWireguard, measureWireguard } from './wireguard-gauges.js';
import { createParts, type DataplaneBuilderOptions, type Parts } from './dataplane-parts.js';
import { checkIpvs, restartChecks, type RestartWatch } from './restart-watch.js';

/** Parses a ConfigUpdate and says in the log what it could not use. @throws ConfigError where Felix would die. */
export function readConfig(update: ConfigUpdate, log: Logger): ParsedConfig {
  const parsed = parseConfig(update, hostname());
  for (const warning of parsed.warnings) log.warn('Configuration value cannot be used', { ...warning });
  for (const setting of parsed.unsupported) log.warn('Configuration is not supported by this dataplane', { setting });
  if (parsed.unknown.length > 0)
    log.debug('Configuration keys that nobody knows are ignored', { keys: parsed.unknown });
  return parsed;
}

function createLoop(
  parts: Parts,
  config: DataplaneConfig,
  input: DataplaneInput,
  builder: DataplaneBuilderOptions,
  watch: RestartWatch,
): DataplaneLoop {
  const { backends, networking, wireguard, proxyNeighbours, sysctls, bandwidth, managers, endpointManagers } = parts;
  const routes = [...networking.routes, ...wireguard.flatMap((own) => own.reconcilers)];
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
      routes: [...routes, bandwidth, ...proxyNeighbours],
      tables: backends.reconcilers,
      untilTablesAreSent: () => backends.turns.free(),
      cleanups: backends.cleanups,
    },
    refreshes: [
      ...restartChecks(watch),
      {
        name: 'IP sets',
        intervalMs: config.ipsetsRefreshIntervalMs,
        queueResync: resync([...backends.ipSets, ...backends.cleanups]),
      },
      {
        name: 'routes',
        intervalMs: config.routeRefreshIntervalMs,
        queueResync: resync([...networking.links, ...routes]),
      },
    ],
    clock,
    log,
    jitter: Math.random,
    takeMessages: () => {
      const { messages, mergedAway } = input.takeMessages();
      driverMetrics.merged(mergedAway);
      // Felix's label is the message's type: IPSetUpdate, not ipsetUpdate.
      driverMetrics.messages(messages.map(({ value }) => value?.$typeName.replace('felix.', '') ?? ''));
      return messages;
    },
    tookInterfaceEvents: (states, addresses) => driverMetrics.interfaceEvents(states, addresses),
    closeUsersOfSets: (refusals) => {
      for (const manager of endpointManagers) manager.setRefusals(refusals);
    },
    setRefusals: (refusals) => {
      for (const manager of endpointManagers) manager.setRefusals(refusals);
      driverMetrics.refusals(refusals);
      for (const refusal of refusals) log.error('Closed instead of programmed', { ...refusal });
    },
    publish: () => {
      for (const manager of endpointManagers) manager.reportStatuses();
      input.publish();
    },
    afterApply: (outcome) => {
      applyNumber += 1;
      driverMetrics.applied(outcome);
      const level = applyNumber === 1 || outcome.operations > 0 ? 'info' : 'debug';
      const { operations, dirty, phaseMs } = outcome;
      log[level]('Applied', { apply: applyNumber, operations, dirty, phaseMs });
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
  let wake = (): void => undefined;
  const parts = await createParts(config, input.encapsulation, builder, () => wake());
  const watch = { config, environment: parts.environment, builder, fail: input.fail };
  const loop = createLoop(parts, config, input, builder, watch);
  wake = () => loop.wake();
  const { v4, v6 } = parts.networking;
  const counted = { tables: parts.backends.counted, routes: v6 === null ? [v4.routes] : [v4.routes, v6.routes] };
  const { driverMetrics, metrics } = builder;
  const wireguard = measuredWireguard(config, access);
  driverMetrics.measureBy(() => {
    measureDataplane(metrics, counted);
    if (wireguard !== null) measureWireguard(metrics, wireguard);
  });
  driverMetrics.configWarnings(parsed.warnings.length);
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
      checkIpvs(watch, event);
      parts.networking.onInterfaceState(event);
      parts.bandwidth.onInterfaceState(event);
      for (const wireguard of parts.wireguard) wireguard.onInterfaceState(event);
      for (const neighbours of parts.proxyNeighbours) neighbours.onInterfaceState(event);
      loop.onInterfaceState(event);
    },
    (event) => {
      for (const neighbours of parts.proxyNeighbours) neighbours.onInterfaceAddresses(event);
      loop.onInterfaceAddresses(event);
    },
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
      driverMetrics.measureBy(null);
      monitor.stop();
      parts.liveMigration.stop();
      await loop.stop();
      await statusFiles.stop();
    },
  };
}
