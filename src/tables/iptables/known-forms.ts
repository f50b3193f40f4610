// Whether the rules that we write without a tool are such that this machine's iptables can read them.
import type { Logger } from '../../base/logger.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { Family } from '../../model/family.js';
import type { IptablesBackend } from './backend.js';
import { binaryNames } from './command-io.js';
import { compareVersions, parseVersion } from './features.js';

/** Its forms are the ones that we write; older ones write some otherwise, and may not read these. */
const OLDEST = [1, 8, 9] as const;
/** As `--version` calls the variants. */
const VARIANT_NAMES = { nft: 'nf_tables', legacy: 'legacy' } as const;
const NOT_STARTED = 127;

/** Asks iptables-restore of each family for its version; says why it is left to write everything. */
export async function readsOurForms(
  runner: CommandRunner,
  backend: IptablesBackend,
  families: readonly Family[],
  log: Logger,
): Promise<boolean> {
  const results = await Promise.all(
    families.map(async (family) => {
      const [specific, general] = binaryNames(family, backend, 'restore');
      const result = await runner.run({ argv: [specific, '--version'] });
      return result.exitCode === NOT_STARTED ? runner.run({ argv: [general, '--version'] }) : result;
    }),
  );
  const unfit = results.find(({ exitCode, stdout }) => {
    const version = exitCode === 0 && stdout.includes(VARIANT_NAMES[backend]) ? parseVersion(stdout, 'v') : null;
    return version === null || compareVersions(version, OLDEST) < 0;
  });
  if (unfit === undefined) return true;
  log.info('All rules are written by iptables-restore: without it they are for iptables 1.8.9 and later', {
    found: (unfit.stdout + unfit.stderr).trim().slice(0, 200),
  });
  return false;
}
