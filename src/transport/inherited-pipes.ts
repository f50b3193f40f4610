// Finds out whether Felix started us. Light on purpose: the relay imports it and must be up in an instant.
import { fstatSync, readFileSync } from 'node:fs';

/** Descriptor that Felix writes to. */
export const READ_FD = 3;
/** Descriptor that Felix reads from. */
export const WRITE_FD = 4;

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
