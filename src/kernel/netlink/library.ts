// koffi and libc, if they are there: the only place that talks to native code. Without koffi (an optional
// dependency) everything still works through tools.
import { createRequire } from 'node:module';
import { errorMessage } from '../../base/errors.js';

/** The libc calls of netlink sockets. Numbers as in the C functions; negative results set `errno()`. */
export interface NativeLibrary {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  send(fd: number, data: Buffer, length: number, flags: number): number;
  /** The same in a thread of the pool, for large data; errno is not known afterwards. `data` must not change meanwhile. */
  sendInThread(fd: number, data: Buffer, length: number, flags: number): Promise<number>;
  recv(fd: number, data: Buffer, length: number, flags: number): number;
  setsockopt(fd: number, level: number, option: number, value: Buffer, length: number): number;
  close(fd: number): number;
  errno(): number;
  /** Calls back whenever the descriptor is readable, until `stop`. */
  poll(fd: number, callback: () => void): { stop(): void };
}

interface NativeFunction {
  (...args: unknown[]): number;
  async(...args: unknown[]): void;
}

interface Koffi {
  load(path: string): { func(definition: string): NativeFunction };
  errno(): number;
  node: { poll(fd: number, options: { readable: boolean }, callback: () => void): { close(): void } };
}

/** Why there is no native library, or the library. */
export type NativeLoad =
  | { readonly library: NativeLibrary; readonly reason: null }
  | { readonly library: null; readonly reason: string };

let loaded: NativeLoad | null = null;

/** Loads koffi and libc once; never throws. */
export function loadNativeLibrary(): NativeLoad {
  loaded ??= load();
  return loaded;
}

function load(): NativeLoad {
  try {
    const require = createRequire(typeof __filename === 'string' ? __filename : import.meta.url);
    const koffi = require('koffi') as Koffi;
    const libc = koffi.load('libc.so.6');
    const call = <T>(definition: string): T => libc.func(definition) as T;
    const send = libc.func('long send(int fd, const uint8_t *data, size_t length, int flags)');
    const library: NativeLibrary = {
      socket: call('int socket(int domain, int type, int protocol)'),
      bind: call('int bind(int fd, const uint8_t *address, uint32_t length)'),
      send,
      sendInThread: (fd, data, length, flags) =>
        new Promise((resolve, reject) => {
          send.async(fd, data, length, flags, (failure: unknown, sent: number) => {
            if (failure === null || failure === undefined) resolve(sent);
            else reject(new Error(`send could not be called: ${errorMessage(failure)}`));
          });
        }),
      recv: call('long recv(int fd, uint8_t *data, size_t length, int flags)'),
      setsockopt: call('int setsockopt(int fd, int level, int option, const uint8_t *value, uint32_t length)'),
      close: call('int close(int fd)'),
      errno: () => koffi.errno(),
      poll: (fd, callback) => {
        const handle = koffi.node.poll(fd, { readable: true }, callback);
        return { stop: () => handle.close() };
      },
    };
    return { library, reason: null };
  } catch (error) {
    return { library: null, reason: `koffi cannot be used: ${errorMessage(error)}` };
  }
}
