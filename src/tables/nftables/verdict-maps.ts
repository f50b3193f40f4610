// Verdict maps of a table: what changes between the elements wanted and those in the kernel (dataplane.md 5.4).
import type { VerdictMap } from '../../model/chain.js';
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
  /** All elements afterwards. */
  readonly elements: ReadonlyMap<string, string>;
  /** Interfaces that nft has no text for. Their packets meet the default at the end of the dispatch chain: drop. */
  readonly unprintable: readonly string[];
}

/** Compares a wanted map with the kernel's elements (undefined = no such map). */
export function diffMap(layer: TableName, map: VerdictMap, known: ReadonlyMap<string, string> | undefined): MapChange {
  const elements = new Map<string, string>();
  const unprintable: string[] = [];
  for (const [name, chain] of map.elements) {
    const target = layerName(layer, chain);
    if (isPrintableInterface(name) && isPrintableName(target)) elements.set(name, target);
    else unprintable.push(name);
  }
  const removed: string[] = [];
  for (const [name, target] of known ?? []) if (elements.get(name) !== target) removed.push(name);
  const added: [string, string][] = [];
  for (const [name, target] of elements) if (known?.get(name) !== target) added.push([name, target]);
  return { fullName: layerName(layer, map.name), created: known === undefined, removed, added, elements, unprintable };
}

/** Whether there is anything to write. */
export function mapChanges(change: MapChange): boolean {
  return change.created || change.removed.length > 0 || change.added.length > 0;
}
