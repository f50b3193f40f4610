// Reads chains and jumps of the nft copies of the iptables tables with `nft --json`: it lists what iptables-nft
// refuses to print, but not the comments of iptables rules.
import { ToolError } from '../../base/errors.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { Family, TableName } from '../../model/family.js';
import { toolError } from './command-io.js';

/** A chain of a table; `isBase` if it is attached to a hook. */
export interface NftChain {
  readonly table: string;
  readonly name: string;
  readonly isBase: boolean;
}

/** A rule that jumps or goes somewhere. */
export interface NftJump {
  readonly handle: number;
  readonly target: string;
}

/** nft's name of the family. */
export function nftFamily(family: Family): 'ip' | 'ip6' {
  return family === 4 ? 'ip' : 'ip6';
}

/** Every chain of the family, in all tables; none where nft knows no table. Rejects with a ToolError. */
export async function listNftChains(runner: CommandRunner, family: Family): Promise<NftChain[]> {
  const chains: NftChain[] = [];
  for (const object of await list(runner, ['chains', nftFamily(family)])) {
    const chain = field(object, 'chain');
    const table = field(chain, 'table');
    const name = field(chain, 'name');
    if (typeof table !== 'string' || typeof name !== 'string') continue;
    chains.push({ table, name, isBase: field(chain, 'hook') !== undefined });
  }
  return chains;
}

/** The rules of a chain that jump or go to another one, in order. Rejects with a ToolError. */
export async function listNftJumps(
  runner: CommandRunner,
  family: Family,
  table: TableName,
  chain: string,
): Promise<NftJump[]> {
  const jumps: NftJump[] = [];
  for (const object of await list(runner, ['chain', nftFamily(family), table, chain])) {
    const rule = field(object, 'rule');
    const handle = field(rule, 'handle');
    const expressions = field(rule, 'expr');
    if (typeof handle !== 'number' || !Array.isArray(expressions)) continue;
    for (const expression of expressions) {
      const target = field(field(expression, 'jump') ?? field(expression, 'goto'), 'target');
      if (typeof target === 'string') jumps.push({ handle, target });
    }
  }
  return jumps;
}

async function list(runner: CommandRunner, what: readonly string[]): Promise<readonly unknown[]> {
  const argv = ['nft', '--json', 'list', ...what];
  const result = await runner.run({ argv });
  if (result.exitCode !== 0) throw toolError(argv, result);
  let parsed: unknown;
  try {
    parsed = JSON.parse(result.stdout);
  } catch (error) {
    const { failure } = toolError(argv, result);
    throw new ToolError(`${argv.join(' ')} printed something that is not JSON`, failure, { cause: error });
  }
  const objects = field(parsed, 'nftables');
  return Array.isArray(objects) ? (objects as unknown[]) : [];
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}
