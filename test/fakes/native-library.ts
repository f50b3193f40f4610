// A libc whose kernel takes requests and says nothing.
import type { NativeLibrary } from '../../src/kernel/netlink/library.js';

const EAGAIN = 11;

/** Sockets open, sends succeed, and nothing ever waits to be read. */
export const MUTE: NativeLibrary = {
  socket: () => 3,
  bind: () => 0,
  connect: () => -1,
  send: (_fd, _data, length) => length,
  sendInThread: (_fd, _data, length) => Promise.resolve(length),
  writePieces: (_fd, pieces) => pieces.reduce((sum, { length }) => sum + length, 0),
  writePiecesInThread: (_fd, pieces) => Promise.resolve(pieces.reduce((sum, { length }) => sum + length, 0)),
  recv: () => -1,
  getsockopt: () => -1,
  getsockoptInThread: () => Promise.resolve(-1),
  getsockoptReserved: () => Promise.resolve(-1),
  reserve: () => null,
  discard: () => undefined,
  trim: () => undefined,
  addressOf: () => 0n,
  flock: () => -1,
  setsockopt: () => 0,
  setsockoptInThread: () => Promise.resolve(0),
  close: () => 0,
  getsockname: () => -1,
  ifNameToIndex: () => 0,
  attachFilter: () => -1,
  errno: () => EAGAIN,
  poll: () => ({ stop: () => undefined }),
};
