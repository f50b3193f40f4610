// The co-processes of the broker: starts tools, feeds them one transaction at a time, and starts them anew after an
// error, a timeout, or enough work.
import { spawn, type ChildProcess } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import type { Command, CommandResult } from './command.js';
import type { CoprocessDriver, CoprocessTool, Frame } from './coprocess-driver.js';
import { ipsetRestoreDriver } from './coprocess-ipset.js';
import { iptablesRestoreDriver } from './coprocess-iptables.js';
import { nftDriver } from './coprocess-nft.js';
import { DEFAULT_TIMEOUT_MS, killGroup, NOT_STARTED, toolEnvironment } from './spawn.js';

/** A process that has done this much is replaced: its memory only grows. */
const MAX_TRANSACTIONS = 2_000;
const MAX_INPUT_CHARACTERS = 64 * 1024 * 1024;
/** Time for the tool to show that it can be kept open. */
const PROBE_TIMEOUT_MS = 10_000;
/** A tool that says more in one transaction is killed. */
const MAX_OUTPUT_CHARACTERS = 64 * 1024 * 1024;

const DRIVERS: Readonly<Record<CoprocessTool, CoprocessDriver>> = {
  'iptables-restore': iptablesRestoreDriver,
  'ipset-restore': ipsetRestoreDriver,
  nft: nftDriver,
};

/** Made here: one made where a frame is at hand would keep that frame in memory for as long as the tool is not asked again. */
const NOTHING = (): void => undefined;

/** How a wait for an answer ended. */
type Ending = 'acknowledged' | 'exited' | 'timed-out';

/** One running tool with its joined output. */
class RunningTool {
  readonly #child: ChildProcess;
  #output = '';
  #onProgress: () => void = NOTHING;
  #exit: { readonly exitCode: number | null; readonly signal: string | null } | null = null;
  linesWritten = 0;
  charactersWritten = 0;
  transactions = 0;

