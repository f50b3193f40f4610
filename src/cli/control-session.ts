// The control plane's end for the commands that are one (mock, replay): a connection to a driver that serves, and in words
// why there is none or why it ended.
import type { Logger } from '../base/logger.js';
import type { CloseReason, ControlSession } from '../protocol/session.js';
import * as grpc from '../transport/grpc.js';
import { UnreachableError } from '../transport/listening.js';
import * as socket from '../transport/socket.js';
import { type AddressOptions, parseStreamAddress } from './addresses.js';
import { EXIT } from './process.js';

/** Where the driver is and what it speaks. */
export interface ControlOptions extends AddressOptions {
  readonly grpc?: boolean;
}

/** gRPC's code for a service that cannot be reached. */
const GRPC_UNAVAILABLE = 14;

/** Connects. @throws ConfigError for an address that cannot be used, UnreachableError when nobody lets us in there. */
export async function openControlSession(to: string, options: ControlOptions, logger: Logger): Promise<ControlSession> {
  const address = parseStreamAddress(to, options);
  return options.grpc === true ? await grpc.dial({ address, logger }) : await socket.dial({ address, logger });
}

/** The exit code for the end of a connection, which is logged with a hint where the driver said nothing. */
export function reportClosed(reason: CloseReason, hasAnswered: boolean, log: Logger): number {
  if (reason.kind === 'error') {
    log.error('The connection to the driver failed', { error: reason.error.message });
    const { error } = reason;
    const isUnreachable = error instanceof UnreachableError || ('code' in error && error.code === GRPC_UNAVAILABLE);
    return isUnreachable ? EXIT.unavailable : EXIT.protocol;
  }
  log.error('The driver closed the connection', {
    reason: reason.kind,
    ...(hasAnswered
      ? {}
      : { hint: 'it said nothing: another control plane is connected, or our certificate is not let in; see its log' }),
  });
  return EXIT.dataplane;
}
