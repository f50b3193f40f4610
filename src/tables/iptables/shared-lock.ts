// The lock of the iptables tools, held once for all tables that we write at the same time.
import type { FileLock } from '../../kernel/file-lock.js';

/** Tables of both families: more never write at the same time for one change. */
const MAX_JOINED = 8;

/** One lock for all our writes, since they never concern the same table at the same time. */
export class SharedLock {
  readonly #lock: Pick<FileLock, 'tryTake'>;
  #release: (() => void) | null = null;
  #holders = 0;
  /** Joined by so many: then others come first. */
  #joined = 0;

  constructor(lock: Pick<FileLock, 'tryTake'>) {
    this.#lock = lock;
  }

  /** Gives what lets go of it, to be called once; null if somebody else holds it, or is to have it next. */
  take(): (() => void) | null {
    if (this.#holders > 0 && this.#joined >= MAX_JOINED) return null;
    this.#joined = this.#holders === 0 ? 0 : this.#joined + 1;
    this.#release ??= this.#lock.tryTake();
    if (this.#release === null) return null;
    this.#holders += 1;
    return () => {
      this.#holders -= 1;
      if (this.#holders > 0) return;
      this.#release?.();
      this.#release = null;
    };
  }
}
