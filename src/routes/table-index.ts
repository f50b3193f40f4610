// Which kernel tables the driver takes for itself out of RouteTableRanges (dataplane.md 6.3).
import type { DataplaneConfig } from '../model/config.js';
import type { Family } from '../model/family.js';

/** default, main and local. */
const RESERVED = { first: 253, last: 255 } as const;

/**
 * Tables of Wireguard by family: the two lowest free numbers, IPv4 first, taken also while Wireguard is off, so that
 * leftovers are found. Null where the ranges have none left. Each family has its own (differences.md row 10).
 */
export function wireguardTables(config: DataplaneConfig): Readonly<Record<Family, number | null>> {
  const free: number[] = [];
  for (const { min, max } of [...config.routeTableRanges].sort((a, b) => a.min - b.min)) {
    for (let index = Math.max(1, min); index <= max && free.length < 2; index++) {
      if (index >= RESERVED.first && index <= RESERVED.last) continue;
      if (!free.includes(index)) free.push(index);
    }
  }
  return { 4: free[0] ?? null, 6: free[1] ?? null };
}

/**
 * The tables whose rules are ours, by family. IPv6 rules for IPv4's table are ours too: Felix put them there, and they
 * would go on sending traffic to a table that nobody keeps.
 */
export function ownRuleTables(config: DataplaneConfig): ReadonlyMap<Family, ReadonlySet<number>> {
  const { 4: v4, 6: v6 } = wireguardTables(config);
  const numbers = (...tables: (number | null)[]): Set<number> => new Set(tables.filter((table) => table !== null));
  return new Map<Family, ReadonlySet<number>>([
    [4, numbers(v4)],
    ...(config.ipv6Support ? ([[6, numbers(v4, v6)]] as const) : []),
  ]);
}
