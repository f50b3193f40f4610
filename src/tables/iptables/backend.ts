// Decides between the two iptables variants, by what other programs on the machine use (dataplane.md 4.6).
import type { Logger } from '../../base/logger.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { HostFiles } from '../../kernel/files.js';
import { FAMILIES, type Family } from '../../model/family.js';
import { binaryNames } from './command-io.js';

/** One of the two iptables variants. */
export type IptablesBackend = 'legacy' | 'nft';

const NOT_STARTED = 127;
/** Families in Felix's order of asking. */
const V6_FIRST: readonly Family[] = [6, 4];

/** Whether the legacy modules are loaded: asking a legacy tool otherwise loads them, with their hooks. */
export async function legacyTablesLoaded(files: HostFiles, family: Family): Promise<boolean> {
  return (await files.read(`/proc/net/${family === 4 ? 'ip' : 'ip6'}_tables_names`)) !== null;
}

/** Names of the tables that legacy rules of a family are in, in this network namespace; none if not loaded. */
export async function legacyTableNames(files: HostFiles, family: Family): Promise<string[]> {
  const text = await files.read(`/proc/net/${family === 4 ? 'ip' : 'ip6'}_tables_names`);
  return (text ?? '').split('\n').filter((name) => name !== '');
}

/** Whether save and restore of this very variant can be started. */
export async function backendBinariesPresent(
  runner: CommandRunner,
  backend: IptablesBackend,
  family: Family,
): Promise<boolean> {
  for (const program of ['save', 'restore'] as const) {
    const result = await runner.run({ argv: [binaryNames(family, backend, program)[0], '--version'] });
    if (result.exitCode === NOT_STARTED) return false;
  }
  return true;
}

/**
 * The variant to use. A configured value wins; `auto` goes by Kubernetes' hint chains, then by the number of rules.
 * Reads only, and never loads legacy modules. Unreadable tables count as empty.
 */
export async function detectIptablesBackend(
  runner: CommandRunner,
  files: HostFiles,
  configured: IptablesBackend | 'auto',
  log: Logger,
): Promise<IptablesBackend> {
  if (configured !== 'auto') return configured;
  const detector = new Detector(runner, files);
  const backend = await detector.detect();
  log.info('Detected the iptables variant', { backend });
  return backend;
}

class Detector {
  readonly #runner: CommandRunner;
  readonly #files: HostFiles;

  constructor(runner: CommandRunner, files: HostFiles) {
    this.#runner = runner;
    this.#files = files;
  }

  async detect(): Promise<IptablesBackend> {
    for (const backend of ['nft', 'legacy'] as const) {
      for (const family of V6_FIRST) {
        const mangle = await this.#save(backend, family, ['-t', 'mangle']);
        if (mangle.includes('KUBE-IPTABLES-HINT') || mangle.includes('KUBE-KUBELET-CANARY')) return backend;
      }
    }
    return (await this.#countRules('legacy')) >= (await this.#countRules('nft')) ? 'legacy' : 'nft';
  }

  async #countRules(backend: IptablesBackend): Promise<number> {
    let count = 0;
    for (const family of FAMILIES) {
      count += (await this.#save(backend, family, [])).split('\n').filter((line) => line.startsWith('-')).length;
    }
    return count;
  }

  async #save(backend: IptablesBackend, family: Family, flags: readonly string[]): Promise<string> {
    // Asking for a table that is not there makes the kernel load it.
    const table = flags[1];
    const isMissing = async (): Promise<boolean> => {
      if (!(await legacyTablesLoaded(this.#files, family))) return true;
      return table !== undefined && !(await legacyTableNames(this.#files, family)).includes(table);
    };
    if (backend === 'legacy' && (await isMissing())) return '';
    const [specific, general] = binaryNames(family, backend, 'save');
    const result = await this.#runner.run({ argv: [specific, ...flags] });
    if (result.exitCode !== NOT_STARTED) return result.stdout;
    return (await this.#runner.run({ argv: [general, ...flags] })).stdout;
  }
}
