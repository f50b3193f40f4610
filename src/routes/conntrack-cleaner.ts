// Removes connection-tracking entries of an address that has left an interface (6.2), so that a new pod with the same
// address does not inherit flows. Runs in the background of route programming.
import { errorMessage } from '../base/errors.js';
import { isValidAddress } from '../base/ip.js';
import type { Logger } from '../base/logger.js';
import type { CommandRunner } from '../kernel/command.js';
import type { Family } from '../model/family.js';
import type { OperationObserver } from '../model/operation.js';

/** Removes the flows that an address started and those that it answered. */
export interface ConntrackCleaner {
  /** Resolves when done, or when it was tried often enough; never rejects. */
  clean(family: Family, address: string): Promise<void>;
}

/** The tool fails at random now and then; Felix tries as often. */
const ATTEMPTS = 4;

/** Each run scans the kernel's whole table, so a node that loses all its pods at once must not start hundreds. */
const MAX_PARALLEL = 4;

/** Originator first: `--orig-src` finds what the address started, `--reply-src` what it answered. */
const DIRECTIONS = ['--orig-src', '--reply-src'] as const;

/** Cleans with the `conntrack` tool; Felix: `conntrack.RemoveConntrackFlows`. */
export class CommandConntrackCleaner implements ConntrackCleaner {
  readonly #runner: CommandRunner;
  readonly #logger: Logger;
  readonly #observe: OperationObserver;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: {
    readonly runner: CommandRunner;
    readonly logger: Logger;
    readonly observe: OperationObserver;
  }) {
    this.#runner = options.runner;
    this.#logger = options.logger;
    this.#observe = options.observe;
  }

  async clean(family: Family, address: string): Promise<void> {
    if (!isValidAddress(address, family)) {
      this.#logger.error('Not an address, conntrack entries are not removed', { address, family });
      return;
    }
    if (this.#running >= MAX_PARALLEL) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
    try {
      for (const direction of DIRECTIONS) await this.#delete(family, address, direction);
      this.#observe({ room: 'conntrack', verb: 'delete-flows', object: address });
    } catch (error) {
      this.#logger.error('Conntrack entries could not be removed: commands cannot be run', {
        address,
        error: errorMessage(error),
      });
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #delete(family: Family, address: string, direction: (typeof DIRECTIONS)[number]): Promise<void> {
    const argv = ['conntrack', '--family', `ipv${family}`, '--delete', direction, address];
    let stderr = '';
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const result = await this.#runner.run({ argv });
      stderr = result.stderr;
      if (result.exitCode === 0 || stderr.includes('0 flow entries')) return;
    }
    this.#logger.error('Conntrack entries could not be removed, old flows of the address may go on', {
      address,
      direction,
      stderr: stderr.slice(0, 500),
    });
  }
}
