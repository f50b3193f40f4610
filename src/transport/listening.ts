// Unix sockets that only we can use, and what counts as loopback: shared by the socket, gRPC and status servers.
import { lstatSync, statSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { ConfigError, DataplaneError, errorMessage } from '../base/errors.js';

/** Whether a host is this machine and nothing else: 127.0.0.0/8, ::1 or `localhost`. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Nobody at an address lets us in: nobody listens, or a certificate is not accepted. */
export class UnreachableError extends DataplaneError {
  constructor(address: string, cause: unknown) {
    super('protocol', `Cannot connect to ${address}: ${errorMessage(cause)}`, { cause });
  }
}

function refuse(path: string, problem: string): ConfigError {
  return new ConfigError(`Unix socket ${path}: ${problem}`, 'socket path', path, 'command line');
}

/** Bits of a mode. */
const GROUP_OR_WORLD_WRITABLE = 0o022;
const STICKY = 0o1000;

/** Our own user id, or 0 where there are none. */
function ownUid(): number {
  return process.getuid?.() ?? 0;
}

/**
 * Throws ConfigError if someone other than root and we could put another socket in the place of this one: its folder
 * belongs to someone else, or others may write to it (without the sticky bit, which keeps them from our files).
 */
function checkFolder(path: string): void {
  const folder = statSync(dirname(path));
  if (folder.uid !== 0 && folder.uid !== ownUid()) throw refuse(path, `its folder belongs to user ${folder.uid}`);
  if ((folder.mode & GROUP_OR_WORLD_WRITABLE) !== 0 && (folder.mode & STICKY) === 0) {
    throw refuse(path, 'its folder can be written by other users');
  }
}

/**
 * What a client checks before it dials. Throws ConfigError unless the path is a socket of root or of our own user, and
 * UnreachableError when there is nothing.
 */
export function checkSocketOwner(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new UnreachableError(`unix:${path}`, 'there is no such socket');
  if (!stat.isSocket()) throw refuse(path, 'is not a socket');
  if (stat.uid !== 0 && stat.uid !== ownUid())
    throw refuse(path, `belongs to user ${stat.uid}; it may be someone else's`);
}

/** Whether a process still listens on the socket file. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

/** Removes the socket file of a process that is gone. Throws ConfigError if it is no socket or still in use. */
async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw refuse(path, 'is there already and is no socket');
  if (await isAlive(path)) throw refuse(path, 'another process listens on it');
  unlinkSync(path);
}

/**
 * Makes a server listen on a unix socket with mode 0600, in place of a stale one. Only root and our user can connect:
 * the mode is right from the first moment on, because it is masked before the file is made. Returns the address.
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<string> {
  checkFolder(path);
  await removeStale(path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // Binding is synchronous for a path, so the mask is in force for this file alone.
    const previous = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(previous);
    }
  });
  return `unix:${path}`;
}
