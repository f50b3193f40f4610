// Whether the rules that we write by netlink are such that this machine's iptables-nft can read them.
import type { Logger } from '../../base/logger.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { Family } from '../../model/family.js';
import { binaryNames } from './command-io.js';
import { compareVersions, parseVersion } from './features.js';

/** Its forms are the ones that we write; older ones write marks and ports otherwise, and may not read these. */
const OLDEST = [1, 8, 9] as const;
const NOT_STARTED = 127;

/** Asks iptables-restore of each family for its version; says why it is left to write everything. */
export async function readsOurForms(runner: CommandRunner, families: readonly Family[], log: Logger): Promise<boolean> {
  const results = await Promise.all(
    families.map(async (family) => {
      const [specific, general] = binaryNames(family, 'nft', 'restore');
      const result = await runner.run({ argv: [specific, '--version'] });
      return result.exitCode === NOT_STARTED ? runner.run({ argv: [general, '--version'] }) : result;
    }),
  );
  const unfit = results.find(({ exitCode, stdout }) => {
    const version = exitCode === 0 && stdout.includes('nf_tables') ? parseVersion(stdout, 'v') : null;
    return version === null || compareVersions(version, OLDEST) < 0;
  });
  if (unfit === undefined) return true;
  log.info('All rules are written by iptables-restore: by netlink they are for iptables-nft 1.8.9 and later', {
    found: (unfit.stdout + unfit.stderr).trim().slice(0, 200),
  });
  return false;
}
