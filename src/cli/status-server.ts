// The health and metrics server of a driver process: /liveness, /readiness, /metrics, /debug/state.
import { errorMessage } from '../base/errors.js';
import { mergeExpositions } from '../metrics/metrics.js';
import { fetchExposition } from '../transport/exposition-client.js';
import { type HealthReport, type HttpStatusAddress, serveHttpStatus } from '../transport/http-status.js';
import { parseHostPort } from './addresses.js';
import type { DriverContext } from './process.js';
import type { ServedSession } from './serve-session.js';
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
  const { access, log, options, clock, startedMs } = context;
  let session: ServedSession | null = null;
  const nothing = { setSession: () => undefined, close: () => Promise.resolve() };
  if (options.health === null) return nothing;
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
  const reports = (kind: 'isLive' | 'isReady'): readonly HealthReport[] => [
    session === null
      ? { name: 'Dataplane', ok: kind === 'isLive', detail: 'no control plane is connected' }
      : { name: 'Dataplane', ok: session.health()[kind], detail: session.health().detail },
  ];
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
      setSession: (next) => {
        session = next;
      },
      close: () => server.close(),
    };
  } catch (error) {
    log.error('Health and metrics cannot be served; the dataplane runs without', {
      address: options.health,
      error: errorMessage(error),
    });
    return nothing;
  }
}
