// How commands are run. The daemon never spawns by itself: a broker process does (ecosystem.md section 0).

/** A command to run to its end. */
export interface Command {
  /** Program and arguments; no shell. */
  readonly argv: readonly string[];
  /** Written to standard input, which is then closed. */
  readonly stdin?: string;
  /** Killed (SIGKILL) after this long; default 60,000. */
  readonly timeoutMs?: number;
}

/** How a command ended. A program that could not be started has `exitCode` 127 and the reason in `stderr`. */
export interface CommandResult {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
  readonly durationMs: number;
  /** Of that, what starting the process took; absent where none was started. */
  readonly startMs?: number;
}

/** Runs commands. Never rejects for a command's own failure; rejects when the runner itself is gone. */
export interface CommandRunner {
  run(command: Command): Promise<CommandResult>;
}
