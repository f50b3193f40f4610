// The nftables seam by running `nft`: one process per transaction or listing, only ever for one table.
import { type ToolFailure, ToolError } from '../../base/errors.js';
import type { CommandResult, CommandRunner } from '../../kernel/command.js';
import { type KernelNftTable, type NftFamily, type NftIo, scriptText, type Statement } from './io.js';
import { listedObjects, parseTableListing } from './listing.js';

const STDERR_HEAD = 2_000;
const TRANSACTION_TIMEOUT_MS = 60_000;
/** A million interval elements (16 MB of script) take the kernel 20 s on a small machine. */
const SCRIPT_BYTES_PER_MS = 100;
/** The same million takes 100 s to list with nft 1.0.6. */
const LIST_TIMEOUT_MS = 300_000;
const NO_SUCH_OBJECT = /^Error: No such file or directory/mu;

/** How a failed run of nft is told; names the statement, and what to do where that is known. */
function toolError(what: string, argv: readonly string[], result: CommandResult, script: string): ToolError {
  const stderrHead = result.stderr.slice(0, STDERR_HEAD);
  const line = /^\S+?:(\d+):\d+/mu.exec(stderrHead)?.[1];
  const failure: ToolFailure = {
    argv,
    exitCode: result.exitCode,
    signal: result.signal,
    stderrHead,
    ...(line === undefined ? {} : { inputLine: Number(line) }),
    durationMs: result.durationMs,
  };
  const statement = line === undefined ? undefined : script.split('\n')[Number(line) - 1]?.slice(0, 300);
  return new ToolError(
    `${what}: ${ending(result)}${statement === undefined ? '' : `; statement: ${statement}`}`,
    failure,
  );
}

function ending(result: CommandResult): string {
  if (result.timedOut) return `nft was killed after ${Math.round(result.durationMs)} ms without an answer`;
  if (result.signal !== null) return `nft was killed by ${result.signal}`;
  const complaint = result.stderr.trim().split('\n')[0] ?? '';
  if (result.exitCode === 127) return `nft could not be started (${complaint}); install nftables 1.0.1 or later`;
  return `nft exited with ${result.exitCode}: ${complaint}`;
}

/** {@link NftIo} over a command runner. Holds no state. */
export class CommandNftIo implements NftIo {
  readonly #runner: CommandRunner;

  constructor(options: { readonly runner: CommandRunner }) {
    this.#runner = options.runner;
  }

  /** See NftIo. */
  async transaction(statements: readonly Statement[], onReady?: () => void): Promise<void> {
    const script = scriptText(statements);
    onReady?.();
    await this.#load('nft transaction failed', ['nft', '-f', '-'], script);
  }

  /** See NftIo. */
  async check(statements: readonly Statement[]): Promise<void> {
    await this.#load('nft refuses the transaction', ['nft', '-c', '-f', '-'], scriptText(statements));
  }

  /** See NftIo. */
  async listTable(family: NftFamily, table: string): Promise<KernelNftTable | null> {
    const json = await this.#list(['list', 'table', family, table]);
    return json === null ? null : parseTableListing(json);
  }

  /** See NftIo. */
  async listTables(family: NftFamily): Promise<string[]> {
    return this.#names(['list', 'tables', family], 'table');
  }

  /** See NftIo. */
  async listChains(family: NftFamily, table: string): Promise<string[]> {
    return this.#names(['list', 'chains', family], 'chain', table);
  }

  /** See NftIo: nft itself cannot tell the generation. */
  generation(): Promise<null> {
    return Promise.resolve(null);
  }

  async #load(what: string, argv: readonly string[], script: string): Promise<void> {
    const timeoutMs = TRANSACTION_TIMEOUT_MS + Math.ceil(script.length / SCRIPT_BYTES_PER_MS);
    const result = await this.#runner.run({ argv, stdin: script, timeoutMs });
    if (result.exitCode !== 0) throw toolError(what, argv, result, script);
  }

  /** Standard output, or null when what is listed does not exist. */
  async #list(args: readonly string[]): Promise<string | null> {
    const argv = ['nft', '-j', ...args];
    const result = await this.#runner.run({ argv, timeoutMs: LIST_TIMEOUT_MS });
    if (result.exitCode === 0) return result.stdout;
    if (result.exitCode === 1 && NO_SUCH_OBJECT.test(result.stderr)) return null;
    throw toolError(`nft ${args.join(' ')} failed`, argv, result, '');
  }

  async #names(args: readonly string[], kind: string, table?: string): Promise<string[]> {
    const json = await this.#list(args);
    if (json === null) return [];
    return listedObjects(json)
      .filter(([listed, body]) => listed === kind && (table === undefined || body['table'] === table))
      .map(([, body]) => String(body['name']));
  }
}
