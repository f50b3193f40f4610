// Removes connection-tracking entries by netlink: one listing for all addresses that wait, instead of two processes for
// each of them.
import { errorMessage } from '../base/errors.js';
import { isValidAddress } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import { FAMILIES, type Family } from '../model/family.js';
import type { OperationObserver } from '../model/operation.js';
import type { ConntrackCleaner } from './conntrack-cleaner.js';

/** Deletes the flows that any of the addresses started or answered. Calls never overlap. Rejects where it cannot. */
export interface FlowDeletion {
  deleteFlows(family: Family, addresses: Iterable<string>): Promise<void>;
}

/** Cleans by `flows`, and where that fails by `tools`, which has more patience and says what it could not do. */
export class NetlinkConntrackCleaner implements ConntrackCleaner {
  readonly #flows: FlowDeletion;
  readonly #tools: ConntrackCleaner;
  readonly #logger: Logger;
  readonly #observe: OperationObserver;
  /** Addresses of which the removal has not begun, and who waits for it. */
  readonly #waiting: Readonly<Record<Family, Map<string, (() => void)[]>>> = { 4: new Map(), 6: new Map() };
  #isRunning = false;

  constructor(options: {
    readonly flows: FlowDeletion;
    readonly tools: ConntrackCleaner;
    readonly logger: Logger;
    readonly observe: OperationObserver;
  }) {
    this.#flows = options.flows;
    this.#tools = options.tools;
    this.#logger = options.logger;
    this.#observe = options.observe;
  }

  clean(family: Family, address: string): Promise<void> {
    // The tools' form says so in the log.
    if (!isValidAddress(address, family)) return this.#tools.clean(family, address);
    return new Promise((resolve) => {
      const waiting = this.#waiting[family].get(address);
      if (waiting === undefined) this.#waiting[family].set(address, [resolve]);
      else waiting.push(resolve);
      // A microtask later, so that one listing serves all that are asked for at once.
      if (!this.#isRunning) {
        this.#isRunning = true;
        void Promise.resolve().then(() => this.#run());
      }
    });
  }

  async #run(): Promise<void> {
    for (;;) {
      const family = FAMILIES.find((candidate) => this.#waiting[candidate].size > 0);
      if (family === undefined) break;
      const batch = new Map(this.#waiting[family]);
      this.#waiting[family].clear();
      await this.#cleanAll(family, [...batch.keys()]);
      for (const waiting of batch.values()) for (const resolve of waiting) resolve();
    }
    this.#isRunning = false;
  }

  async #cleanAll(family: Family, addresses: readonly string[]): Promise<void> {
    try {
      await this.#flows.deleteFlows(family, addresses);
    } catch (error) {
      this.#logger.warn('Conntrack entries could not be removed by netlink, trying the tool', {
        addresses: addresses.length,
        error: errorMessage(error),
      });
      await Promise.all(addresses.map((address) => this.#tools.clean(family, address)));
      return;
    }
    for (const object of addresses) this.#observe({ room: 'conntrack', verb: 'delete-flows', object });
  }
}
