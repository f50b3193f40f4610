// The kernel's IP sets through the ipset program, one process a call.
import { ToolError } from '../base/errors.js';
import type { Command, CommandResult, CommandRunner } from '../kernel/command.js';
import { parseKernelIpSet, type IpSetIo } from './kernel-set.js';

const NO_SUCH_SET = 'The set with the given name does not exist';
const STDERR_HEAD_LENGTH = 2_000;

/** 1-based input line that ipset's error text names: `ipset v7.17: Error in line 4: Hash is full, …`. */
export function ipsetErrorLine(stderr: string): number | undefined {
  const line = /Error in line (\d+):/.exec(stderr)?.[1];
  return line === undefined ? undefined : Number(line);
}

/** Whether ipset said that there is no such set (ipset 7.17; the same text since 4.0). */
export function isNoSuchSet(stderr: string): boolean {
  return stderr.includes(NO_SUCH_SET);
}

function toolError(command: Command, result: CommandResult): ToolError {
  const stderrHead = result.stderr.slice(0, STDERR_HEAD_LENGTH);
  const how = result.timedOut
    ? `was killed after ${Math.round(result.durationMs)} ms`
    : (result.signal ?? `exit code ${result.exitCode}`);
  const inputLine = ipsetErrorLine(result.stderr);
  return new ToolError(`${command.argv.join(' ')} failed (${how}): ${stderrHead.trim()}`, {
    argv: command.argv,
    exitCode: result.exitCode,
    signal: result.signal,
    stderrHead,
    ...(inputLine === undefined ? {} : { inputLine }),
    durationMs: result.durationMs,
  });
}

/** {@link IpSetIo} by `ipset list -name`, `ipset list NAME` and `ipset -exist restore`, run by the given runner. */
export function commandIpSetIo(runner: CommandRunner): IpSetIo {
  const run = async (command: Command): Promise<CommandResult> => {
    const result = await runner.run(command);
    if (result.exitCode !== 0) throw toolError(command, result);
    return result;
  };
  return {
    async listNames() {
      const { stdout } = await run({ argv: ['ipset', 'list', '-name'] });
      return stdout.split('\n').filter((line) => line !== '');
    },
    async list(name) {
      // One by one: the listing of all sets breaks on foreign sets that this ipset version cannot print.
      const command = { argv: ['ipset', 'list', name] };
      const result = await runner.run(command);
      if (result.exitCode !== 0) {
        if (isNoSuchSet(result.stderr)) return null;
        throw toolError(command, result);
      }
      return parseKernelIpSet(name, result.stdout);
    },
    digest: () => Promise.resolve(null),
    async restore(script) {
      // As an option of one line it would stick for all later lines (ipset 7.17), so it stands for all of them.
      await run({ argv: ['ipset', '-exist', 'restore'], stdin: script });
    },
  };
}
