// A CommandRunner and a process stream inside a test namespace.
import { performance } from 'node:perf_hooks';
import { execa } from 'execa';
import type { CommandRunner } from '../../../src/kernel/command.js';
import { type StartProcessStream, startProcessStream } from '../../../src/kernel/process-stream.js';

/** Commands run by `ip netns exec NAME`; `commands` has every argv without that prefix. */
export interface NamespaceRunner extends CommandRunner {
  readonly commands: (readonly string[])[];
}

/** A runner for the namespace. */
export function createNamespaceRunner(namespace: string): NamespaceRunner {
  const commands: (readonly string[])[] = [];
  return {
    commands,
    async run({ argv, stdin, timeoutMs }) {
      commands.push(argv);
      const startMs = performance.now();
      const result = await execa('ip', ['netns', 'exec', namespace, ...argv], {
        ...(stdin === undefined ? { stdin: 'ignore' } : { input: stdin }),
        reject: false,
        timeout: timeoutMs ?? 60_000,
        stripFinalNewline: false,
      });
      return {
        exitCode: result.exitCode ?? null,
        signal: result.signal ?? null,
        stdout: result.stdout ?? '',
        stderr: result.stderr ?? '',
        timedOut: result.timedOut,
        durationMs: performance.now() - startMs,
      };
    },
  };
}

/** Process streams in the namespace. `ip netns exec` replaces itself, so stopping ends the tool. */
export function createNamespaceStreams(namespace: string): StartProcessStream {
  return (argv, handlers) => startProcessStream(['ip', 'netns', 'exec', namespace, ...argv], handlers);
}
