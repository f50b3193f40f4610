// Sets that are in the kernel and not wanted. Destroying one costs the kernel some 40 ms, and fails while a rule
// still uses it, so they go a few at a time (dataplane.md 4.7).
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { OperationObserver } from '../model/operation.js';
import type { IpSetIo } from './kernel-set.js';
import { isToolBroken } from './tool-failure.js';

/** What the deletions are carried out with. */
export interface DeletionTools {
  readonly io: IpSetIo;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
}

/**
 * Tries for one set before it is left alone until the next resync. The kernel lets go of the sets of deleted nft rules
 * only after an RCU grace period, so the first try right after a fast table write often comes too early.
 */
const MAX_TRIES = 10;

/** Names to destroy. One that could not be destroyed in ten tries is left alone until {@link resync}. */
export class PendingDeletions {
  readonly #tools: DeletionTools;
  readonly #waiting = new Set<string>();
  readonly #failed = new Set<string>();
  /** Failed tries of names that still wait. */
  readonly #tries = new Map<string, number>();

  constructor(tools: DeletionTools) {
    this.#tools = tools;
  }

  /** Whether some are left that have not failed yet. */
  get hasWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Whether a set of this name may be in the kernel. */
  has(name: string): boolean {
    return this.#waiting.has(name) || this.#failed.has(name);
  }

  /** Whether destroying it failed, so that its state is not sure. */
  hasFailed(name: string): boolean {
    return this.#failed.has(name) || this.#tries.has(name);
  }

  add(name: string): void {
    if (!this.#failed.has(name)) this.#waiting.add(name);
  }

  /** The set is wanted again. */
  drop(name: string): void {
    this.#waiting.delete(name);
    this.#failed.delete(name);
    this.#tries.delete(name);
  }

  /** Starts anew from a listing: exactly these names are in the kernel and not wanted. */
  resync(names: Iterable<string>): void {
    this.#waiting.clear();
    this.#failed.clear();
    this.#tries.clear();
    for (const name of names) this.#waiting.add(name);
  }

  /** Destroys up to `max` sets, in the order in which they came. Returns the names that are gone. Never rejects. */
  async destroySome(max: number): Promise<string[]> {
    const gone: string[] = [];
    for (const name of [...this.#waiting].slice(0, max)) {
      this.#waiting.delete(name);
      const tries = (this.#tries.get(name) ?? 0) + 1;
      this.#tries.delete(name);
      if (await this.#destroy(name, tries === MAX_TRIES)) gone.push(name);
      else if (tries === MAX_TRIES) this.#failed.add(name);
      else {
        this.#tries.set(name, tries);
        this.#waiting.add(name);
      }
    }
    return gone;
  }

  async #destroy(name: string, isLastTry: boolean): Promise<boolean> {
    const { io, log, onOperation } = this.#tools;
    try {
      await io.restore(`destroy ${name}\n`);
      onOperation({ room: 'ipsets', verb: 'destroy-set', object: name });
      return true;
    } catch (error) {
      // In use is normal while rules of others, or of a table that is not cleaned yet, refer to it.
      const level = isToolBroken(error) ? 'warn' : isLastTry ? 'info' : 'debug';
      const when = isLastTry ? 'the next resync tries again' : 'trying again soon';
      log[level](`IP set ${name} cannot be destroyed now; ${when}`, { error: errorMessage(error) });
      return false;
    }
  }
}
