// Driver mode: Felix started us with nothing but file descriptors 3 and 4.
import { listen } from '../transport/pipe.js';
import type { Session } from '../protocol/session.js';
import { EXIT, openDriverContext, reportEnd, stopInTime, untilSignal } from './process.js';
import { serveSession } from './serve-session.js';
import { startStatusServer } from './status-server.js';
import { untilHung } from './watchdog.js';

/** Runs until Felix goes away, a signal comes, or the dataplane must not go on. Resolves with the exit code. */
export async function runPipe(brokerEntry: readonly string[]): Promise<number> {
  const context = openDriverContext(brokerEntry, 'felix');
  const { access, counters, log } = context;
  log.info('felix-dataplane starts in driver mode', { ...access.description });
  const status = await startStatusServer(context);
  let session: Session | null = null;
  const listener = await listen({ logger: log, counters }, (accepted) => {
    session = accepted;
  });
  if (session === null) return EXIT.software;
  const served = serveSession(session, context);
  status.setSession(served);
  const code = await Promise.race([
    served.ended.then((end) => reportEnd(end, log)),
    untilSignal(log),
    untilHung(() => served, log),
  ]);
  await stopInTime(
    served.stop().then(() => Promise.all([listener.close(), status.close()])),
    log,
  );
  return code;
}
