// The health and metrics server of a driver process: /liveness, /readiness, /metrics, /debug/state.
import { errorMessage } from '../base/errors.js';
import { mergeExpositions } from '../metrics/metrics.js';
import { fetchExposition } from '../transport/exposition-client.js';
import { type HealthReport, type HttpStatusAddress, serveHttpStatus } from '../transport/http-status.js';
import { parseHostPort } from './addresses.js';
import type { DriverContext } from './process.js';
import type { ServedSession } from './serve-session.js';
import { notifyBy, type ServiceHealth, ServiceNotifier } from './service-notify.js';
import { VERSION } from './version.js';

/** A running server, or nothing where it is switched off. */
export interface StatusServer {
  /** The session that reports from now on. */
  setSession(session: ServedSession): void;
  close(): Promise<void>;
}

function parseAddress(text: string): HttpStatusAddress {
  return text.startsWith('unix:') ? { path: text.slice('unix:'.length) } : parseHostPort(text);
}

/** Our series; with DATAPLANE_FELIX_METRICS also Felix's, less those that we have ourselves. */
async function exposition({ metrics, options, log }: DriverContext): Promise<string> {
  const ours = await metrics.text();
  if (options.felixMetrics === null) return ours;
  try {
    return mergeExpositions(await fetchExposition(options.felixMetrics), ours);
  } catch (error) {
    log.warn("Felix's metrics cannot be fetched; only ours are served", {
      url: options.felixMetrics,
      error: errorMessage(error),
    });
    return ours;
  }
}

/**
 * Starts the server that DATAPLANE_HEALTH names. A port that is taken is no reason not to program the kernel: it is
 * logged, and the driver runs without.
 */
export async function startStatusServer(context: DriverContext): Promise<StatusServer> {
  const { access, log, options, clock, startedMs, notify } = context;
  let session: ServedSession | null = null;
  const health = (): ServiceHealth =>
    session?.health() ?? { isLive: true, isReady: false, detail: 'no control plane is connected' };
  const notifier =
    notify === null
      ? null
      : new ServiceNotifier(notify, notifyBy(notify, access.runner), log, health, () => clock.nowMs());
  const setSession = (next: ServedSession): void => {
    session = next;
  };
  const withoutServer = {
    setSession,
    close: () => {
      notifier?.stop();
      return Promise.resolve();
    },
  };
  if (options.health === null) return withoutServer;
  context.metrics.beforeScrape(() => {
    const { queueDepth, queueBytes, sendBacklog } = session?.backlog() ?? {
      queueDepth: 0,
      queueBytes: 0,
      sendBacklog: 0,
    };
    context.metrics.set('felix_driver_queue_depth', queueDepth);
    context.metrics.set('felix_driver_queue_bytes', queueBytes);
    context.metrics.set('felix_driver_send_backlog', sendBacklog);
  });
  const reports = (kind: 'isLive' | 'isReady'): readonly HealthReport[] => {
    const now = health();
    return [{ name: 'Dataplane', ok: now[kind], detail: now.detail }];
  };
  try {
    const server = await serveHttpStatus({
      address: parseAddress(options.health),
      logger: log,
      source: {
        liveness: () => reports('isLive'),
        readiness: () => reports('isReady'),
        metrics: () => exposition(context),
        debugState: () => ({
          version: VERSION,
          uptimeSeconds: Math.round((clock.nowMs() - startedMs) / 1000),
          kernel: access.description,
          session: session === null ? null : session.state(),
        }),
      },
    });
    log.info('Health and metrics are served', { address: server.address });
    return {
      setSession,
      close: async () => {
        notifier?.stop();
        await server.close();
      },
    };
  } catch (error) {
    log.error('Health and metrics cannot be served; the dataplane runs without', {
      address: options.health,
      error: errorMessage(error),
    });
    return withoutServer;
  }
}
