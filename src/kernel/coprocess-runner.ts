// A command runner that has restores done by tools that are kept open, and everything else by fresh processes. To
// those who call it the two are the same, only that the first costs a tenth or less (ecosystem.md section 2).
import type { Logger } from '../base/logger.js';
import type { Broker } from './broker.js';
import type { Command, CommandResult, CommandRunner } from './command.js';
import type { CoprocessTool } from './coprocess-driver.js';
import { lastSetName } from './coprocess-ipset.js';
import { NOT_STARTED } from './spawn.js';

const IPTABLES_RESTORE = /(?:^|\/)ip6?tables(?:-nft|-legacy)?-restore$/;

/**
 * Longer scripts do not fit into the tool's input at once, and a broker that dies half-way would leave half a line,
 * which may be another member: a fresh process gets them from a file. The others need a COMMIT, or have a file anyway.
 */
const MAX_IPSET_SCRIPT = 64 * 1024;

/** Which tool can be kept open for a command; null if a fresh process must do it. */
export function coprocessTool(command: Command): CoprocessTool | null {
  const [program = '', ...args] = command.argv;
  const { stdin } = command;
  if (stdin === undefined || stdin === '') return null;
  if (IPTABLES_RESTORE.test(program)) {
    return args.includes('--noflush') && args.includes('--verbose') ? 'iptables-restore' : null;
  }
  const line = args.join(' ');
  if (program === 'ipset' && line === '-exist restore') {
    return stdin.length > MAX_IPSET_SCRIPT || lastSetName(stdin) === null ? null : 'ipset-restore';
  }
  return program === 'nft' && line === '-f -' ? 'nft' : null;
}

/** Runs commands of the broker, by co-processes where it can. */
export class CoprocessRunner implements CommandRunner {
  readonly #broker: Broker;
  readonly #log: Logger;
  /** Tools that acknowledged at least once. */
  readonly #proven = new Set<string>();
  /** Tools that cannot be kept open here; by argv. */
  readonly #unfit = new Set<string>();

  constructor(broker: Broker, log: Logger) {
    this.#broker = broker;
    this.#log = log;
  }

  /** See CommandRunner. */
  async run(command: Command): Promise<CommandResult> {
    const tool = coprocessTool(command);
    const key = command.argv.join(' ');
    if (tool === null || this.#unfit.has(key)) return this.#broker.run(command);
    const result = await this.#broker.transaction(tool, command);
    if (result.exitCode === 0) {
      this.#proven.add(key);
      return result;
    }
    if (result.exitCode === NOT_STARTED) {
      this.#giveUp(key, result);
      return this.#broker.run(command);
    }
    // It may be a version that acknowledges in another way: the caller's next attempt shall not wait for it again.
    if (result.exitCode === null && !this.#proven.has(key)) this.#giveUp(key, result);
    return result;
  }

  #giveUp(key: string, result: CommandResult): void {
    this.#unfit.add(key);
    this.#log.info(`${key} cannot be kept open and is started for each call`, {
      reason: result.timedOut ? 'no acknowledgement' : result.stderr.trim().slice(0, 500),
    });
  }
}
