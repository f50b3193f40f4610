// Runs one session to its end on a shared way to the kernel, and says how it ended.
import type { Clock } from '../base/clock.js';
import { errorMessage } from '../base/errors.js';
import type { ParsedConfig } from '../driver/config/config.js';
import { type DataplaneInput, SessionDriver, type SessionEnd } from '../driver/session-driver.js';
import type { Session } from '../protocol/session.js';
import { buildDataplane, readConfig } from './build-dataplane.js';
import type { KernelAccess } from './kernel-access.js';
import { parseLogLevel, type RootLogger } from './logger.js';
import type { DriverOptions } from './options.js';

/** What sessions of one process share. */
export interface SessionContext {
  readonly access: KernelAccess;
  readonly clock: Clock;
  readonly log: RootLogger;
  readonly options: DriverOptions;
  readonly startedMs: number;
}

/** A session that runs; `stop` ends its work, the kernel stays as it is. */
export interface ServedSession {
  readonly ended: Promise<SessionEnd>;
  stop(): Promise<void>;
}

/** Starts to serve a session. */
export function serveSession(session: Session, context: SessionContext): ServedSession {
  const { access, clock, log, options, startedMs } = context;
  const parse = (update: DataplaneInput['config']): ParsedConfig => {
    const parsed = readConfig(update, log);
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
    build: (input) => buildDataplane(input, parse(input.config), { access, clock, log, options }),
  });
  return { ended: driver.run(), stop: () => driver.stop() };
}
