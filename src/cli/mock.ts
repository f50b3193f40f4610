// `felix-dataplane mock`: a control plane of our own for one driver, from YAML files.
import { hostname } from 'node:os';
import type { Logger } from '../base/logger.js';
import { MockControlPlane } from '../mock/control-plane.js';
import type { ControlSession, FromDataplanePayload } from '../protocol/session.js';
import { type ControlOptions, openControlSession, reportClosed } from './control-session.js';
import { createLogger } from './logger.js';
import { serveMockApi } from './mock-api.js';
import { MockSource } from './mock-source.js';
import { readOptions } from './options.js';
import { EXIT, untilSignal } from './process.js';

/** Options of the command. */
export interface MockOptions extends ControlOptions {
  readonly to: string;
  readonly hostname?: string;
  readonly set?: readonly string[];
  readonly once?: boolean;
  readonly api?: string;
}

/** `KEY=VALUE` settings as Felix parameters. */
export function readSettings(settings: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    settings.map((setting) => {
      const equals = setting.indexOf('=');
      return equals < 0 ? [setting, ''] : [setting.slice(0, equals), setting.slice(equals + 1)];
    }),
  );
}

/** Logs what the driver says. */
export function logStatus(payload: FromDataplanePayload, log: Logger): void {
  switch (payload.case) {
    case 'workloadEndpointStatusUpdate':
      log.info('Workload endpoint', { workload: payload.value.id?.workloadId, status: payload.value.status?.status });
      return;
    case 'hostEndpointStatusUpdate':
      log.info('Host endpoint', { name: payload.value.id?.endpointId, status: payload.value.status?.status });
      return;
    case 'dataplaneInSync':
      log.info('The dataplane is in sync');
      return;
    default:
      log.debug('Message of the driver', { case: payload.case });
  }
}

/** Sends what is due; the driver's session has to be started before. */
export function feed(mock: MockControlPlane, session: ControlSession): void {
  for (const payload of mock.flush()) session.send(payload);
}

/** Connects to a driver and keeps it equal to the resources at `path` until a signal or until the driver goes away. */
export async function runMock(path: string, options: MockOptions): Promise<number> {
  const { logFormat, logLevel } = readOptions(process.env);
  const log = createLogger(logFormat, logLevel === undefined ? 'info' : logLevel);
  const mock = new MockControlPlane({
    hostname: options.hostname ?? hostname(),
    config: readSettings(options.set ?? []),
    log,
  });
  const source = new MockSource(mock, path, log);
  const problems = source.load();
  if (problems > 0) log.warn('Some resources cannot be used; the others are in force', { problems });
  const session = await openControlSession(options.to, options, log);
  let hasAnswered = false;
  let sawInSync: () => void = () => undefined;
  const inSync = new Promise<number>((resolve) => {
    sawInSync = () => resolve(EXIT.ok);
  });
  session.start((payload) => {
    hasAnswered = true;
    logStatus(payload, log);
    if (payload.case === 'dataplaneInSync') sawInSync();
  });
  feed(mock, session);
  const onChange = (): void => feed(mock, session);
  source.watch(onChange);
  const api = options.api === undefined ? null : await serveMockApi({ address: options.api, mock, log, onChange });
  const closed = session.closed.then((reason) => reportClosed(reason, hasAnswered, log));
  const code = await Promise.race([closed, untilSignal(log), ...(options.once === true ? [inSync] : [])]);
  source.stop();
  await api?.close();
  await session.close();
  log.flush();
  return code;
}
