// A command runner whose commands run in a namespace and can be made slow, killed or missing, one by one.
import type { Command, CommandResult, CommandRunner } from '../../../src/kernel/command.js';
import { directRunner } from '../../../src/kernel/spawn.js';
import type { Namespace } from './namespace.js';

/** Runs real programs in a namespace, by default as children of this process, and counts them. */
export class FaultyRunner implements CommandRunner {
  /** Every call in order, as it was asked for. */
  readonly calls: Command[] = [];
  /** Changes a call before it runs; told its 0-based index. */
  change: (index: number, command: Command) => Command = (_index, command) => command;
  readonly #namespace: string;
  readonly #runner: CommandRunner;

  constructor(namespace: Namespace, runner: CommandRunner = directRunner) {
    this.#namespace = namespace.name;
    this.#runner = runner;
  }

  run(command: Command): Promise<CommandResult> {
    const changed = this.change(this.calls.length, command);
    this.calls.push(command);
    return this.#runner.run({ ...changed, argv: ['ip', 'netns', 'exec', this.#namespace, ...changed.argv] });
  }
}
