// A lock on a file that programs of others take too (flock(2)). Native, since Node has no such call.
import { closeSync, constants, openSync } from 'node:fs';
import type { NativeLibrary } from './netlink/library.js';

const LOCK_EX = 2;
const LOCK_NB = 4;
const FILE_MODE = 0o600;

/** The exclusive lock on a file, which is created where it is not there. */
export class FileLock {
  readonly #library: Pick<NativeLibrary, 'flock'>;
  readonly #path: string;

  constructor(library: Pick<NativeLibrary, 'flock'>, path: string) {
    this.#library = library;
    this.#path = path;
  }

  /** The call that releases the lock; null if somebody holds it, or the file cannot be opened. Never waits. */
  tryTake(): (() => void) | null {
    let fd: number;
    try {
      fd = openSync(this.#path, constants.O_RDONLY | constants.O_CREAT, FILE_MODE);
    } catch {
      return null;
    }
    if (this.#library.flock(fd, LOCK_EX | LOCK_NB) < 0) {
      closeSync(fd);
      return null;
    }
    return () => closeSync(fd);
  }
}
