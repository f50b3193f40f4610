// Verdict maps of a table: what changes between the elements wanted and those in the kernel (dataplane.md 5.4).
import type { TableName } from '../../model/family.js';
import { layerName } from './render.js';
import { isPrintableInterface, isPrintableName } from './rendered-chains.js';

/** What the next transaction does to one map. */
export interface MapChange {
  readonly fullName: string;
  readonly created: boolean;
  /** Keys to remove; a key whose target changes is both removed and added. */
  readonly removed: readonly string[];
  /** `[interface, kernel name of the chain]`. */
  readonly added: readonly (readonly [string, string])[];
}

/**
 * Compares a wanted map with the kernel's elements (undefined = no such map), for `keys` or (null) all of both.
 * `unprintable` gains the interfaces among them that nft has no text for, and loses the others: packets of such an
 * interface meet the default at the end of the dispatch chain, which drops them.
 */
export function diffMap(
  layer: TableName,
  map: { readonly name: string; readonly elements: ReadonlyMap<string, string> },
  known: ReadonlyMap<string, string> | undefined,
  keys: ReadonlySet<string> | null,
  unprintable: Set<string>,
): MapChange {
  if (keys === null) unprintable.clear();
  const removed: string[] = [];
  const added: [string, string][] = [];
  for (const key of keys ?? new Set([...(known?.keys() ?? []), ...map.elements.keys()])) {
    const target = targetOf(layer, map.elements.get(key), key, unprintable);
    const present = known?.get(key);
    if (present === target) continue;
    if (present !== undefined) removed.push(key);
    if (target !== undefined) added.push([key, target]);
  }
  return { fullName: layerName(layer, map.name), created: known === undefined, removed, added };
}

function targetOf(
  layer: TableName,
  chain: string | undefined,
  key: string,
  unprintable: Set<string>,
): string | undefined {
  unprintable.delete(key);
  if (chain === undefined) return undefined;
  const target = layerName(layer, chain);
  if (isPrintableInterface(key) && isPrintableName(target)) return target;
  unprintable.add(key);
  return undefined;
}

/** Whether there is anything to write. */
export function mapChanges(change: MapChange): boolean {
  return change.created || change.removed.length > 0 || change.added.length > 0;
}
