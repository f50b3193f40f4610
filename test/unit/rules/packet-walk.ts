// Walks a made-up packet through rendered policy chains, as values: what a rule means does not depend on the back
// end. Refuses what it does not understand instead of guessing.
import type { Action } from '../../../src/model/action.js';
import type { Rule } from '../../../src/model/chain.js';
import type { Match, PortRange } from '../../../src/model/match.js';

/** Addresses are small numbers here: a "net" is the decimal text of one address, or of a range `a.b` (a to b). */
export interface Packet {
  readonly source: number;
  readonly dest: number;
  readonly protocol: string;
  readonly sourcePort: number;
  readonly destPort: number;
}

/** Set name → members, `address` or `address:port`. */
export type Sets = ReadonlyMap<string, ReadonlySet<string>>;

/** Mark of the packet after the chain, and whether a rule dropped it. */
export interface Outcome {
  readonly mark: number;
  readonly dropped: boolean;
}

/** Runs the rules of one chain over a packet with the given mark. */
export function walk(rules: readonly Rule[], packet: Packet, sets: Sets, mark: number): Outcome {
  for (const { match, action } of rules) {
    if (!match.every((each) => matches(each, packet, sets, mark))) continue;
    if (action === undefined) continue;
    if (action.kind === 'drop') return { mark, dropped: true };
    if (action.kind === 'return') return { mark, dropped: false };
    mark = nextMark(action, mark);
  }
  return { mark, dropped: false };
}

function nextMark(action: Action, mark: number): number {
  switch (action.kind) {
    case 'set-mark':
      return (mark | action.mask) >>> 0;
    case 'clear-mark':
      return (mark & ~action.mask) >>> 0;
    case 'set-masked-mark':
      return ((mark & ~action.mask) | action.value) >>> 0;
    default:
      throw new Error(`the walk does not know action ${action.kind}`);
  }
}

function matches(match: Match, packet: Packet, sets: Sets, mark: number): boolean {
  const result = matchesPlainly(match, packet, sets, mark);
  return 'negated' in match && match.negated === true ? !result : result;
}

function matchesPlainly(match: Match, packet: Packet, sets: Sets, mark: number): boolean {
  switch (match.kind) {
    case 'mark-clear':
      return (mark & match.mask) === 0;
    case 'mark-value':
      return (mark & match.mask) >>> 0 === match.value;
    case 'protocol':
      return packet.protocol === match.protocol;
    case 'source-net':
      return inNet(match.net, packet.source);
    case 'dest-net':
      return inNet(match.net, packet.dest);
    case 'source-set':
      return memberOf(sets, match.set, `${packet.source}`);
    case 'dest-set':
      return memberOf(sets, match.set, `${packet.dest}`);
    case 'source-port-set':
      return memberOf(sets, match.set, `${packet.source}:${packet.sourcePort}`);
    case 'dest-port-set':
      return memberOf(sets, match.set, `${packet.dest}:${packet.destPort}`);
    case 'source-ports':
      return packet.protocol === match.protocol && inRanges(match.ports, packet.sourcePort);
    case 'dest-ports':
      return packet.protocol === match.protocol && inRanges(match.ports, packet.destPort);
    default:
      throw new Error(`the walk does not know match ${match.kind}`);
  }
}

/** True if the address is in the "net". */
export function inNet(net: string, address: number): boolean {
  const [first = 0, last = first] = net.split('.').map(Number);
  return address >= first && address <= last;
}

/** True if the port is in one of the ranges. */
export function inRanges(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some(({ first, last }) => port >= first && port <= last);
}

function memberOf(sets: Sets, set: string, member: string): boolean {
  return sets.get(set)?.has(member) === true;
}
