// Finds the rules that the kernel refuses when the tool's error names no line (legacy reports the COMMIT line): tries
// them in a throw-away chain that nothing jumps to, half by half.
import { ToolError } from '../../base/errors.js';
import type { Chain, Rule } from '../../model/chain.js';
import type { Family, TableName } from '../../model/family.js';
import { type IptablesIo, isRefusal } from './io.js';
import type { TextContext } from './render.js';
import { renderRuleText } from './render.js';

/** Name of the throw-away chain; ours by prefix, so that a leftover is swept. */
const PROBE_CHAIN = 'cali-probe';

/** Where to search. */
export interface RefusalSearch {
  readonly io: IptablesIo;
  readonly family: Family;
  readonly table: TableName;
  readonly text: TextContext;
}

/**
 * Those of the chains whose rules the kernel refuses; none if the tool refuses even an empty chain. Leaves nothing behind.
 * @throws ToolError when the tool fails otherwise
 */
export async function searchRefused(
  { io, family, table, text }: RefusalSearch,
  suspects: readonly Chain[],
): Promise<Chain[]> {
  const isAccepted = async (chains: readonly Chain[]): Promise<boolean> => {
    try {
      await io.restore(family, probeScript(table, chains, text));
      return true;
    } catch (error) {
      if (error instanceof ToolError && isRefusal(error)) return false;
      throw error;
    }
  };
  if (!(await isAccepted([]))) return [];
  const refused = await findRefused(suspects, isAccepted);
  await io.restore(family, probeCleanup(table));
  return refused;
}

/**
 * The chains that `isAccepted` refuses, by halving. `isAccepted([])` must have been seen to be true. Costs about
 * 2 × refused × log2(all) calls.
 */
export async function findRefused(
  chains: readonly Chain[],
  isAccepted: (chains: readonly Chain[]) => Promise<boolean>,
): Promise<Chain[]> {
  if (chains.length === 0 || (await isAccepted(chains))) return [];
  if (chains.length === 1) return [...chains];
  const middle = chains.length >> 1;
  const left = await findRefused(chains.slice(0, middle), isAccepted);
  const right = await findRefused(chains.slice(middle), isAccepted);
  return [...left, ...right];
}

/** Script that puts the chains' rules, without their jumps, into the throw-away chain. */
function probeScript(table: TableName, chains: readonly Chain[], ctx: TextContext): string {
  const lines = [`*${table}`, `:${PROBE_CHAIN} - -`];
  for (const chain of chains) {
    for (const rule of chain.rules) lines.push(`-A ${PROBE_CHAIN} ${renderRuleText(withoutJump(rule), '', ctx)}`);
  }
  lines.push('COMMIT');
  return `${lines.join('\n')}\n`;
}

/** Script that removes the throw-away chain, whether it exists or not. */
function probeCleanup(table: TableName): string {
  return `*${table}\n:${PROBE_CHAIN} - -\n--delete-chain ${PROBE_CHAIN}\nCOMMIT\n`;
}

// The targets of jumps may be what could not be written.
function withoutJump(rule: Rule): Rule {
  if (rule.action?.kind !== 'jump' && rule.action?.kind !== 'goto') return rule;
  return { match: rule.match, ...(rule.comments === undefined ? {} : { comments: rule.comments }) };
}
