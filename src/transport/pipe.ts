// Transport over the two pipes that Felix starts an external driver with: file descriptor 3 to read, 4 to write
// (dataplane.md 0.1). No handshake; the end of descriptor 3 means that Felix is gone.
import { type ChildProcess, spawn } from 'node:child_process';
import { fstatSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { ConfigError } from '../base/errors.js';
import {
  type ConnectionOptions,
  controlCodec,
  type ControlSession,
  driverCodec,
  type Listener,
  type SessionAcceptor,
} from './session.js';
import { StreamConnection } from './stream-connection.js';

/** Descriptors to use; Felix's are 3 and 4. */
export interface PipeOptions extends ConnectionOptions {
  readonly readFd?: number;
  readonly writeFd?: number;
}

const READ_FD = 3;
const WRITE_FD = 4;

/** Low two bits of the open flags: 0 read only, 1 write only, 2 both (open(2), proc(5) fdinfo). */
function accessMode(fd: number): number {
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  return Number.parseInt(flags ?? '0', 8) & 3;
}

/**
 * Whether we were started the way Felix starts a driver: 3 can be read, 4 can be written, both are pipes or sockets,
 * and they are not the two ends of one pipe. Without that last check Node's own wake-up pipes would pass, since it
 * opens them on the lowest free descriptors.
 */
export function hasInheritedPipes(readFd = READ_FD, writeFd = WRITE_FD): boolean {
  try {
    const [input, output] = [fstatSync(readFd), fstatSync(writeFd)];
    const isStream = [input, output].every((stat) => stat.isFIFO() || stat.isSocket());
    const isOnePipe = input.isFIFO() && output.isFIFO() && input.ino === output.ino;
    return isStream && !isOnePipe && accessMode(readFd) !== 1 && accessMode(writeFd) !== 0;
  } catch {
    // A descriptor that is not open is the usual case of not being started by Felix.
    return false;
  }
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
