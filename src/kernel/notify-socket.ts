// One datagram to the service manager's socket (sd_notify(3)). Node has no datagrams on unix sockets, so this is native.
import { NetlinkError } from '../base/errors.js';
import { errnoName } from './netlink/errno.js';
import type { NativeLibrary } from './netlink/library.js';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
/** sizeof(sockaddr_un.sun_path). */
const MAX_PATH_BYTES = 108;

/** struct sockaddr_un of `/path` or, with `@` for the NUL in front, of a name without a file. */
export function unixAddress(path: string): Buffer {
  const name = Buffer.from(path);
  if (name[0] === 0x40) name[0] = 0;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, name.subarray(0, MAX_PATH_BYTES)]);
}

/**
 * Sends `text` to the socket at `path`; a new connection each time, since the manager may have made its socket anew.
 * @throws NetlinkError when nobody has it open or its queue is full.
 */
export function sendDatagram(library: NativeLibrary, path: string, text: string): void {
  const fail = (what: string): never => {
    const errno = library.errno();
    throw new NetlinkError(`${what} of ${path} failed with ${errnoName(errno)}`, errno, errnoName(errno));
  };
  const fd = library.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) return fail('socket');
  try {
    const address = unixAddress(path);
    if (library.connect(fd, address, address.length) < 0) fail('connect');
    const data = Buffer.from(text);
    if (library.send(fd, data, data.length, 0) < 0) fail('send');
  } finally {
    library.close(fd);
  }
}
