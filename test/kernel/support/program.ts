// Any command of bin/felix-dataplane as a process in a namespace, with its JSON log lines.
import { type ChildProcess, spawn } from 'node:child_process';
import { waitFor, PATIENCE_MS } from './driver-process.js';
import { driverEnvironment, EXECUTABLE, type LogLine, readLogLines, temporaryFolder } from './processes.js';

export { EXECUTABLE, temporaryFolder } from './processes.js';

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** Where and with what a program runs. */
export interface ProgramOptions {
  readonly enter?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** A running command; its log lines and other output are kept. */
export class Program {
  readonly logs: LogLine[] = [];
  rawOutput = '';
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #folder = temporaryFolder();

  constructor(args: readonly string[], { enter = [], environment = {} }: ProgramOptions = {}) {
    const [program = EXECUTABLE, ...rest] = [...enter, EXECUTABLE, ...args];
    this.#child = spawn(program, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...driverEnvironment(this.#folder.path), ...environment },
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#folder.remove();
        resolve({ code, signal });
      });
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      readLogLines(stream, this.logs, (line) => {
        this.rawOutput += `${line}\n`;
      });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Messages of the log, oldest first. */
  lines(message: string): LogLine[] {
    return this.logs.filter((line) => line.msg === message);
  }

  /** Writes to the kernel so far, as the driver announced them. */
  get operations(): LogLine[] {
    return this.lines('Operation');
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Waits until a message was logged more than `before` times; fails when the program ended or went wrong. */
  async logged(message: string, before = 0, timeoutMs = PATIENCE_MS): Promise<void> {
    await waitFor(
      () => this.lines(message).length > before,
      () => `"${message}" was not logged\n${this.transcript()}`,
      timeoutMs,
    );
  }

  /** The last lines, for messages of failed tests. */
  transcript(): string {
    const lines = this.logs.filter((line) => line.msg !== 'Operation').slice(-15);
    return `${this.rawOutput}\n${lines.map((line) => JSON.stringify(line)).join('\n')}`;
  }

  /** SIGTERM, SIGKILL after five seconds. */
  async stop(): Promise<Exit> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }
}

/** Waits until a driver has written nothing for 300 ms. */
export async function atRest(driver: Program): Promise<void> {
  let seen = -1;
  let since = Date.now();
  await waitFor(
    () => {
      const now = driver.logs.length;
      if (now !== seen) since = Date.now();
      seen = now;
      return Date.now() - since > 300;
    },
    () => `the driver does not come to rest\n${driver.transcript()}`,
  );
}
