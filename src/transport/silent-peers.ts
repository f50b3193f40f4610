// Connections that have not said anything yet. A relay whose Felix waits for its datastore is silent for as long as that
// takes, so there is no time-out; but only so many may wait, and the oldest makes room.
import type { Logger } from '../base/logger.js';

/** Silent connections that may wait at a time: the next control plane, probes, and some to spare. */
export const MAX_SILENT = 8;

/** Keeps track of silent connections. */
export class SilentPeers {
  readonly #logger: Logger;
  readonly #waiting = new Map<object, { readonly description: string; readonly drop: (reason: string) => void }>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** A connection came; `drop` ends it when too many wait. */
  add(peer: object, description: string, drop: (reason: string) => void): void {
    this.#waiting.set(peer, { description, drop });
    if (this.#waiting.size <= MAX_SILENT) return;
    const [oldest] = this.#waiting;
    if (oldest === undefined) return;
    this.#waiting.delete(oldest[0]);
    this.#logger.warn('A connection that never said anything makes room for a new one', {
      peer: oldest[1].description,
    });
    oldest[1].drop('too many connections that say nothing');
  }

  /** It has spoken, or is gone. Idempotent. */
  remove(peer: object): void {
    this.#waiting.delete(peer);
  }
}
