// RouteKernel by way of iproute2: lists with `ip -j`, writes with `ip -force -batch -`, `bridge` and `tc`. The form of
// last resort: works wherever the tools do.
import { ToolError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { CommandResult, CommandRunner } from '../kernel/command.js';
import type { Family } from '../model/family.js';
import {
  classifyFailure,
  readAddresses,
  readBatchErrors,
  readFdbEntry,
  readJsonArrays,
  readLink,
  readNeighbour,
  readRedirects,
  readRoute,
  readRule,
  readTbf,
  type JsonObject,
} from './iproute-read.js';
import { batchLine, isBatchableInterfaceName, type BatchTool } from './iproute-text.js';
import type {
  KernelAddress,
  KernelFailure,
  KernelFdbEntry,
  KernelLink,
  KernelNeighbour,
  KernelOperation,
  KernelRoute,
  KernelRule,
  KernelTrafficControl,
  RouteKernel,
} from './route-kernel.js';

/** A dump that the kernel says was interrupted is taken again this often (6.1). */
const DUMP_ATTEMPTS = 5;

/** Exit code by which a runner says that the program could not be started (`CommandResult`). */
const NOT_STARTED = 127;

const BATCH_ARGV: Readonly<Record<BatchTool, readonly string[]>> = {
  ip: ['ip', '-force', '-batch', '-'],
  ip6: ['ip', '-6', '-force', '-batch', '-'],
  bridge: ['bridge', '-force', '-batch', '-'],
  tc: ['tc', '-force', '-batch', '-'],
};

function isPresent<T>(value: T | null): value is T {
  return value !== null;
}

/** An ip, bridge and tc that are run through `runner`, one process for each list and each run of operations. */
export class CommandRouteKernel implements RouteKernel {
  readonly #runner: CommandRunner;
  readonly #logger: Logger;

  constructor(options: { readonly runner: CommandRunner; readonly logger: Logger }) {
    this.#runner = options.runner;
    this.#logger = options.logger;
  }

  async listLinks(): Promise<readonly KernelLink[]> {
    const entries = await this.#list(['ip', '-d', '-j', 'link', 'show']);
    return entries.map(readLink).filter(isPresent);
  }

  async listAddresses(): Promise<readonly KernelAddress[]> {
    return (await this.#list(['ip', '-j', 'addr', 'show'])).flatMap(readAddresses);
  }

  async listRoutes(family: Family, table: number, interfaceNames?: readonly string[]): Promise<readonly KernelRoute[]> {
    const argv = ['ip', `-${family}`, '-N', '-d', '-j'];
    if (interfaceNames === undefined) {
      const entries = await this.#list([...argv, 'route', 'show', 'table', String(table)]);
      return entries.map((entry) => readRoute(entry, family, null)).filter(isPresent);
    }
    const found = await this.#listForInterfaces(
      argv,
      interfaceNames,
      (name) => `route show table ${table} dev ${name}`,
    );
    return found.flatMap(([name, entries]) => entries.map((entry) => readRoute(entry, family, name)).filter(isPresent));
  }

  async listRules(family: Family): Promise<readonly KernelRule[]> {
    const entries = await this.#list(['ip', `-${family}`, '-N', '-j', 'rule', 'show']);
    return entries.map((entry) => readRule(entry, family));
  }

  async listNeighbours(family: Family, interfaceNames?: readonly string[]): Promise<readonly KernelNeighbour[]> {
    const argv = ['ip', `-${family}`, '-j'];
    if (interfaceNames === undefined) {
      const entries = await this.#list([...argv, 'neigh', 'show', 'nud', 'permanent']);
      return entries.map((entry) => readNeighbour(entry, family, null)).filter(isPresent);
    }
    const found = await this.#listForInterfaces(argv, interfaceNames, (name) => `neigh show dev ${name} nud permanent`);
    return found.flatMap(([name, entries]) =>
      entries.map((entry) => readNeighbour(entry, family, name)).filter(isPresent),
    );
  }

  async listFdb(interfaceName: string): Promise<readonly KernelFdbEntry[]> {
    if (!isBatchableInterfaceName(interfaceName)) return [];
    const entries = await this.#list(['bridge', '-j', 'fdb', 'show', 'dev', interfaceName]);
    return entries.map((entry) => readFdbEntry(entry, interfaceName)).filter(isPresent);
  }

  async listTrafficControl(interfaceNames: readonly string[]): Promise<readonly KernelTrafficControl[]> {
    const argv = ['tc', '-r', '-d', '-s', '-j'];
    const qdiscs = await this.#listForInterfaces(argv, interfaceNames, (name) => `qdisc show dev ${name}`);
    const shaped = qdiscs.filter(([, entries]) => entries.some((entry) => entry['kind'] === 'ingress'));
    const filters = new Map(
      await this.#listForInterfaces(
        ['tc', '-j'],
        shaped.map(([name]) => name),
        (name) => `filter show dev ${name} parent ffff:`,
      ),
    );
    return qdiscs.map(([interfaceName, entries]) => ({
      interfaceName,
      tbf: readTbf(entries),
      hasIngress: entries.some((entry) => entry['kind'] === 'ingress'),
      redirects: readRedirects(filters.get(interfaceName) ?? []),
    }));
  }

  async apply(operations: readonly KernelOperation[]): Promise<readonly (KernelFailure | null)[]> {
    const results = new Array<KernelFailure | null>(operations.length).fill(null);
    let batch: { tool: BatchTool; indexes: number[]; lines: string[] } | null = null;
    const flush = async (): Promise<void> => {
      if (batch === null) return;
      const { tool, indexes, lines } = batch;
      batch = null;
      const outcomes = await this.#runBatch(tool, lines);
      for (const [at, index] of indexes.entries()) results[index] = outcomes[at] ?? null;
    };
    for (const [index, operation] of operations.entries()) {
      const line = batchLine(operation);
      if ('invalid' in line) {
        results[index] = { reason: 'invalid', message: line.invalid };
        continue;
      }
      // A new tool means a new process: what comes later may need what came before.
      if (batch !== null && batch.tool !== line.tool) await flush();
      batch ??= { tool: line.tool, indexes: [], lines: [] };
      batch.indexes.push(index);
      batch.lines.push(line.text);
    }
    await flush();
    return results;
  }

  /**
   * Some commands (`neigh`, for one) end the whole batch at an error of the kernel. The batch is then halved and each
   * half run again, until the line that failed stands alone: every operation may be carried out twice.
   */
  async #runBatch(tool: BatchTool, lines: readonly string[]): Promise<readonly (KernelFailure | null)[]> {
    const argv = BATCH_ARGV[tool];
    const result = await this.#runner.run({ argv, stdin: `${lines.join('\n')}\n` });
    const { byLine, rest } = readBatchErrors(result.stderr);
    if (result.exitCode === null || result.exitCode === NOT_STARTED) {
      const message = `${argv[0]} ended with ${describeEnd(result)}: ${result.stderr.slice(0, 500)}`;
      return lines.map(() => ({ reason: 'other', message }));
    }
    // 1 with nothing left over means that every failure was named and the rest was done.
    const ended = result.exitCode > 1 || (result.exitCode === 1 && (byLine.size === 0 || rest !== ''));
    if (ended && lines.length > 1) {
      const half = Math.ceil(lines.length / 2);
      const first = await this.#runBatch(tool, lines.slice(0, half));
      return [...first, ...(await this.#runBatch(tool, lines.slice(half)))];
    }
    if (ended && byLine.size === 0) {
      const text = rest === '' ? `${argv[0]} ended with ${describeEnd(result)}` : rest;
      return [classifyFailure(text)];
    }
    if (rest !== '') this.#logger.debug('Tool printed a warning', { tool, text: rest.slice(0, 500) });
    return lines.map((_, index) => {
      const message = byLine.get(index);
      return message === undefined ? null : classifyFailure(message);
    });
  }

  async #list(argv: readonly string[]): Promise<readonly JsonObject[]> {
    const result = await this.#runList({ argv });
    if (result.exitCode === 0) return this.#parse(argv, result).flat();
    const reason = classifyFailure(result.stderr).reason;
    if (reason === 'missing' || reason === 'interface-missing') return [];
    throw listError(argv, result);
  }

  /** One batch of list commands; interfaces that do not exist are left out of the answer. */
  async #listForInterfaces(
    argv: readonly string[],
    interfaceNames: readonly string[],
    line: (name: string) => string,
  ): Promise<[string, readonly JsonObject[]][]> {
    const names = interfaceNames.filter(isBatchableInterfaceName);
    if (names.length === 0) return [];
    const batchArgv = [...argv, '-force', '-batch', '-'];
    const result = await this.#runList({ argv: batchArgv, stdin: `${names.map(line).join('\n')}\n` });
    const { byLine } = readBatchErrors(result.stderr);
    const answered = names.filter((_, index) => !byLine.has(index));
    const isGone = (message: string): boolean => {
      const { reason } = classifyFailure(message);
      return reason === 'interface-missing' || reason === 'missing';
    };
    const arrays = this.#parse(batchArgv, result);
    if (arrays.length === answered.length && [...byLine.values()].every(isGone)) {
      return answered.map((name, index) => [name, arrays[index] ?? []]);
    }
    if (names.length === 1) {
      if (isGone(result.stderr)) return [];
      throw listError(batchArgv, result);
    }
    const half = Math.ceil(names.length / 2);
    const first = await this.#listForInterfaces(argv, names.slice(0, half), line);
    return [...first, ...(await this.#listForInterfaces(argv, names.slice(half), line))];
  }

  #parse(argv: readonly string[], result: CommandResult): JsonObject[][] {
    try {
      // A listing that failed half-way leaves an open bracket behind.
      return readJsonArrays(result.stdout.replace(/\[\s*$/, ''));
    } catch (cause) {
      throw new ToolError(`Output of ${argv.join(' ')} is not JSON`, toolFailure(argv, result), { cause });
    }
  }

  async #runList(command: { readonly argv: readonly string[]; readonly stdin?: string }): Promise<CommandResult> {
    let result = await this.#runner.run(command);
    for (let attempt = 1; attempt < DUMP_ATTEMPTS && result.stderr.includes('Dump was interrupted'); attempt++) {
      result = await this.#runner.run(command);
    }
    return result;
  }
}

function describeEnd(result: CommandResult): string {
  if (result.timedOut) return 'a timeout';
  return result.signal === null ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
}

function toolFailure(argv: readonly string[], result: CommandResult): ToolError['failure'] {
  return {
    argv,
    exitCode: result.exitCode,
    signal: result.signal,
    stderrHead: result.stderr.slice(0, 2_000),
    durationMs: result.durationMs,
  };
}

function listError(argv: readonly string[], result: CommandResult): ToolError {
  return new ToolError(
    `${argv.join(' ')} failed with ${describeEnd(result)}: ${result.stderr.trim().slice(0, 500)}`,
    toolFailure(argv, result),
  );
}
