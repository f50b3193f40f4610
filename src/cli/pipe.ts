// Driver mode: Felix started us with nothing but file descriptors 3 and 4.
import { DataplaneError, errorMessage } from '../base/errors.js';
import type { SessionEnd } from '../driver/session-driver.js';
import { systemClock } from '../kernel/system-clock.js';
import type { Session } from '../protocol/session.js';
import { listen } from '../transport/pipe.js';
import { openKernelAccess } from './kernel-access.js';
import { createLogger, type RootLogger } from './logger.js';
import { readOptions } from './options.js';
import { serveSession } from './serve-session.js';

/** Exit codes, documented in docs/operations.md. */
export const EXIT = { ok: 0, dataplane: 1, usage: 64, protocol: 65, software: 70, config: 78 } as const;

/** Longest time that stopping may take: Felix sends SIGKILL after four seconds (ops.md section 2). */
const STOP_TIMEOUT_MS = 900;

/** The exit code that says why we end. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof DataplaneError)) return EXIT.software;
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

function reportEnd(end: SessionEnd, log: RootLogger): number {
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

/** Runs until Felix goes away, a signal comes, or the dataplane must not go on. Resolves with the exit code. */
export async function runPipe(brokerEntry: readonly string[]): Promise<number> {
  const options = readOptions(process.env);
  const log = createLogger(options.logFormat, options.logLevel === undefined ? 'info' : options.logLevel);
  const startedMs = systemClock.nowMs();
  const access = openKernelAccess({ driver: options.kernelDriver, brokerEntry, clock: systemClock, log });
  log.info('felix-dataplane starts in driver mode', { ...access.description });
  let session: Session | null = null;
  const listener = await listen({ logger: log }, (accepted) => {
    session = accepted;
  });
  if (session === null) return EXIT.software;
  const served = serveSession(session, { access, clock: systemClock, log, options, startedMs });
  const signalled = new Promise<number>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.once(name, () => {
        log.info('Ending: stopped by a signal. The kernel keeps what is programmed', { signal: name });
        resolve(EXIT.ok);
      });
    }
  });
  const code = await Promise.race([served.ended.then((end) => reportEnd(end, log)), signalled]);
  // A tool that hangs must not keep us: its transaction is atomic, and the next start reads what stands.
  const timeout = new Promise<void>((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref());
  await Promise.race([served.stop().then(() => listener.close()), timeout]);
  log.flush();
  return code;
}
