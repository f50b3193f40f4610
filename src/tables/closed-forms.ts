// What stands in for a chain that cannot be programmed as asked, in both back ends.
import type { Chain } from '../model/chain.js';
import type { TableName } from '../model/family.js';

/** Endpoint, policy, profile and group chains: closing one closes the endpoints that use it, and nothing else. */
const CLOSED_BY_DROP = /^cali-(?:tw|fw|th|fh|thfw|fhfw|pi|po|pri|pro|gi|go|sm)-/u;
/** Chains that only add something to what is decided elsewhere; none of them lets pass what policy drops when empty. */
const CLOSED_BY_NOTHING = /^cali-(?:egress-dscp$|rpf-skip$|cidr-block$|arp-(?!dispatch))/u;

/** The chain as one that drops all; in `nat` (where nothing is decided and DROP is refused) as one that does nothing. */
export function closedChain(table: TableName, name: string, reason: string): Chain {
  return { name, rules: table === 'nat' ? [] : [{ match: [], action: { kind: 'drop' } }], refused: reason };
}

/** How a chain is closed, or undefined if it is one that everything depends on: closing that would close the node. */
export function closedForm(table: TableName, name: string, reason: string): Chain | undefined {
  if (table === 'nat' || CLOSED_BY_NOTHING.test(name)) return { name, rules: [], refused: reason };
  return CLOSED_BY_DROP.test(name) ? closedChain(table, name, reason) : undefined;
}
