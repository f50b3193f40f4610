// A command runner for tests: programs are functions, every call is recorded, and any call can be made to fail.
import { ToolError } from '../../src/base/errors.js';
import type { Command, CommandResult, CommandRunner } from '../../src/kernel/command.js';

/** What a fake program answers; what is left out is empty and successful. */
export type FakeAnswer = Partial<CommandResult>;

/** A fake program; `command.argv[0]` is its name. */
export type FakeProgram = (command: Command) => FakeAnswer | Promise<FakeAnswer>;

/**
 * A fault put on one call. `before`: the program does not run and the answer is this. `after`: it runs, but the answer
 * is this. `half`: it gets the first half of its input (whole lines), then the answer is this. `gone`: the runner
 * itself fails, before the program runs or after.
 */
export type FakeFault =
  | { readonly when: 'before' | 'after' | 'half'; readonly answer: FakeAnswer }
  | { readonly when: 'gone-before' | 'gone-after' };

/** The answer of a program that was killed. */
export const KILLED: FakeAnswer = { exitCode: null, signal: 'SIGKILL' };

function complete(answer: FakeAnswer): CommandResult {
  return { exitCode: 0, signal: null, stdout: '', stderr: '', timedOut: false, durationMs: 1, ...answer };
}

function firstHalf(command: Command): Command {
  const lines = (command.stdin ?? '').split('\n').filter((line) => line !== '');
  return {
    ...command,
    stdin: lines
      .slice(0, Math.floor(lines.length / 2))
      .map((line) => `${line}\n`)
      .join(''),
  };
}

/** Runs fake programs. A program that was not given ends with 127, as a missing one does. */
export class FakeCommandRunner implements CommandRunner {
  /** Every call in order. */
  readonly calls: Command[] = [];
  /** Consulted for every call with its 0-based index; null = no fault. */
  fault: (index: number, command: Command) => FakeFault | null = () => null;
  readonly #programs = new Map<string, FakeProgram>();

  constructor(programs: Readonly<Record<string, FakeProgram>> = {}) {
    for (const [name, program] of Object.entries(programs)) this.#programs.set(name, program);
  }

  /** Installs or replaces a program. */
  install(name: string, program: FakeProgram): void {
    this.#programs.set(name, program);
  }

  /** Makes a program missing. */
  uninstall(name: string): void {
    this.#programs.delete(name);
  }

  async run(command: Command): Promise<CommandResult> {
    const fault = this.fault(this.calls.length, command);
    this.calls.push(command);
    await Promise.resolve();
    if (fault === null) return this.#execute(command);
    switch (fault.when) {
      case 'before':
        return complete(fault.answer);
      case 'after':
        await this.#execute(command);
        return complete(fault.answer);
      case 'half':
        await this.#execute(firstHalf(command));
        return complete(fault.answer);
      case 'gone-after':
        await this.#execute(command);
        throw gone(command);
      case 'gone-before':
        throw gone(command);
    }
  }

  async #execute(command: Command): Promise<CommandResult> {
    const name = command.argv[0] ?? '';
    const program = this.#programs.get(name);
    if (program === undefined) return complete({ exitCode: 127, stderr: `${name} could not be started: ENOENT` });
    return complete(await program(command));
  }
}

function gone(command: Command): ToolError {
  return new ToolError('the broker process is gone; the outcome is unknown', {
    argv: command.argv,
    exitCode: null,
    signal: null,
    stderrHead: '',
    durationMs: 1,
  });
}
