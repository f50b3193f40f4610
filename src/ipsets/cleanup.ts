// In nftables mode: destroys the ipset sets that an iptables dataplane left (dataplane.md 4.6). It never fails the
// dataplane and never counts as finished, because old rules may hold sets in use until they are cleaned themselves.
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { FAMILIES } from '../model/family.js';
import type { Operation, OperationObserver } from '../model/operation.js';
import type { ApplyResult, Reconciler } from '../model/reconciler.js';
import type { IpSetIo } from './kernel-set.js';
import { ownsIpSet } from './ownership.js';
import { PendingDeletions } from './pending-deletions.js';

/** What the clean-up is built from. */
export interface IpSetCleanupOptions {
  /** Sets destroyed by one apply. */
  readonly maxDeletionsPerApply: number;
  readonly io: IpSetIo;
  readonly log: Logger;
  readonly onOperation: OperationObserver;
}

const RESCHEDULE_MS = 100;

/** Destroys our sets of both families. Run it after the tables; `queueResync` lists again. */
export class IpSetCleanup implements Reconciler {
  readonly name = 'ipsets/cleanup';
  readonly #options: IpSetCleanupOptions;
  readonly #deletions: PendingDeletions;
  #mustList = true;
  #operations = 0;
  #lastFailure = '';

  constructor(options: IpSetCleanupOptions) {
    this.#options = options;
    const onOperation = (operation: Operation): void => {
      this.#operations++;
      options.onOperation(operation);
    };
    this.#deletions = new PendingDeletions({ io: options.io, log: options.log, onOperation });
  }

  queueResync(): void {
    this.#mustList = true;
  }

  async apply(): Promise<ApplyResult> {
    this.#operations = 0;
    if (this.#mustList) await this.#list();
    await this.#deletions.destroySome(this.#options.maxDeletionsPerApply);
    const wait = this.#deletions.hasWaiting ? { rescheduleAfterMs: RESCHEDULE_MS } : {};
    return { refused: [], operations: this.#operations, ...wait };
  }

  async #list(): Promise<void> {
    // Also after a failure: the next resync is the next try.
    this.#mustList = false;
    try {
      const names = await this.#options.io.listNames();
      this.#deletions.resync(names.filter((name) => FAMILIES.some((family) => ownsIpSet(family, name))));
      this.#lastFailure = '';
    } catch (error) {
      // A machine without ipset has nothing to clean: said once, not at each refresh.
      const failure = errorMessage(error);
      if (failure !== this.#lastFailure) this.#options.log.info('IP sets are not cleaned up', { error: failure });
      this.#lastFailure = failure;
    }
  }
}
