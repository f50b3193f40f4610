// Joins the descriptors that Felix gave us to a driver that runs as a service: bytes only, nothing decoded. Felix starts
// this in place of a driver and waits for nothing else, so it imports nothing heavy; TLS and gRPC are loaded on demand.
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { hasInheritedPipes, READ_FD, WRITE_FD } from './inherited-pipes.js';
import { checkSocketOwner } from './listening.js';
import type { StreamAddress } from './stream-listener.js';

/** Relay options. */
export interface RelayOptions {
  readonly address: StreamAddress;
  /** `frames`: Felix's framing over a byte stream. `grpc`: one gRPC message per frame. */
  readonly protocol: 'frames' | 'grpc';
  readonly readFd?: number;
  readonly writeFd?: number;
  /** Attempts to reach the service, a second apart. */
  readonly attempts?: number;
  readonly retryDelayMs?: number;
  /** One line of what happens, for standard error: Felix copies it into its log. */
  readonly log: (line: string) => void;
}

/** Why the relay ended. Felix takes any end of its driver for a failure and restarts both, which is what is wanted. */
export type RelayEnd = 'felix closed' | 'service closed' | 'service unreachable' | 'not started by felix';

const DEFAULT_ATTEMPTS = 10;
const DEFAULT_RETRY_DELAY_MS = 1_000;

async function openService(options: RelayOptions): Promise<Duplex> {
  const { address, protocol } = options;
  if (protocol === 'grpc') return (await import('./grpc-relay.js')).openFramedCall(address);
  if ('path' in address) {
    checkSocketOwner(address.path);
    const socket = connect(address.path);
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve();
      });
    });
    return socket;
  }
  return await (await import('./stream-listener.js')).dialStream(address, []);
}

async function reachService(options: RelayOptions): Promise<Duplex | null> {
  const { attempts = DEFAULT_ATTEMPTS, retryDelayMs = DEFAULT_RETRY_DELAY_MS, log } = options;
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    try {
      return await openService(options);
    } catch (error) {
      log(`attempt ${attempt} of ${attempts} to reach the dataplane service failed: ${String(error)}`);
      if (attempt < attempts) await new Promise((resolve) => setTimeout(resolve, retryDelayMs));
    }
  }
  return null;
}

/**
 * Runs until either side ends, then lets go of both. What Felix sent before it ended still reaches the service, and
 * the other way round, as far as the reader goes on reading.
 */
export async function relay(options: RelayOptions): Promise<RelayEnd> {
  const { readFd = READ_FD, writeFd = WRITE_FD, log } = options;
  if (!hasInheritedPipes(readFd, writeFd)) {
    log(`file descriptors ${readFd} and ${writeFd} are not pipes to a control plane; let Felix start the relay`);
    return 'not started by felix';
  }
  const service = await reachService(options);
  if (service === null) return 'service unreachable';
  const fromFelix = new Socket({ fd: readFd, readable: true, writable: false });
  const toFelix = new Socket({ fd: writeFd, readable: false, writable: true });
  const end = await new Promise<RelayEnd>((resolve) => {
    const ended = (why: RelayEnd) => (error?: Error | boolean) => {
      if (error instanceof Error) log(`${why}: ${error.message}`);
      resolve(why);
    };
    fromFelix.on('end', ended('felix closed'));
    fromFelix.on('error', ended('felix closed'));
    toFelix.on('error', ended('felix closed'));
    service.on('end', ended('service closed'));
    service.on('error', ended('service closed'));
    service.on('close', ended('service closed'));
    fromFelix.pipe(service);
    service.pipe(toFelix);
  });
  await flush(end === 'felix closed' ? service : toFelix);
  for (const stream of [fromFelix, toFelix, service]) stream.destroy();
  log(end);
  return end;
}

/** Longest time for the last bytes to go out; Felix waits four seconds before it kills. */
const FLUSH_MS = 500;

function flush(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, FLUSH_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    stream.once('close', done);
    stream.once('finish', done);
    stream.end();
    if (stream.writableFinished || stream.destroyed) done();
  });
}
