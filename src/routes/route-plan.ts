// The pure half of a route table's reconciliation: wanted and known routes in, ordered changes out.
import { keyOfRoute, sameRoute, type FibKey, type FibRoute } from './fib.js';

/** What a plan looks at. Only dirty keys are visited. */
export interface RoutePlanInput {
  readonly dirty: Iterable<FibKey>;
  readonly wanted: ReadonlyMap<FibKey, FibRoute>;
  readonly known: ReadonlyMap<FibKey, FibRoute>;
  /** Keys that the kernel cannot be given; they are left as they are. */
  readonly refused: ReadonlyMap<FibKey, unknown>;
  /** Milliseconds for which an unknown route on this interface is left alone. */
  readonly graceLeftMs: (route: FibRoute) => number;
  /** Whether the kernel's route must be deleted, and its flows, before the successor is written (6.2). */
  readonly needsEarlyDelete: (route: FibRoute) => boolean;
}

/** What to do, in this order: deletes, then (after the clean-up of flows) writes. */
export interface RoutePlan {
  readonly deletes: readonly FibRoute[];
  /** Known routes that go before a differing route with the same key is written. */
  readonly earlyDeletes: readonly FibRoute[];
  readonly writes: readonly FibRoute[];
  /** Keys that turned out to be right already. */
  readonly settled: readonly FibKey[];
  /** When the first grace period ends that holds a delete back; null = none does. */
  readonly graceEndsInMs: number | null;
}

/** Plans the changes for the dirty keys. Never writes a route that the kernel already has. */
export function planRoutes(input: RoutePlanInput): RoutePlan {
  const deletes: FibRoute[] = [];
  const earlyDeletes: FibRoute[] = [];
  const writes: FibRoute[] = [];
  const settled: FibKey[] = [];
  let graceEndsInMs: number | null = null;
  for (const key of input.dirty) {
    const wanted = input.wanted.get(key);
    const known = input.known.get(key);
    if (input.refused.has(key)) continue;
    if (wanted === undefined) {
      if (known === undefined) {
        settled.push(key);
        continue;
      }
      const left = input.graceLeftMs(known);
      if (left > 0) graceEndsInMs = Math.min(graceEndsInMs ?? left, left);
      else deletes.push(known);
    } else if (known === undefined) {
      writes.push(wanted);
    } else if (sameRoute(wanted, known)) {
      settled.push(key);
    } else {
      if (input.needsEarlyDelete(known)) earlyDeletes.push(known);
      writes.push(wanted);
    }
  }
  return { deletes, earlyDeletes, writes, settled, graceEndsInMs };
}

/** The keys on which a wanted and a known table differ. */
export function differingKeys(
  wanted: ReadonlyMap<FibKey, FibRoute>,
  known: ReadonlyMap<FibKey, FibRoute>,
): Set<FibKey> {
  const keys = new Set<FibKey>();
  for (const [key, route] of wanted) {
    const other = known.get(key);
    if (other === undefined || !sameRoute(route, other)) keys.add(key);
  }
  for (const route of known.values()) {
    const key = keyOfRoute(route);
    if (!wanted.has(key)) keys.add(key);
  }
  return keys;
}
