// The spawn implementation of the iptables seam: one iptables-save or iptables-restore process a call.
import { ToolError } from '../../base/errors.js';
import type { Command, CommandResult, CommandRunner } from '../../kernel/command.js';
import type { TaggedRules } from '../../kernel/netlink/tagged-rules.js';
import type { Family, TableName } from '../../model/family.js';
import type { CommitLedger } from '../commit-ledger.js';
import type { IptablesIo } from './io.js';
import { isAsKnown, type KnownTable, readTagged } from './read.js';

/** What the commands depend on. */
export interface CommandIptablesIoOptions {
  readonly runner: CommandRunner;
  readonly backend: 'legacy' | 'nft';
  /** `--wait` on restore; iptables 1.6.2 and later. */
  readonly restoreSupportsLock: boolean;
  /** How often a held lock is tried again. */
  readonly lockProbeIntervalMs: number;
  /** For the nft variant: counts its commits. */
  readonly ledger?: CommitLedger;
  /** Reads what rules are known by without a tool; null when the kernel does not answer. */
  readonly readTags?: (family: Family, table: TableName) => Promise<TaggedRules | null>;
  /** Never by the general names (`iptables-save`): what runs under them may be the other variant. */
  readonly exactNames?: boolean;
}

/** Seconds that restore waits for the xtables lock; Felix's figure. */
const LOCK_WAIT_SECONDS = 10;
const NOT_STARTED = 127;
/** iptables-nft 1.8.9 deletes chains by a commit of their own, after all else. */
const DELETES_CHAIN = /^(?:-X|--delete-chain) /m;
const STDERR_HEAD_LENGTH = 2_000;
/** iptables 1.8.9 says this on each call with `--wait-interval`; it is no error. */
const NOISE = /^Ignoring deprecated --wait-interval option\.\n/gm;
/** Printed, with exit code 0, in the place of a table that holds what iptables cannot express (tests.md B20). */
const INCOMPATIBLE = /^# Table .* is incompatible, use 'nft' tool\./m;

/** Forms of the line number, by iptables 1.8.9: parser (both), kernel (nft), kernel (legacy and nft commands). */
const LINE_NUMBERS = [/^Error occurred at line: (\d+)/m, /^line (\d+): /m, /line (\d+) failed/m];

/** The 1-based input line that iptables-restore names in its errors, or undefined. */
export function inputLineOf(stderr: string): number | undefined {
  for (const pattern of LINE_NUMBERS) {
    const line = pattern.exec(stderr)?.[1];
    if (line !== undefined) return Number(line);
  }
  return undefined;
}

/** Candidates for a program, best first: `ip6tables-nft-restore`, then `ip6tables-restore` (dataplane.md 4.6). */
export function binaryNames(family: Family, backend: 'legacy' | 'nft', program: 'save' | 'restore'): [string, string] {
  const base = family === 4 ? 'iptables' : 'ip6tables';
  return [`${base}-${backend}-${program}`, `${base}-${program}`];
}

/** Turns a failed command into an error that says what, where, and which line of ours was refused. */
export function toolError(argv: readonly string[], result: CommandResult, script?: string): ToolError {
  const stderr = result.stderr.replace(NOISE, '').trim();
  const inputLine = script === undefined ? undefined : inputLineOf(stderr);
  const text = inputLine === undefined ? undefined : script?.split('\n')[inputLine - 1];
  const how = result.timedOut
    ? `did not end in ${result.durationMs} ms and was killed`
    : result.signal !== null
      ? `was killed by ${result.signal}`
      : `exited with ${result.exitCode}`;
  const where = text === undefined ? '' : `; input line ${inputLine}: ${text}`;
  return new ToolError(`${argv[0]} ${how}: ${stderr.slice(0, STDERR_HEAD_LENGTH)}${where}`, {
    argv,
    exitCode: result.exitCode,
    signal: result.signal,
    stderrHead: stderr.slice(0, STDERR_HEAD_LENGTH),
    ...(inputLine === undefined ? {} : { inputLine }),
    durationMs: result.durationMs,
  });
}

