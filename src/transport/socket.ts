// Transport over a unix socket or TCP with the frames of the pipe transport: for a driver in a pod of its own, with a
// relay in Felix's (ops.md 6 D). The driver listens and outlives its control planes.
import {
  type ConnectionOptions,
  controlCodec,
  type ControlSession,
  driverCodec,
  type Listener,
  type SessionAcceptor,
} from './session.js';
import { SilentPeers } from './silent-peers.js';
import { SinglePeer } from './single-peer.js';
import { StreamConnection } from './stream-connection.js';
import { dialStream, formatAddress, listenForStreams, type StreamAddress } from './stream-listener.js';
import { isPeerSilent } from './tcp-state.js';

export type { StreamAddress, TlsFiles } from './stream-listener.js';

/** Socket options of both ends. */
export interface SocketOptions extends ConnectionOptions {
  readonly address: StreamAddress;
}

/** Options of the driver's end. */
export interface SocketListenOptions extends SocketOptions {
  /** Let a second control plane take the place of the first instead of refusing it. */
  readonly takeOver: boolean;
}

/**
 * Listens for control planes. A connection becomes a session with its first bytes; while one is open, a second one is
 * refused or takes over. Rejects with ConfigError for an unsafe address or a socket in use.
 */
export async function listen(options: SocketListenOptions, accept: SessionAcceptor): Promise<Listener> {
  const { address, logger, takeOver } = options;
  const peers = new SinglePeer({ accept, logger, takeOver });
  const silent = new SilentPeers(logger);
  return await listenForStreams({
    address,
    alpn: [],
    logger,
    onStream: (socket, description, claim) => {
      silent.add(socket, description, () => socket.destroy());
      socket.once('close', () => silent.remove(socket));
      socket.once('readable', () => {
        silent.remove(socket);
        // The end of a connection that never said anything shows as readable too.
        if (socket.readableLength === 0) {
          socket.destroy();
          return;
        }
        peers.admit({
          description,
          open: () => {
            claim();
            return new StreamConnection(
              { description, readable: socket, writable: socket },
              driverCodec(options),
              options,
            );
          },
          refuse: () => socket.destroy(),
          isGone: () => isPeerSilent(socket),
        });
      });
    },
  });
}

/** Connects to a driver as its control plane. */
export async function dial(options: SocketOptions): Promise<ControlSession> {
  const socket = await dialStream(options.address, []);
  const description = formatAddress(options.address);
  return new StreamConnection({ description, readable: socket, writable: socket }, controlCodec(), options);
}
