// A long-running child whose output is read line by line (`ip monitor`). Started once, early, while this process is
// small: after that a fork of ours would be slow (ecosystem.md 1.2).
import { spawn } from 'node:child_process';
import { StringDecoder } from 'node:string_decoder';
import { toolEnvironment } from './spawn.js';

/** What a stream tells. Nothing is called after `onExit`. */
export interface ProcessStreamHandlers {
  /** One line of standard output, without its line feed. */
  readonly onLine: (line: string) => void;
  /** One line of standard error. */
  readonly onErrorLine: (line: string) => void;
  /** The program ended, or could not be started; called once. */
  readonly onExit: (reason: string) => void;
}

/** A running child. */
export interface ProcessStream {
  /** Ends the child; `onExit` still follows. Calling it twice does nothing. */
  stop(): void;
}

/** Starts a child; never throws for the program's own failure. */
export type StartProcessStream = (argv: readonly string[], handlers: ProcessStreamHandlers) => ProcessStream;

/** Longest line kept; the rest of a longer one is dropped with it. */
const MAX_LINE_LENGTH = 1024 * 1024;

/** Splits chunks of bytes into lines, whatever the chunk borders cut. */
function createLineSplitter(onLine: (line: string) => void): (chunk: Buffer) => void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  return (chunk) => {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_LENGTH) rest = '';
    for (const line of lines) onLine(line);
  };
}

/** Starts a real child in its own process group, with nothing on standard input. */
export const startProcessStream: StartProcessStream = (argv, handlers) => {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: toolEnvironment() });
  let ended = false;
  const end = (reason: string): void => {
    if (ended) return;
    ended = true;
    handlers.onExit(reason);
  };
  child.stdout.on('data', createLineSplitter(handlers.onLine));
  child.stderr.on('data', createLineSplitter(handlers.onErrorLine));
  child.on('error', (error) => end(`could not be started: ${error.message}`));
  child.on('close', (code, signal) => end(`ended with ${signal ?? `exit code ${code}`}`));
  // The child must not outlive us: it would write into a closed pipe only at the next event.
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  child.on('close', () => process.removeListener('exit', kill));
  return { stop: kill };
};
