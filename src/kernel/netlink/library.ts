// koffi and libc, if they are there: the only place that talks to native code. Without koffi (an optional
// dependency) everything still works through tools.
import { createRequire } from 'node:module';
import { errorMessage } from '../../base/errors.js';

/** The libc calls of netlink sockets. Numbers as in the C functions; negative results set `errno()`. */
export interface NativeLibrary {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  connect(fd: number, address: Buffer, length: number): number;
  send(fd: number, data: Buffer, length: number, flags: number): number;
  /** The same in a thread of the pool, for large data; errno is not known afterwards. `data` must not change meanwhile. */
  sendInThread(fd: number, data: Buffer, length: number, flags: number): Promise<number>;
  /** One writev of all pieces, in order: to a socket, one message. */
  writePieces(fd: number, pieces: readonly Buffer[]): number;
  /** The same in a thread of the pool; errno is not known afterwards. The pieces must not change meanwhile. */
  writePiecesInThread(fd: number, pieces: readonly Buffer[]): Promise<number>;
  recv(fd: number, data: Buffer, length: number, flags: number): number;
  setsockopt(fd: number, level: number, option: number, value: Buffer, length: number): number;
  /** The same in a thread of the pool, for large values; errno is not known afterwards. */
  setsockoptInThread(fd: number, level: number, option: number, value: Buffer, length: number): Promise<number>;
  /** `length` is a 32-bit size, in and out. */
  getsockopt(fd: number, level: number, option: number, value: Buffer, length: Buffer): number;
  /** The same in a thread of the pool, for large values; errno is not known afterwards. */
  getsockoptInThread(fd: number, level: number, option: number, value: Buffer, length: Buffer): Promise<number>;
  /** Asks into reserved memory, in a thread of the pool. */
  getsockoptReserved(fd: number, level: number, option: number, value: ReservedMemory, length: Buffer): Promise<number>;
  /**
   * Reserves `length` bytes of addresses of which only the first `usable` (up to the end of a page) hold anything: what
   * the kernel writes behind them fails with EFAULT. Null if that cannot be had.
   */
  reserve(length: number, usable: number): ReservedMemory | null;
  /** Gives the pages of a large buffer back to the kernel: its bytes may be anything then, and it can be used again. */
  discard(memory: Buffer): void;
  /** Gives the kernel back what malloc holds free: megabytes after a script went to a tool, in half a millisecond. */
  trim(): void;
  /** Where the bytes of a buffer are, for structs that point to others. Valid as long as somebody holds the buffer. */
  addressOf(buffer: Buffer): bigint;
  /** flock(2). */
  flock(fd: number, operation: number): number;
  close(fd: number): number;
  /** Fills `address` as far as `length`, a 32-bit size, says. */
  getsockname(fd: number, address: Buffer, length: Buffer): number;
  /** Index of an interface; 0 = there is none of that name. */
  ifNameToIndex(name: string): number;
  /** SO_ATTACH_FILTER: instructions of classic BPF, eight bytes each. */
  attachFilter(fd: number, program: Buffer): number;
  errno(): number;
  /** Calls back whenever the descriptor is readable, until `stop`. */
  poll(fd: number, callback: () => void): { stop(): void };
}

/** Memory that V8 knows nothing of. */
export interface ReservedMemory {
  readonly address: number;
  /** Copies to the beginning. */
  write(bytes: Buffer): void;
  /** Copies from the beginning. */
  read(bytes: Buffer): void;
  free(): void;
}

interface NativeFunction {
  (...args: unknown[]): number;
  async(...args: unknown[]): void;
}

interface Koffi {
  load(path: string): { func(definition: string): NativeFunction };
  struct(name: string, fields: Readonly<Record<string, string>>): unknown;
  errno(): number;
  address(value: Buffer): bigint;
  node: { poll(fd: number, options: { readable: boolean }, callback: () => void): { close(): void } };
}

