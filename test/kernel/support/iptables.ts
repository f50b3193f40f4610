// The iptables tools inside a namespace, as the seams of the tables room.
import { directRunner } from '../../../src/kernel/spawn.js';
import type { CommandRunner } from '../../../src/kernel/command.js';
import type { HostFiles } from '../../../src/kernel/files.js';
import type { Family, TableName } from '../../../src/model/family.js';
import { CommandIptablesIo } from '../../../src/tables/iptables/command-io.js';
import type { Namespace } from './namespace.js';

const NOT_STARTED = 127;

/** Runs commands in the namespace; `ip netns exec` hides that a program does not exist, this shows it again. */
export function runnerIn(namespace: Namespace): CommandRunner {
  return {
    run: async (command) => {
      const result = await directRunner.run({ ...command, argv: [...namespace.enter, ...command.argv] });
      return result.stderr.startsWith('exec of ') ? { ...result, exitCode: NOT_STARTED } : result;
    },
  };
}

/** Files as a process in the namespace sees them; read and list only. */
export function filesIn(namespace: Namespace): HostFiles {
  const readOnly = (): Promise<void> => Promise.reject(new Error('the iptables tests only read files'));
  return {
    read: async (path) => {
      const result = await directRunner.run({ argv: [...namespace.enter, 'cat', path] });
      return result.exitCode === 0 ? result.stdout : null;
    },
    write: readOnly,
    replace: readOnly,
    remove: readOnly,
    stamp: () => Promise.reject(new Error('not used')),
    list: async (path) =>
      (await namespace.run(['ls', path], { reject: false })).split('\n').filter((name) => name !== ''),
  };
}

/** The spawn implementation in the namespace, with a count of what it did. */
export class CountingIo extends CommandIptablesIo {
  saves = 0;
  readonly scripts: string[] = [];

  constructor(namespace: Namespace, backend: 'legacy' | 'nft') {
    super({ runner: runnerIn(namespace), backend, restoreSupportsLock: true, lockProbeIntervalMs: 50 });
  }

  override async save(family: Family, table: TableName): Promise<string> {
    this.saves++;
    return super.save(family, table);
  }

  override async restore(family: Family, script: string): Promise<void> {
    this.scripts.push(script);
    await super.restore(family, script);
  }
}

/** Chains and rules of one table as saved, with their order; counters only if asked for. */
export async function savedRules(
  namespace: Namespace,
  backend: 'legacy' | 'nft',
  family: Family,
  table: TableName,
  options: { counters?: boolean } = {},
): Promise<Record<string, string[]>> {
  const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}-save`;
  const text = await namespace.run([tool, '-t', table, ...(options.counters === true ? ['-c'] : [])]);
  const chains: Record<string, string[]> = {};
  for (const line of text.split('\n')) {
    const declared = /^:(\S+)/.exec(line)?.[1];
    if (declared !== undefined) chains[declared] = [];
    const rule = /^((?:\[\d+:\d+\] )?)-A (\S+) ?(.*)$/.exec(line);
    if (rule !== null) chains[rule[2] ?? '']?.push(`${rule[1]}${rule[3]}`);
  }
  return chains;
}
