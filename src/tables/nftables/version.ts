// Whether the machine's nft can be used at all.
import { ConfigError } from '../../base/errors.js';
import type { CommandRunner } from '../../kernel/command.js';

/** nft as found; `problem` says what is wrong with it and what to do. */
export interface NftProbe {
  /** `1.0.6`, or null if nft did not tell. */
  readonly version: string | null;
  readonly problem: string | null;
}

/** Oldest nft that has all the forms that the tables use (dataplane.md 5.1). */
const MINIMUM: readonly number[] = [1, 0, 1];
const PROBE_TIMEOUT_MS = 10_000;

function isOlder(version: readonly number[]): boolean {
  for (const [at, wanted] of MINIMUM.entries()) {
    const part = version[at] ?? 0;
    if (part !== wanted) return part < wanted;
  }
  return false;
}

/** Runs `nft --version`. Never rejects for what nft does. */
export async function probeNft(runner: CommandRunner): Promise<NftProbe> {
  const result = await runner.run({ argv: ['nft', '--version'], timeoutMs: PROBE_TIMEOUT_MS });
  const match = /nftables v(\d+(?:\.\d+)*)/u.exec(result.stdout);
  const version = match?.[1];
  if (result.exitCode !== 0 || version === undefined) {
    const reason = result.timedOut ? 'it does not answer' : result.stderr.trim() || `exit code ${result.exitCode}`;
    return { version: null, problem: `nft cannot be used (${reason}); install nftables ${MINIMUM.join('.')} or later` };
  }
  if (isOlder(version.split('.').map(Number))) {
    return { version, problem: `nft ${version} is too old; install nftables ${MINIMUM.join('.')} or later` };
  }
  return { version, problem: null };
}

/** Rejects with a ConfigError that says what to install, if nft cannot be used: for nftables mode, which needs it. */
export async function requireNft(runner: CommandRunner): Promise<string> {
  const { version, problem } = await probeNft(runner);
  if (problem !== null || version === null) {
    throw new ConfigError(`nftables mode needs nft: ${problem ?? 'no version'}`, 'NFTablesMode', 'Enabled', 'machine');
  }
  return version;
}
