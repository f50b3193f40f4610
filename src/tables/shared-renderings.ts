// What both families want alike is rendered once: managers hand the very same chain object to both tables, the IPv4 table
// leaves here what it made of it, and the IPv6 table takes that.
import type { Action } from '../model/action.js';
import type { Chain } from '../model/chain.js';
import type { Match } from '../model/match.js';

/** Matches and actions whose text depends on the family. */
const MATCHES_OF_FAMILY: ReadonlySet<Match['kind']> = new Set<Match['kind']>([
  'source-net',
  'dest-net',
  'source-set',
  'dest-set',
  'source-port-set',
  'dest-port-set',
  'icmp-type',
  'icmp-type-code',
]);
const ACTIONS_OF_FAMILY: ReadonlySet<Action['kind']> = new Set<Action['kind']>(['dscp']);

/** Whether the text of the chain's rules is the same in both families. */
function isNeutral(chain: Chain): boolean {
  for (const { match, action } of chain.rules) {
    if (action !== undefined && ACTIONS_OF_FAMILY.has(action.kind)) return false;
    for (const { kind } of match) if (MATCHES_OF_FAMILY.has(kind)) return false;
  }
  return true;
}

/** Renderings of one table (in nftables: of one layer) that wait for the second family. */
export class SharedRenderings<Rendering> {
  readonly #waiting = new Map<Chain, Rendering>();

  /** The first family made this; kept if it holds for the second one too. */
  leave(chain: Chain, rendering: Rendering): void {
    if (isNeutral(chain)) this.#waiting.set(chain, rendering);
  }

  /** What the first family made of this very chain, if it waits; once. */
  take(chain: Chain): Rendering | undefined {
    const rendering = this.#waiting.get(chain);
    if (rendering !== undefined) this.#waiting.delete(chain);
    return rendering;
  }

  /** The second family has all it wants for now. */
  clear(): void {
    this.#waiting.clear();
  }
}
