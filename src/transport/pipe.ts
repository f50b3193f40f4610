// Transport over the two pipes that Felix starts an external driver with: file descriptor 3 to read, 4 to write
// (dataplane.md 0.1). No handshake; the end of descriptor 3 means that Felix is gone.
import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { ConfigError } from '../base/errors.js';
import { hasInheritedPipes, READ_FD, WRITE_FD } from './inherited-pipes.js';
import {
  type ConnectionOptions,
  controlCodec,
  type ControlSession,
  driverCodec,
  type Listener,
  type SessionAcceptor,
} from './session.js';
import { StreamConnection } from './stream-connection.js';

export { hasInheritedPipes } from './inherited-pipes.js';

/** Descriptors to use; Felix's are 3 and 4. */
export interface PipeOptions extends ConnectionOptions {
  readonly readFd?: number;
  readonly writeFd?: number;
}

/**
 * The session with the Felix that started us. Calls `accept` once, before it resolves. Throws ConfigError when the
 * descriptors are not open pipes or sockets.
 */
export function listen(options: PipeOptions, accept: SessionAcceptor): Promise<Listener> {
  const { readFd = READ_FD, writeFd = WRITE_FD } = options;
  if (!hasInheritedPipes(readFd, writeFd)) {
    const message =
      `File descriptors ${readFd} and ${writeFd} are not pipes to a control plane. ` +
      'Let Felix start this program (DataplaneDriver), or choose the socket or gRPC transport';
    return Promise.reject(new ConfigError(message, 'transport', 'pipe', 'command line'));
  }
  const readable = new Socket({ fd: readFd, readable: true, writable: false });
  const writable = new Socket({ fd: writeFd, readable: false, writable: true });
  const description = `pipe fd ${readFd}/${writeFd}`;
  accept(new StreamConnection({ description, readable, writable }, driverCodec(options), options));
  return Promise.resolve({ address: description, close: () => Promise.resolve() });
}

/** A driver to start, the way Felix does: descriptors 3 and 4, environment inherited. */
export interface DialPipeOptions extends ConnectionOptions {
  readonly command: string;
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** A started driver and the connection to it. */
export interface StartedDriver {
  readonly session: ControlSession;
  readonly process: ChildProcess;
}

function isWritable(stream: unknown): stream is Writable {
  return typeof stream === 'object' && stream !== null && 'write' in stream;
}

function isReadable(stream: unknown): stream is Readable {
  return typeof stream === 'object' && stream !== null && 'read' in stream;
}

/** Starts a driver as a child and connects to it, for the mock control plane and tests. */
export function dial(options: DialPipeOptions): StartedDriver {
  const child = spawn(options.command, [...(options.arguments ?? [])], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'],
    env: { ...process.env, ...options.environment },
  });
  // The pipes close with it, so the session ends too; this is for the reason.
  child.on('error', (error) => options.logger.error('The driver did not start', { error: error.message }));
  const [, , , writable, readable] = child.stdio;
  if (!isWritable(writable) || !isReadable(readable)) {
    throw new ConfigError('The driver could not be started with pipes', 'command', options.command, 'command line');
  }
  const pair = { description: `driver ${options.command}`, readable, writable };
  return { session: new StreamConnection(pair, controlCodec(), options), process: child };
}
