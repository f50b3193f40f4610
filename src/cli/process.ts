// What every command that runs for a while shares: logger, ways to the kernel, signals, exit codes.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { DataplaneError, errorMessage } from '../base/errors.js';
import type { SessionEnd } from '../driver/session-driver.js';
import { systemClock } from '../kernel/system-clock.js';
import { type KernelAccess, openKernelAccess } from './kernel-access.js';
import { createLogger, type RootLogger } from './logger.js';
import { type DriverOptions, readOptions } from './options.js';
import { DriverMetrics } from '../driver/driver-metrics.js';
import { Metrics } from '../metrics/metrics.js';
import type { SessionContext } from './serve-session.js';
import { UnreachableError } from '../transport/listening.js';
import { newTransportCounters, type TransportCounters } from '../transport/session.js';
import { type NotifyRequest, takeNotifyRequest } from './service-notify.js';
import { bridgeTransportCounters } from './transport-metrics.js';
import { VERSION } from './version.js';

/** Exit codes, documented in docs/operations.md. */
export const EXIT = {
  ok: 0,
  dataplane: 1,
  usage: 64,
  protocol: 65,
  unavailable: 69,
  software: 70,
  config: 78,
} as const;

/** Longest time that stopping may take: Felix sends SIGKILL after four seconds (ops.md section 2). */
const STOP_TIMEOUT_MS = 900;

/** First argument of the broker process. */
const BROKER_ARGUMENT = '__broker';

/** argv of the broker process: the same executable as this one, which `argv` started. */
export function brokerEntryOf(argv: readonly string[]): readonly string[] {
  const [node = process.execPath, script = ''] = argv;
  return [node, ...process.execArgv, script, BROKER_ARGUMENT];
}

/** Says on stderr why a command failed and returns its exit code. Throws what is no failure of ours but a bug. */
export function reportFailure(error: unknown): number {
  if (!(error instanceof DataplaneError)) throw error;
  console.error(`felix-dataplane: ${error.message}`);
  return exitCodeOf(error);
}

/** The exit code that says why we end. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof DataplaneError)) return EXIT.software;
  if (error instanceof UnreachableError) return EXIT.unavailable;
  switch (error.kind) {
    case 'protocol':
      return EXIT.protocol;
    case 'config':
      return EXIT.config;
    case 'tool':
    case 'netlink':
    case 'refused':
      return EXIT.dataplane;
    case 'bug':
      return EXIT.software;
  }
}

/** Logs how a session ended, as the last line where the process ends with it; returns the exit code for that. */
export function reportEnd(end: SessionEnd, log: RootLogger): number {
  if (end.kind === 'fatal') {
    log.error(`Ending: ${errorMessage(end.error)}. The kernel keeps what is programmed`);
    return exitCodeOf(end.error);
  }
  if (end.reason.kind === 'error') {
    log.error(`Ending: ${end.reason.error.message}. The kernel keeps what is programmed`);
    return exitCodeOf(end.reason.error);
  }
  log.info('Ending: the control plane closed the connection. The kernel keeps what is programmed', {
    reason: end.reason.kind,
  });
  return EXIT.ok;
}

/** How often the loop is looked at: seldom enough that an idle driver stays idle. */
const LOOP_CHECK_MS = 200;

/** How late timers are, since the last scrape. The histogram holds nanoseconds, with the interval in them. */
function watchEventLoop(metrics: Metrics): void {
  const delay = monitorEventLoopDelay({ resolution: LOOP_CHECK_MS });
  delay.enable();
  metrics.beforeScrape(() => {
    for (const quantile of [0.5, 0.9, 0.99]) {
      const lateMs = Math.max(0, delay.percentile(quantile * 100) / 1e6 - LOOP_CHECK_MS);
      metrics.set('felix_driver_event_loop_delay_seconds', lateMs / 1_000, { quantile: String(quantile) });
    }
    delay.reset();
  });
}

/** A process that programs the kernel. */
export interface DriverContext extends SessionContext {
  readonly access: KernelAccess;
  readonly options: DriverOptions;
  /** What all connections of this process count into. */
  readonly counters: TransportCounters;
  /** What the service manager asks, if one started us; null for what Felix started, for it is Felix that is asked then. */
  readonly notify: NotifyRequest | null;
}

/** Reads the options and opens the ways to the kernel. @throws ConfigError for bad options. */
export function openDriverContext(
  brokerEntry: readonly string[],
  startedBy: 'felix' | 'service manager',
): DriverContext {
  const startedMs = systemClock.nowMs();
  // Before anything is started that would inherit it.
  const request = takeNotifyRequest(process.env, process.pid);
  const notify = startedBy === 'felix' ? null : request;
  const options = readOptions(process.env);
  const log = createLogger(options.logFormat, options.logLevel === undefined ? 'info' : options.logLevel);
  const metrics = new Metrics();
  const access = openKernelAccess({ driver: options.kernelDriver, brokerEntry, clock: systemClock, log, metrics });
  metrics.set('felix_driver_build_info', 1, {
    version: VERSION,
    node_version: process.version,
    backend: access.description.nftables,
  });
  metrics.beforeScrape(() => metrics.set('felix_driver_resident_memory_bytes', process.memoryUsage.rss()));
  watchEventLoop(metrics);
  const driverMetrics = new DriverMetrics(metrics, systemClock, startedMs);
  const counters = newTransportCounters();
  bridgeTransportCounters(metrics, counters);
  return { access, clock: systemClock, log, options, startedMs, metrics, driverMetrics, counters, notify };
}

/** Resolves with `code` at SIGTERM or SIGINT. */
export function untilSignal(log: RootLogger): Promise<number> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.once(name, () => {
        log.info('Ending: stopped by a signal. The kernel keeps what is programmed', { signal: name });
        resolve(EXIT.ok);
      });
    }
  });
}

/**
 * Waits for `stopping`, but not for a tool that hangs: its transaction is atomic, and the next start reads what stands.
 */
export async function stopInTime(stopping: Promise<unknown>, log: RootLogger): Promise<void> {
  const timeout = new Promise<void>((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref());
  await Promise.race([stopping, timeout]);
  log.flush();
}