/** Spawns the tools of one backend. */
export class CommandIptablesIo implements IptablesIo {
  readonly #options: CommandIptablesIoOptions;
  readonly #restoreFlags: readonly string[];
  /** Programs whose specific name was not found and that go by the general one. */
  readonly #general = new Set<string>();
  /**
   * Families whose tools were seen under their specific names. One that is missing later was removed, and the general
   * name may mean the other variant: rules would be written where nobody looks for them.
   */
  readonly #specific = new Set<Family>();
  readonly #looked = new Map<Family, Promise<unknown>>();

  constructor(options: CommandIptablesIoOptions) {
    this.#options = options;
    this.#restoreFlags = options.restoreSupportsLock
      ? ['--wait', `${LOCK_WAIT_SECONDS}`, '--wait-interval', `${options.lockProbeIntervalMs * 1000}`]
      : [];
  }

  async save(family: Family, table: TableName): Promise<string> {
    const { argv, result } = await this.#run(family, 'save', ['-t', table]);
    const incompatible = INCOMPATIBLE.exec(result.stdout)?.[0];
    if (result.exitCode !== 0) throw toolError(argv, result);
    if (incompatible !== undefined) {
      throw toolError(argv, { ...result, stderr: `${incompatible} Another program put native nftables rules into it` });
    }
    return result.stdout;
  }

  async readTags(family: Family, table: TableName): Promise<KnownTable | null> {
    const { readTags } = this.#options;
    if (readTags === undefined) return null;
    const [found] = await Promise.all([readTags(family, table), this.#lookForTools(family)]);
    return found === null ? null : readTagged(found, table);
  }

  /** Finds out, once, under which names the tools go: one that is missing when it is first needed was removed. */
  #lookForTools(family: Family): Promise<unknown> {
    const looked = this.#looked.get(family) ?? this.#run(family, 'restore', ['--version']);
    this.#looked.set(family, looked);
    return looked;
  }

  restore(family: Family, script: string): Promise<void> {
    const { ledger } = this.#options;
    const work = (): Promise<void> => this.#restore(family, script);
    return ledger === undefined ? work() : ledger.own(work, script.length, DELETES_CHAIN.test(script) ? 2 : 1);
  }

  async isAsKnown(family: Family, table: TableName, known: KnownTable): Promise<boolean> {
    const found = (await this.#options.readTags?.(family, table)) ?? null;
    return found !== null && isAsKnown(found, known);
  }

  epoch(): number | null {
    return this.#options.ledger?.epoch() ?? null;
  }

  async #restore(family: Family, script: string): Promise<void> {
    const flags = ['--noflush', '--verbose', ...this.#restoreFlags];
    const { argv, result } = await this.#run(family, 'restore', flags, script);
    if (result.exitCode !== 0) throw toolError(argv, result, script);
  }

  async #run(
    family: Family,
    program: 'save' | 'restore',
    flags: readonly string[],
    stdin?: string,
  ): Promise<{ argv: readonly string[]; result: CommandResult }> {
    const [specific, general] = binaryNames(family, this.#options.backend, program);
    const first = this.#general.has(specific) ? general : specific;
    const command = (binary: string): Command => ({
      argv: [binary, ...flags],
      ...(stdin === undefined ? {} : { stdin }),
    });
    const result = await this.#options.runner.run(command(first));
    if (first === general) return { argv: [first, ...flags], result };
    if (result.exitCode !== NOT_STARTED) this.#specific.add(family);
    if (this.#specific.has(family) || this.#options.exactNames === true) return { argv: [first, ...flags], result };
    const second = await this.#options.runner.run(command(general));
    if (second.exitCode === NOT_STARTED) return { argv: [specific, ...flags], result };
    this.#general.add(specific);
    return { argv: [general, ...flags], result: second };
  }
}
