// Listens and dials at the level of byte streams: unix socket, TCP with mutual TLS, or plain TCP on loopback where that
// was asked for. The socket and gRPC transports build on it.
import { readFileSync } from 'node:fs';
import { connect as connectTcp, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type PeerCertificate, type TLSSocket } from 'node:tls';
import { ConfigError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { checkSocketOwner, isLoopback, listenOnUnixSocket, UnreachableError } from './listening.js';

/** Files of a mutual TLS set-up (PEM) and who is let in. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
  /** Names (subject common name or DNS alternative name) that the peer's certificate may have; empty = any that the CA signed. */
  readonly peerNames: readonly string[];
}

/** Where a control plane and a driver meet. */
export type StreamAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly tls: TlsFiles }
  /** Without TLS any local process could pose as Felix: loopback only, and only when asked for. */
  | { readonly host: string; readonly port: number; readonly plaintext: true };

/** Protocol names that TLS agrees on; only gRPC has one. */
export type Alpn = readonly string[];

/** A text for logs; the same as dialling options take. */
export function formatAddress(address: StreamAddress): string {
  if ('path' in address) return `unix:${address.path}`;
  return `${'tls' in address ? 'tls' : 'tcp'}:${address.host}:${address.port}`;
}

function checkPlaintext(address: { readonly host: string }): void {
  if (isLoopback(address.host)) return;
  const message = `Plain TCP to ${address.host} would let anyone on the network command this host; use mutual TLS`;
  throw new ConfigError(message, 'address', address.host, 'command line');
}

function namesOf(certificate: PeerCertificate): string[] {
  const alternatives = (certificate.subjectaltname ?? '').split(', ');
  const dns = alternatives.filter((name) => name.startsWith('DNS:')).map((name) => name.slice('DNS:'.length));
  const { CN: commonName } = certificate.subject;
  return [...(Array.isArray(commonName) ? commonName : [commonName]), ...dns];
}

/**
 * Why a TLS client is not let in, or null. A resumed session is refused, because Node calls it authorized without having
 * seen a certificate: whoever was refused once could come back with the ticket of that handshake.
 */
function clientFault(socket: TLSSocket, tls: TlsFiles): string | null {
  if (socket.isSessionReused()) return 'a resumed session, which proves no certificate';
  if (Object.keys(socket.getPeerCertificate()).length === 0) return 'no certificate';
  if (!socket.authorized) {
    const { authorizationError } = socket;
    return `certificate: ${authorizationError instanceof Error ? authorizationError.message : String(authorizationError)}`;
  }
  if (tls.peerNames.length === 0) return null;
  const names = namesOf(socket.getPeerCertificate());
  return names.some((name) => tls.peerNames.includes(name))
    ? null
    : `certificate for ${names.join(', ')} is not let in`;
}

function tlsOptions(tls: TlsFiles, alpn: Alpn) {
  return {
    cert: readFileSync(tls.certFile),
    key: readFileSync(tls.keyFile),
    ca: readFileSync(tls.caFile),
    minVersion: 'TLSv1.2' as const,
    ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
  };
}

/** Most connections at a time, those that still shake hands included. */
const MAX_CONNECTIONS = 64;

/** What a listener is made with. */
export interface StreamListenerOptions {
  readonly address: StreamAddress;
  readonly alpn: Alpn;
  readonly logger: Logger;
  /** Takes a connection. `claim` is to be called once it is in use, so that closing the listener leaves it alone. */
  readonly onStream: (socket: Socket, description: string, claim: () => void) => void;
}

/** A listening server. */
export interface StreamListener {
  readonly address: string;
  /** Stops listening and drops connections that were never claimed. */
  close(): Promise<void>;
}

/** Silence after which the kernel asks a TCP peer whether it is there: ten times, a second apart. */
const KEEP_ALIVE_MS = 5_000;
/** Longest TLS handshake: the peer is a program on the same site. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

function createServerFor(options: StreamListenerOptions, unclaimed: Set<Socket>): Server {
  const { address, alpn, logger, onStream } = options;
  const onSocket = (socket: Socket): void => {
    unclaimed.add(socket);
    socket.on('close', () => unclaimed.delete(socket));
    socket.on('error', (error) => logger.debug('A connection failed', { error: error.message }));
    // A peer that vanished without a word (power loss) is noticed by the kernel; no effect on unix sockets.
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    const description = 'path' in address ? formatAddress(address) : `${socket.remoteAddress}:${socket.remotePort}`;
    onStream(socket, description, () => unclaimed.delete(socket));
  };
  if ('path' in address || 'plaintext' in address) {
    if ('plaintext' in address) checkPlaintext(address);
    return createTcpServer(onSocket);
  }
  const { tls } = address;
  const server = createTlsServer({
    ...tlsOptions(tls, alpn),
    requestCert: true,
    // Node would hang up before anyone could say who was refused and why: clientFault does, in all cases.
    rejectUnauthorized: false,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  server.on('secureConnection', (socket) => {
    const fault = clientFault(socket, tls);
    if (fault === null) {
      onSocket(socket);
      return;
    }
    logger.warn('A TLS client was refused', { peer: socket.remoteAddress, reason: fault });
    socket.destroy();
  });
  server.on('tlsClientError', (error, socket) => {
    logger.warn('A TLS client was refused', { peer: socket.remoteAddress, reason: error.message });
  });
  return server;
}

/** Starts listening. Rejects with ConfigError for an unsafe address, with the system's error for a taken one. */
export async function listenForStreams(options: StreamListenerOptions): Promise<StreamListener> {
  const { address, logger } = options;
  const unclaimed = new Set<Socket>();
  const server = createServerFor(options, unclaimed);
  server.maxConnections = MAX_CONNECTIONS;
  let bound: string;
  if ('path' in address) {
    bound = await listenOnUnixSocket(server, address.path);
  } else {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    const actual = server.address();
    const port = typeof actual === 'object' && actual !== null ? actual.port : address.port;
    bound = formatAddress({ ...address, port });
  }
  server.on('error', (error) => logger.error('The listener failed', { address: bound, error: error.message }));
  return {
    address: bound,
    close: async () => {
      server.close();
      for (const socket of unclaimed) socket.destroy();
      // The server itself is only closed when its last session is; the address is free after this turn.
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

/** Connects. Rejects with ConfigError for an unsafe address, with UnreachableError if nobody lets us in. */
export async function dialStream(address: StreamAddress, alpn: Alpn): Promise<Socket> {
  let socket: Socket;
  let ready = 'connect';
  if ('path' in address) {
    checkSocketOwner(address.path);
    socket = connectTcp(address.path);
  } else if ('plaintext' in address) {
    checkPlaintext(address);
    socket = connectTcp({ host: address.host, port: address.port });
  } else {
    socket = connectTls({
      host: address.host,
      port: address.port,
      servername: serverName(address),
      ...tlsOptions(address.tls, alpn),
    });
    ready = 'secureConnect';
  }
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error): void => reject(new UnreachableError(formatAddress(address), error));
    socket.once('error', onError);
    socket.once(ready, () => {
      socket.off('error', onError);
      resolve();
    });
  });
  return socket;
}

/** Name that the server's certificate must have: the first of those allowed, else the host dialled. */
function serverName(address: { readonly host: string; readonly tls: TlsFiles }): string {
  return address.tls.peerNames[0] ?? address.host;
}
