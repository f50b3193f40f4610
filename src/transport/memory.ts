// Transport within the process, for tests and for the mock control plane beside the driver: the same framing, back
// pressure and take-over as a socket, without a socket.
import { PassThrough } from 'node:stream';
import { DataplaneError } from '../base/errors.js';
import {
  type ConnectionOptions,
  controlCodec,
  type ControlSession,
  driverCodec,
  type Listener,
  type SessionAcceptor,
} from './session.js';
import { SinglePeer } from './single-peer.js';
import { StreamConnection } from './stream-connection.js';

/** Where both ends meet. */
export class MemoryHub {
  connect: ((toDriver: PassThrough, fromDriver: PassThrough) => void) | null = null;
}

/** Options of both ends. */
export interface MemoryOptions extends ConnectionOptions {
  readonly hub: MemoryHub;
}

/** Options of the driver's end. */
export interface MemoryListenOptions extends MemoryOptions {
  readonly takeOver: boolean;
}

const DESCRIPTION = 'memory';

/** Listens on the hub, one listener at a time. A connection becomes a session with its first bytes. */
export function listen(options: MemoryListenOptions, accept: SessionAcceptor): Promise<Listener> {
  const { hub, logger, takeOver } = options;
  const peers = new SinglePeer({ accept, logger, takeOver });
  hub.connect = (toDriver, fromDriver) => {
    const pair = { description: DESCRIPTION, readable: toDriver, writable: fromDriver };
    toDriver.once('readable', () => {
      if (toDriver.readableLength === 0) return;
      peers.admit({
        description: DESCRIPTION,
        open: () => new StreamConnection(pair, driverCodec(options), options),
        refuse: () => fromDriver.destroy(),
      });
    });
  };
  return Promise.resolve({
    address: DESCRIPTION,
    close: () => {
      hub.connect = null;
      return Promise.resolve();
    },
  });
}

/** Connects to the listener of the hub; rejects if there is none. */
export function dial(options: MemoryOptions): Promise<ControlSession> {
  const { connect } = options.hub;
  if (connect === null) return Promise.reject(new DataplaneError('protocol', 'Nobody listens on this memory hub'));
  const [toDriver, fromDriver] = [new PassThrough(), new PassThrough()];
  connect(toDriver, fromDriver);
  const pair = { description: DESCRIPTION, readable: fromDriver, writable: toDriver };
  return Promise.resolve(new StreamConnection(pair, controlCodec(), options));
}
