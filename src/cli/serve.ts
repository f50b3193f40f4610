// `felix-dataplane serve`: a driver that runs as a service and outlives its control planes. When one goes away,
// everything stays in force; the next one's state is compared at its InSync and only differences are written.
import { ConfigError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import * as grpc from '../transport/grpc.js';
import type { Session } from '../protocol/session.js';
import { ObserverHub } from '../transport/observers.js';
import * as socket from '../transport/socket.js';
import { type AddressOptions, parseStreamAddress } from './addresses.js';
import { exitCodeOf, openDriverContext, reportEnd, stopInTime, untilSignal } from './process.js';
import { type ServedSession, serveSession } from './serve-session.js';
import { startStatusServer } from './status-server.js';
import { untilHung } from './watchdog.js';

/** Options of the command. */
export interface ServeOptions extends AddressOptions {
  readonly listen: string;
  readonly grpc?: boolean;
  readonly takeOver?: boolean;
  readonly observe?: string;
}

async function openObservers(address: string | undefined, log: Logger): Promise<ObserverHub | null> {
  if (address === undefined) return null;
  if (!address.startsWith('unix:/')) {
    const message = `--observe is "${address}", allowed is unix:/absolute/path`;
    throw new ConfigError(message, '--observe', address, 'command line');
  }
  const hub = new ObserverHub({ logger: log });
  log.info('Recorders may connect', { address: await hub.listen(address.slice('unix:'.length)) });
  return hub;
}

/** Serves one control plane at a time until a signal, or until a dataplane must not go on. */
export async function runServe(options: ServeOptions, brokerEntry: readonly string[]): Promise<number> {
  const address = parseStreamAddress(options.listen, options);
  const context = openDriverContext(brokerEntry, 'service manager');
  const { access, counters, log } = context;
  const observers = await openObservers(options.observe, log);
  const status = await startStatusServer(context);
  let current: ServedSession | null = null;
  let fail: (code: number) => void = () => undefined;
  const failed = new Promise<number>((resolve) => {
    fail = resolve;
  });
  const serveNext = async (session: Session): Promise<void> => {
    // Two dataplanes at once would undo each other's writes: the one before has to come to rest first.
    await current?.stop();
    log.info('A control plane connected', { peer: session.description });
    const served = serveSession(observers?.watch(session) ?? session, context);
    current = served;
    status.setSession(served);
    const end = await served.ended;
    if (end.kind === 'fatal') fail(reportEnd(end, log));
    else if (end.reason.kind === 'error')
      log.error('The control plane is gone; everything stays in force', { error: end.reason.error.message });
    else log.info('The control plane is gone; everything stays in force', { reason: end.reason.kind });
  };
  const accept = (session: Session): void => {
    serveNext(session).catch((error: unknown) => {
      log.error(`Ending: ${errorMessage(error)}. The kernel keeps what is programmed`);
      fail(exitCodeOf(error));
    });
  };
  const base = { address, logger: log, counters, takeOver: options.takeOver === true };
  const listener =
    options.grpc === true
      ? await grpc.listen({ ...base, healthAndReflection: true }, accept)
      : await socket.listen(base, accept);
  log.info('felix-dataplane serves', {
    address: listener.address,
    protocol: options.grpc === true ? 'grpc' : 'frames',
    ...access.description,
  });
  const code = await Promise.race([failed, untilSignal(log), untilHung(() => current, log)]);
  observers?.close();
  await stopInTime(
    Promise.all([listener.close(), current === null ? undefined : (current as ServedSession).stop(), status.close()]),
    log,
  );
  return code;
}