  constructor(argv: readonly string[], bufferMode: string) {
    // Errors and acknowledgements keep their order only in one stream, and only if the tool does not hold them back.
    const script = `exec stdbuf ${bufferMode} "$@" 2>&1`;
    this.#child = spawn('sh', ['-c', script, 'sh', ...argv], {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
      env: toolEnvironment(),
    });
    this.#child.stdin?.on('error', () => undefined);
    this.#child.stdout?.setEncoding('utf8');
    this.#child.stdout?.on('data', (chunk: string) => {
      this.#output += chunk;
      if (this.#output.length > MAX_OUTPUT_CHARACTERS) this.kill();
      this.#onProgress();
    });
    this.#child.on('error', (error) => {
      this.#output += error.message;
    });
    this.#child.on('close', (exitCode, signal) => {
      this.#exit = { exitCode: this.#child.pid === undefined ? NOT_STARTED : exitCode, signal };
      this.#onProgress();
    });
  }

  get exit(): { readonly exitCode: number | null; readonly signal: string | null } | null {
    return this.#exit;
  }

  /** Writes a frame and waits for its end. Returns all that the tool said meanwhile. */
  async exchange(frame: Frame, timeoutMs: number): Promise<{ readonly ending: Ending; readonly output: string }> {
    this.#output = '';
    this.transactions += 1;
    const ending = new Promise<Ending>((resolve) => {
      const timer = setTimeout(() => resolve('timed-out'), timeoutMs);
      this.#onProgress = () => {
        const done = frame.isAcknowledged(this.#output) ? 'acknowledged' : this.#exit === null ? null : 'exited';
        if (done === null) return;
        clearTimeout(timer);
        resolve(done);
      };
      this.#child.stdin?.write(frame.input);
      this.#onProgress();
    });
    const how = await ending;
    this.#onProgress = NOTHING;
    return { ending: how, output: this.#output };
  }

  /** Counts what was written, for the line numbers of later errors. */
  count(frame: Frame): void {
    this.charactersWritten += frame.input.length;
    for (let at = frame.input.indexOf('\n'); at >= 0; at = frame.input.indexOf('\n', at + 1)) this.linesWritten += 1;
  }

  kill(): void {
    killGroup(this.#child);
  }

  /** The tool ends by itself when its input does. */
  end(): void {
    this.#child.stdin?.end();
  }
}

/** One co-process: a tool that is there when it is needed. */
class Coprocess {
  readonly #driver: CoprocessDriver;
  readonly #argv: readonly string[];
  #tool: RunningTool | null = null;
  #sequence = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(driver: CoprocessDriver, argv: readonly string[]) {
    this.#driver = driver;
    this.#argv = argv;
  }

  /** Transactions run one after the other, in the order of the calls. */
  transact(text: string, timeoutMs: number): Promise<CommandResult> {
    const result = this.#last.then(() => this.#transact(text, timeoutMs));
    this.#last = result.catch(() => undefined);
    return result;
  }

  end(): void {
    this.#tool?.end();
    this.#tool = null;
  }

  kill(): void {
    this.#tool?.kill();
    this.#tool = null;
  }

  async #transact(text: string, timeoutMs: number): Promise<CommandResult> {
    const startMs = performance.now();
    const tool = await this.#ready();
    if (!(tool instanceof RunningTool)) return { ...tool, durationMs: performance.now() - startMs };
    const result = await this.#exchange(tool, text, timeoutMs);
    if (tool.transactions >= MAX_TRANSACTIONS || tool.charactersWritten >= MAX_INPUT_CHARACTERS) this.end();
    return { ...result, durationMs: performance.now() - startMs };
  }

  /** A tool that can take a transaction, or why there is none: then nothing was done. */
  async #ready(): Promise<RunningTool | CommandResult> {
    if (this.#tool !== null && this.#tool.exit === null) return this.#tool;
    const tool = new RunningTool(this.#driver.processArgv(this.#argv), this.#driver.bufferMode);
    this.#tool = tool;
    if (this.#driver.probe === null) return tool;
    const result = await this.#exchange(tool, this.#driver.probe, PROBE_TIMEOUT_MS);
    if (result.exitCode === 0) return tool;
    return { ...result, exitCode: NOT_STARTED, signal: null, stderr: `cannot be kept open: ${result.stderr}` };
  }

  async #exchange(tool: RunningTool, text: string, timeoutMs: number): Promise<CommandResult> {
    this.#sequence += 1;
    const frame = this.#driver.frame(text, this.#sequence);
    const linesBefore = tool.linesWritten;
    try {
      const { ending, output } = await tool.exchange(frame, timeoutMs);
      tool.count(frame);
      const said = frame.normalise(ending === 'acknowledged' ? frame.body(output) : output, linesBefore);
      if (ending === 'acknowledged' && !this.#driver.isRefusal(said)) return answer(0, null, said, '', false);
      if (ending === 'acknowledged') return answer(1, null, '', said, false);
      // Whatever comes from this process later would be taken for the answer to something else.
      tool.kill();
      this.#tool = null;
      if (ending === 'timed-out') return answer(null, 'SIGKILL', '', said, true);
      const exit = tool.exit ?? { exitCode: null, signal: null };
      // A tool that ends without a word and without an error did not acknowledge: nothing may be assumed.
      const exitCode = exit.exitCode === 0 ? null : exit.exitCode;
      return answer(exitCode, exitCode === null ? (exit.signal ?? 'SIGHUP') : null, '', said, false);
    } finally {
      frame.dispose();
    }
  }
}

function answer(
  exitCode: number | null,
  signal: string | null,
  stdout: string,
  stderr: string,
  timedOut: boolean,
): CommandResult {
  return { exitCode, signal, stdout, stderr, timedOut, durationMs: 0 };
}

/** All co-processes of a broker, one for each argv. */
export class CoprocessHost {
  readonly #coprocesses = new Map<string, Coprocess>();

  /**
   * Has a tool that is kept open work off `command.stdin`, and answers as if it had been started for it. Exit code
   * 127 means that it cannot be kept open, and that nothing was done. Never rejects.
   */
  async transact(tool: CoprocessTool, command: Command): Promise<CommandResult> {
    const key = JSON.stringify([tool, command.argv]);
    let coprocess = this.#coprocesses.get(key);
    if (coprocess === undefined) {
      coprocess = new Coprocess(DRIVERS[tool], command.argv);
      this.#coprocesses.set(key, coprocess);
    }
    try {
      return await coprocess.transact(command.stdin ?? '', command.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    } catch (error) {
      // No process, or no file for its input: nothing was written to it.
      return answer(NOT_STARTED, null, '', error instanceof Error ? error.message : String(error), false);
    }
  }

  /** Lets all tools end. */
  end(): void {
    for (const coprocess of this.#coprocesses.values()) coprocess.end();
    this.#coprocesses.clear();
  }

  /** Kills all tools, also those that work. */
  kill(): void {
    for (const coprocess of this.#coprocesses.values()) coprocess.kill();
    this.#coprocesses.clear();
  }
}
