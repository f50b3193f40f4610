// Runs one session to its end on a shared way to the kernel, and says how it ended.
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { DriverMetrics } from '../driver/driver-metrics.js';
import type { Metrics } from '../metrics/metrics.js';
import type { ParsedConfig } from '../driver/config/config.js';
import { type DataplaneInput, SessionDriver, type SessionEnd } from '../driver/session-driver.js';
import type { Session } from '../protocol/session.js';
import { buildDataplane, readConfig } from './build-dataplane.js';
import type { KernelAccess } from './kernel-access.js';
import { parseLogLevel, type RootLogger } from './logger.js';
import type { DriverOptions } from './options.js';

/** DataplaneWatchdogTimeout before the configuration is known. */
const DEFAULT_WATCHDOG_MS = 90_000;

/** What sessions of one process share. */
export interface SessionContext {
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: RootLogger;
  readonly options: DriverOptions;
  readonly startedMs: number;
  readonly metrics: Metrics;
  readonly driverMetrics: DriverMetrics;
}

/** A session that runs; `stop` ends its work, the kernel stays as it is. */
export interface ServedSession {
  readonly ended: Promise<SessionEnd>;
  stop(): Promise<void>;
  /** Live: the loop turns, or has nothing to do. Ready: an apply left nothing undone. */
  health(): { readonly isLive: boolean; readonly isReady: boolean; readonly detail: string };
  /** What waits, in and out. */
  backlog(): { readonly queueDepth: number; readonly queueBytes: number; readonly sendBacklog: number };
  /** For /debug/state. */
  state(): unknown;
}

/** Starts to serve a session. */
export function serveSession(session: Session, context: SessionContext): ServedSession {
  const { access, clock, log, options, startedMs, driverMetrics } = context;
  let watchdogMs = DEFAULT_WATCHDOG_MS;
  let isInSync = false;
  let last: { readonly update: DataplaneInput['config']; readonly parsed: ParsedConfig } | null = null;
  /** The update that stands at InSync is nearly always the one that came first: it is parsed, and told of, once. */
  const parse = (update: DataplaneInput['config']): ParsedConfig => {
    if (last?.update === update) return last.parsed;
    const parsed = readConfig(update, log);
    last = { update, parsed };
    watchdogMs = parsed.config.dataplaneWatchdogTimeoutMs;
    if (options.logLevel === undefined) log.setLevel(parseLogLevel(parsed.config.logSeverityScreen) ?? 'info');
    return parsed;
  };
  const driver = new SessionDriver({
    session,
    clock,
    log,
    startedMs,
    prepare: (update) => {
      try {
        parse(update);
      } catch (error) {
        // Only what stands at InSync counts; it is parsed again then.
        log.error('Configuration cannot be used', { error: errorMessage(error) });
      }
    },
    build: (input) =>
      buildDataplane(
        {
          ...input,
          reportInSync: () => {
            isInSync = true;
            driverMetrics.inSync();
            input.reportInSync();
          },
        },
        parse(input.config),
        { access, clock, log, options, driverMetrics, metrics: context.metrics },
      ),
  });
  driverMetrics.sessionConnected(true);
  const ended = driver.run().finally(() => driverMetrics.sessionConnected(false));
  return {
    ended,
    stop: () => driver.stop(),
    health: () => {
      const stalledMs = driver.stalledMs();
      const isLive = stalledMs < watchdogMs;
      const detail = isLive
        ? isInSync
          ? 'in sync'
          : 'not in sync yet'
        : `an apply has been running for ${Math.round(stalledMs / 1000)} s`;
      return { isLive, isReady: isLive && isInSync, detail };
    },
    backlog: () => driver.state(),
    state: () => ({
      peer: session.description,
      isInSync,
      lastGoodApplyAgeMs: driverMetrics.lastGoodApplyAgeMs,
      ...driver.state(),
    }),
  };
}
