// Splits port lists into pieces that one multiport match takes (dataplane.md 3.5 step 2).
import type { PortRange } from '../model/match.js';

/** Slots of an xt_multiport match; a range takes two. */
const MAX_SLOTS = 15;

/** Greedy split in the order given; no ports, no pieces. Both back ends split alike, so that rules stay comparable. */
export function splitPorts(ports: readonly PortRange[]): PortRange[][] {
  const pieces: PortRange[][] = [];
  let piece: PortRange[] = [];
  let free = MAX_SLOTS;
  for (const { first, last } of ports) {
    const needed = first === last ? 1 : 2;
    if (free < needed) {
      pieces.push(piece);
      piece = [];
      free = MAX_SLOTS;
    }
    piece.push({ first, last });
    free -= needed;
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}
