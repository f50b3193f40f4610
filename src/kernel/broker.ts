// The daemon's end of the broker: a CommandRunner that never forks this process, whose memory would make every
// fork slow (ecosystem.md 1.2).
import { spawn, type ChildProcess } from 'node:child_process';
import { BugError, ToolError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { BrokerAnswer, BrokerRequest } from './broker-messages.js';
import type { Command, CommandResult, CommandRunner } from './command.js';
import type { CoprocessTool } from './coprocess-driver.js';

/** Runs commands in the broker process. */
export interface Broker extends CommandRunner {
  /**
   * Has a tool that is kept open for this argv work off `command.stdin`; the answer is as if it had been started for
   * it. Transactions of one argv run one after the other. Exit code 127: it cannot be kept open, nothing was done.
   */
  transaction(tool: CoprocessTool, command: Command): Promise<CommandResult>;
  /** Lets the broker finish what runs and end. Resolves when it has ended; later calls of `run` reject. */
  close(): Promise<void>;
}

/** How to start the broker process. */
export interface BrokerOptions {
  /** argv of the process that calls `runBroker`, e.g. `[process.execPath, script, '__broker']`. */
  readonly entry: readonly string[];
  readonly log: Logger;
}

interface Pending {
  readonly argv: readonly string[];
  readonly startMs: number;
  resolve(value: CommandResult): void;
  reject(error: Error): void;
}

class BrokerClient implements Broker {
  readonly #options: BrokerOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #closed = false;
  #nextId = 1;
  readonly #pending = new Map<number, Pending>();

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#start();
  }

  run(command: Command): Promise<CommandResult> {
    return this.#request(command.argv, (id) => ({ kind: 'run', id, command }));
  }

  transaction(tool: CoprocessTool, command: Command): Promise<CommandResult> {
    return this.#request(command.argv, (id) => ({ kind: 'transaction', id, tool, command }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#child?.connected === true) this.#child.disconnect();
    await this.#exited;
  }

  #request(argv: readonly string[], build: (id: number) => BrokerRequest): Promise<CommandResult> {
    if (this.#closed) return Promise.reject(this.#gone(argv, 0, 'is closed; the command was not started'));
    if (this.#child === null) this.#start();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { argv, startMs: performance.now(), resolve, reject });
      this.#send(build(id));
    });
  }

  #send(request: BrokerRequest): void {
    const child = this.#child;
    if (child === null || !child.connected) return;
    // A failed write means that the process is gone: its exit event fails all that waits.
    child.send(request, () => undefined);
  }

  #start(): void {
    const [program, ...args] = this.#options.entry;
    if (program === undefined) throw new BugError('The broker entry is empty');
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], serialization: 'advanced' });
    this.#child = child;
    child.on('message', (message) => this.#onAnswer(message as BrokerAnswer));
    this.#exited = new Promise((resolve) => {
      const onEnd = (how: string): void => {
        if (this.#child === child) this.#onEnd(how);
        resolve();
      };
      child.once('error', (error) => onEnd(`could not be started: ${error.message}`));
      child.once('exit', (code, signal) => onEnd(`ended (${signal ?? `exit code ${code}`})`));
    });
  }

  #onAnswer(answer: BrokerAnswer): void {
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return;
    this.#pending.delete(answer.id);
    pending.resolve(answer.result);
  }

  /** The broker is gone; the next request starts a new one. What was under way may or may not have been done. */
  #onEnd(how: string): void {
    this.#child = null;
    if (!this.#closed) this.#options.log.error(`The broker process ${how}`, { pending: this.#pending.size });
    const failed = [...this.#pending.values()];
    this.#pending.clear();
    for (const { argv, startMs, reject } of failed) {
      reject(this.#gone(argv, performance.now() - startMs, `${how}; the outcome is unknown, read the state again`));
    }
  }

  #gone(argv: readonly string[], durationMs: number, what: string): ToolError {
    return new ToolError(`${argv[0] ?? ''}: the broker process ${what}`, {
      argv,
      exitCode: null,
      signal: null,
      stderrHead: '',
      durationMs,
    });
  }
}

/**
 * Starts the broker process. Call it early, while this process is small. If the broker dies, what was under way
 * rejects (outcome unknown) and the next request starts a new one.
 */
export function startBroker(options: BrokerOptions): Broker {
  return new BrokerClient(options);
}
