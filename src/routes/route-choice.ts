// Picks the one route for a key among all that want it (6.1). Pure.
import type { Family } from '../model/family.js';
import { NO_INTERFACE, type RouteClass, type RouteTarget } from '../model/route.js';
import { routeFromTarget, type FibRoute } from './fib.js';
import type { KnownInterface } from './interface-table.js';
import type { RouteCandidate } from './route-inputs.js';

/** The route to program and the class it is for. */
export interface RouteChoice {
  readonly route: FibRoute;
  readonly routeClass: RouteClass;
}

/** Interface look-up by name. */
export type InterfaceLookup = (name: string) => KnownInterface | undefined;

function hopsUsable(target: RouteTarget, lookup: InterfaceLookup): boolean {
  const hops = (target.nextHops ?? []).map((hop) => lookup(hop.interfaceName));
  return hops.length === 0 || (hops.every((hop) => hop !== undefined) && hops.some((hop) => hop?.isUp === true));
}

/** Index of the interface if the candidate can be programmed now, else null. */
function usableIfindex(candidate: RouteCandidate, lookup: InterfaceLookup): number | null {
  if (!hopsUsable(candidate.target, lookup)) return null;
  if (candidate.interfaceName === NO_INTERFACE) return 0;
  const known = lookup(candidate.interfaceName);
  return known?.isUp === true ? known.ifindex : null;
}

/** The strongest class wins; within one class the newest interface (highest index). Null if none can be used now. */
export function chooseRoute(
  candidates: readonly RouteCandidate[],
  family: Family,
  lookup: InterfaceLookup,
): RouteChoice | null {
  let best: { candidate: RouteCandidate; ifindex: number } | null = null;
  for (const candidate of candidates) {
    const ifindex = usableIfindex(candidate, lookup);
    if (ifindex === null) continue;
    const isBetter =
      best === null ||
      candidate.rank < best.candidate.rank ||
      (candidate.rank === best.candidate.rank && ifindex > best.ifindex);
    if (isBetter) best = { candidate, ifindex };
  }
  if (best === null) return null;
  const { interfaceName, target, routeClass } = best.candidate;
  const name = interfaceName === NO_INTERFACE ? null : interfaceName;
  return { route: routeFromTarget(target, family, name, best.ifindex), routeClass };
}