/** Why there is no native library, or the library. */
export type NativeLoad =
  | { readonly library: NativeLibrary; readonly reason: null }
  | { readonly library: null; readonly reason: string };

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
/** sizeof(struct sock_fprog) and of one instruction. */
const FILTER_PROGRAM_BYTES = 16;
const FILTER_INSTRUCTION_BYTES = 8;

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
    koffi.struct('iovec', { base: 'const uint8_t *', length: 'size_t' });
    const writev = libc.func('long writev(int fd, const iovec *pieces, int count)');
    koffi.struct('sock_fprog', { length: 'uint16_t', instructions: 'const uint8_t *' });
    const setFilter = libc.func(
      'int setsockopt(int fd, int level, int option, const sock_fprog *value, uint32_t length)',
    );
    const send = libc.func('long send(int fd, const uint8_t *data, size_t length, int flags)');
    const getsockopt = libc.func('int getsockopt(int fd, int level, int option, uint8_t *value, uint8_t *length)');
    const trim = libc.func('int malloc_trim(size_t pad)');
    const setsockopt = libc.func(
      'int setsockopt(int fd, int level, int option, const uint8_t *value, uint32_t length)',
    );
    const getReserved = libc.func('int getsockopt(int fd, int level, int option, uint64_t value, uint8_t *length)');
    const library: NativeLibrary = {
      socket: call('int socket(int domain, int type, int protocol)'),
      bind: call('int bind(int fd, const uint8_t *address, uint32_t length)'),
      connect: call('int connect(int fd, const uint8_t *address, uint32_t length)'),
      send,
      sendInThread: (...args) => inThread(send, args),
      writePieces: (fd, pieces) => writev(fd, pieces.map(vectorOf), pieces.length),
      writePiecesInThread: (fd, pieces) => inThread(writev, [fd, pieces.map(vectorOf), pieces.length]),
      recv: call('long recv(int fd, uint8_t *data, size_t length, int flags)'),
      setsockopt,
      setsockoptInThread: (...args) => inThread(setsockopt, args),
      getsockopt,
      getsockoptInThread: (...args) => inThread(getsockopt, args),
      getsockoptReserved: (fd, level, option, { address }, length) =>
        inThread(getReserved, [fd, level, option, address, length]),
      reserve: reservation((definition) => libc.func(definition)),
      discard: discarder(call('int madvise(uint64_t address, size_t length, int advice)'), (buffer) =>
        koffi.address(buffer),
      ),
      trim: () => void trim(0),
      addressOf: (buffer) => koffi.address(buffer),
      flock: call('int flock(int fd, int operation)'),
      close: call('int close(int fd)'),
      getsockname: call('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint8_t *length)'),
      ifNameToIndex: call('uint32_t if_nametoindex(const char *name)'),
      attachFilter: (fd, program) =>
        setFilter(
          fd,
          SOL_SOCKET,
          SO_ATTACH_FILTER,
          { length: program.length / FILTER_INSTRUCTION_BYTES, instructions: program },
          FILTER_PROGRAM_BYTES,
        ),
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

function vectorOf(piece: Buffer): { readonly base: Buffer; readonly length: number } {
  return { base: piece, length: piece.length };
}

const PAGE = 4096;
const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
/** MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE. */
const MAP_FLAGS = 0x2 | 0x20 | 0x4000;

function reservation(define: (definition: string) => NativeFunction): NativeLibrary['reserve'] {
  const map = define(
    'int64_t mmap(uint64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  const protect = define('int mprotect(uint64_t address, size_t length, int protection)');
  const unmap = define('int munmap(uint64_t address, size_t length)');
  const copyIn = define('uint64_t memcpy(uint64_t to, const uint8_t *from, size_t length)');
  const copyOut = define('uint64_t memcpy(uint8_t *to, uint64_t from, size_t length)');
  return (length, usable) => {
    const address = map(0, length, PROT_NONE, MAP_FLAGS, -1, 0);
    if (address <= 0) return null;
    const free = (): void => void unmap(address, length);
    if (protect(address, Math.ceil(usable / PAGE) * PAGE, PROT_READ_WRITE) < 0) {
      free();
      return null;
    }
    return {
      address,
      free,
      write: (bytes) => void copyIn(address, bytes, bytes.length),
      read: (bytes) => void copyOut(bytes, address, bytes.length),
    };
  };
}

const MADV_DONTNEED = 4;

/** Whole pages only; where those of the kernel are larger than ours it refuses, and nothing happens. */
function discarder(
  advise: (address: bigint, length: bigint, advice: number) => number,
  addressOf: NativeLibrary['addressOf'],
): NativeLibrary['discard'] {
  const page = BigInt(PAGE);
  return (memory) => {
    const start = addressOf(memory);
    const first = ((start + page - 1n) / page) * page;
    const last = ((start + BigInt(memory.length)) / page) * page;
    if (last > first) advise(first, last - first, MADV_DONTNEED);
  };
}

/** Calls a function in a thread of the pool; its buffers must not be touched meanwhile. */
function inThread(call: NativeFunction, args: readonly unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...args, (failure: unknown, result: number) => {
      if (failure === null || failure === undefined) resolve(result);
      else reject(new Error(`a function of libc could not be called: ${errorMessage(failure)}`));
    });
  });
}
