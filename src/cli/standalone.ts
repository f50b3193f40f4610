// `felix-dataplane standalone DIR`: driver and control plane in one process, for hosts and containers without Kubernetes.
import { hostname } from 'node:os';
import { MockControlPlane } from '../mock/control-plane.js';
import type { Session } from '../protocol/session.js';
import { dial, listen, MemoryHub } from '../transport/memory.js';
import { serveMockApi } from './mock-api.js';
import { feed, logStatus, readSettings } from './mock.js';
import { MockSource } from './mock-source.js';
import { EXIT, openDriverContext, reportEnd, stopInTime, untilSignal } from './process.js';
import { type ServedSession, serveSession } from './serve-session.js';
import { startStatusServer } from './status-server.js';
import { untilHung } from './watchdog.js';

/** Options of the command. */
export interface StandaloneOptions {
  readonly hostname?: string;
  readonly set?: readonly string[];
  readonly api?: string;
}

/** Enforces the resources in a folder, and every change of them, until a signal. */
export async function runStandalone(
  path: string,
  options: StandaloneOptions,
  brokerEntry: readonly string[],
): Promise<number> {
  const context = openDriverContext(brokerEntry, 'service manager');
  const { log } = context;
  const mock = new MockControlPlane({
    hostname: options.hostname ?? hostname(),
    config: readSettings(options.set ?? []),
    log,
  });
  const source = new MockSource(mock, path, log);
  const problems = source.load();
  if (problems > 0) log.warn('Some resources cannot be used; the others are in force', { problems });
  const status = await startStatusServer(context);
  let served: ServedSession | null = null;
  const told = Promise.race([untilSignal(log), untilHung(() => served, log)]);
  let changed: () => void = () => undefined;
  source.watch(() => changed());
  const api =
    options.api === undefined
      ? null
      : await serveMockApi({ address: options.api, mock, log, onChange: () => changed() });
  for (;;) {
    const hub = new MemoryHub();
    let serve: (session: Session) => void = () => undefined;
    const accepted = new Promise<Session>((resolve) => {
      serve = resolve;
    });
    const listener = await listen({ hub, logger: log, takeOver: false }, (session) => serve(session));
    const control = await dial({ hub, logger: log });
    control.start((payload) => logStatus(payload, log));
    mock.restart();
    feed(mock, control);
    const current = serveSession(await accepted, context);
    served = current;
    status.setSession(current);
    const restarted = new Promise<null>((resolve) => {
      changed = () => {
        const reason = mock.restartReason;
        if (reason === undefined) feed(mock, control);
        else {
          // What Felix restarts for; here the dataplane is built anew over the kernel as it stands.
          log.info('Building the dataplane anew', { reason });
          resolve(null);
        }
      };
    });
    const outcome = await Promise.race([
      // The connection in memory ends only by our own doing, which has been said.
      current.ended.then((end) => (end.kind === 'fatal' ? reportEnd(end, log) : EXIT.ok)),
      told,
      restarted,
    ]);
    const stopping = current.stop().then(() => Promise.all([control.close(), listener.close()]));
    if (outcome === null) {
      await stopping;
      continue;
    }
    source.stop();
    await stopInTime(
      stopping.then(() => Promise.all([status.close(), api?.close()])),
      log,
    );
    return outcome;
  }
}
