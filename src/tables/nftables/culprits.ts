// Finds which objects a refused transaction is about, so that they are closed and everything else is written.
import type { Clock } from '../../base/clock.js';
import { SLICE_MS, TimeSlices } from '../../base/time-slices.js';
import type { PrintedChain, RenderedChains } from './rendered-chains.js';
import { complaint, type NftIo, refusedLines } from './io.js';
import { buildScript, ownerOfLine, type Script, type TableChanges } from './script.js';

/** How the kernel is asked. */
interface Access {
  readonly io: NftIo;
  readonly clock: Clock;
}

/** What the kernel refuses, and why. */
export interface Culprits {
  readonly chains: ReadonlyMap<PrintedChain, string>;
  /** Set → reason. */
  readonly sets: ReadonlyMap<string, string>;
}

/**
 * Found by the kernel only when it looks at the ruleset as a whole; it then names the jump that leads to the bad rule,
 * or the last of a loop, and not the rule.
 */
const WHOLE_RULESET = /Operation not supported|Too many links/u;

/**
 * The chains and sets to close after `error`. Empty when the failure is not about single objects, or is about one that
 * must not be closed. `script` is what was refused, of `changes`.
 */
export async function findCulprits(
  access: Access,
  chains: RenderedChains,
  changes: TableChanges,
  script: Script,
  error: unknown,
): Promise<Culprits> {
  const lines = refusedLines(error);
  const found: Culprits = { chains: new Map(), sets: new Map() };
  if (lines.length === 0) return found;
  const reason = complaint(error);
  const named = namedObjects(chains, changes, script, lines);
  if (named !== undefined && !WHOLE_RULESET.test(reason)) {
    return {
      chains: new Map(named.chains.map((chain) => [chain, reason])),
      sets: new Map(named.sets.map((name) => [name, reason])),
    };
  }
  return { chains: await searchChains(access, chains, changes, reason), sets: new Map() };
}

/** The objects that the lines are for, or undefined if a line is for something that cannot be closed. */
function namedObjects(
  chains: RenderedChains,
  changes: TableChanges,
  script: Script,
  lines: readonly number[],
): { chains: PrintedChain[]; sets: string[] } | undefined {
  const named = { chains: new Set<PrintedChain>(), sets: new Set<string>() };
  const written = new Map(changes.chains.map(({ chain }) => [chain.fullName, chain]));
  for (const line of lines) {
    const owner = ownerOfLine(script, line);
    if (owner?.kind === 'set') {
      named.sets.add(owner.name);
      continue;
    }
    const chain = written.get(owner?.name ?? '');
    const closed = chain === undefined ? undefined : chains.printClosed(chain);
    if (chain === undefined || closed === undefined || closed.key === chain.key) return undefined;
    named.chains.add(chain);
  }
  return { chains: [...named.chains], sets: [...named.sets] };
}

/**
 * Opens the written chains from all closed, as many at a time as the kernel takes: what it does not take is a culprit.
 * Costs about log2(chains) checks for each culprit.
 */
async function searchChains(
  { io, clock }: Access,
  chains: RenderedChains,
  changes: TableChanges,
  reason: string,
): Promise<Map<PrintedChain, string>> {
  const closedForms = new Map<string, PrintedChain>();
  const candidates: PrintedChain[] = [];
  for (const { chain } of changes.chains) {
    const closed = chains.printClosed(chain);
    if (closed === undefined || closed.key === chain.key) continue;
    closedForms.set(chain.fullName, closed);
    candidates.push(chain);
  }
  const culprits = new Map<PrintedChain, string>();
  /** Whether the kernel takes the candidates below `end` open, culprits apart, and all others closed. */
  const passes = async (end: number): Promise<boolean> => {
    const closed = new Map(closedForms);
    for (const chain of candidates.slice(0, end)) if (!culprits.has(chain)) closed.delete(chain.fullName);
    try {
      const { statements } = await buildScript(changes, new TimeSlices(clock, SLICE_MS), closed);
      await io.check(statements);
      return true;
    } catch {
      return false;
    }
  };
  if (candidates.length === 0 || !(await passes(0))) return culprits;
  let open = 0;
  while (!(await passes(candidates.length))) {
    let failing = candidates.length;
    while (failing - open > 1) {
      const middle = open + Math.floor((failing - open) / 2);
      if (await passes(middle)) open = middle;
      else failing = middle;
    }
    const culprit = candidates[failing - 1];
    if (culprit === undefined) break;
    culprits.set(culprit, reason);
    open = failing;
  }
  return culprits;
}
