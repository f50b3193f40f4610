// Reads `nft -j list …` into the few facts that the plane compares: comments of rules, elements of sets and maps.
// Takes every form that nft 1.0.1 and later print, and never fails for an object it does not know.
import { DataplaneError } from '../../base/errors.js';
import type { KernelNftSet } from '../../ipsets/nft-set.js';
import { canonicalElement } from '../../ipsets/nft-set-members.js';
import type { KernelNftChain, KernelNftMap, KernelNftTable } from './io.js';
import { chainKey, hashOfComment } from './rendered-chains.js';

type JsonObject = Readonly<Record<string, unknown>>;

const PROTOCOL_NAMES: Readonly<Record<string, string>> = { '6': 'tcp', '17': 'udp', '132': 'sctp' };

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

/** The objects of a listing as `[kind, body]`. Rejects text that is no nft JSON. */
export function listedObjects(json: string): (readonly [string, JsonObject])[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (error) {
    throw new DataplaneError('tool', 'nft printed a listing that is no JSON', { cause: error });
  }
  if (!isObject(parsed) || !Array.isArray(parsed['nftables'])) {
    throw new DataplaneError('tool', 'nft printed a listing without "nftables"');
  }
  const objects: (readonly [string, JsonObject])[] = [];
  for (const entry of parsed['nftables'] as readonly unknown[]) {
    if (!isObject(entry)) continue;
    for (const [kind, body] of Object.entries(entry)) {
      if (isObject(body)) objects.push([kind, body]);
    }
  }
  return objects;
}

/** Parses the listing of one table, or null if it names none. */
export function parseTableListing(json: string): KernelNftTable | null {
  const chains = new Map<string, { readonly shape: Pick<KernelNftChain, 'base'>; readonly hashes: string[] }>();
  const sets = new Map<string, KernelNftSet>();
  const maps = new Map<string, KernelNftMap>();
  const flowtables = new Map<string, ReadonlySet<string>>();
  const objects = listedObjects(json);
  if (!objects.some(([kind]) => kind === 'table')) return null;
  for (const [kind, body] of objects) {
    const name = text(body['name']);
    if (kind === 'chain') chains.set(name, { shape: baseOf(body), hashes: [] });
    else if (kind === 'rule') chains.get(text(body['chain']))?.hashes.push(hashOfComment(text(body['comment'])));
    else if (kind === 'set') sets.set(name, setOf(body));
    else if (kind === 'map') maps.set(name, mapOf(body));
    else if (kind === 'flowtable') flowtables.set(name, new Set(listOf(body['dev']).map(text)));
  }
  return {
    chains: new Map([...chains].map(([name, { shape, hashes }]) => [name, { ...shape, tags: chainKey(hashes) }])),
    sets,
    maps,
    flowtables,
  };
}

function baseOf(body: JsonObject): Pick<KernelNftChain, 'base'> {
  if (body['hook'] === undefined) return {};
  const priority = Number(body['prio']);
  return { base: { type: text(body['type']), hook: text(body['hook']), priority, policy: text(body['policy']) } };
}

function listOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? (value as readonly unknown[]) : [value];
}

function shapeOf(body: JsonObject): { type: string; flags: string } {
  return { type: listOf(body['type']).map(text).join(' . '), flags: listOf(body['flags']).map(text).sort().join(',') };
}

function setOf(body: JsonObject): KernelNftSet {
  return { ...shapeOf(body), elements: listOf(body['elem']).map((element) => canonicalElement(elementText(element))) };
}

function mapOf(body: JsonObject): KernelNftMap {
  const elements = new Map<string, string>();
  for (const pair of listOf(body['elem'])) {
    const [key, verdict] = listOf(pair);
    elements.set(elementText(key), gotoTarget(verdict));
  }
  // An object map or a plain map must not pass for a verdict map.
  const flags = body['map'] === 'verdict' ? shapeOf(body).flags : `to ${text(body['map'])}`;
  return { type: shapeOf(body).type, flags, elements };
}

function gotoTarget(verdict: unknown): string {
  if (!isObject(verdict)) return text(verdict);
  const target = verdict['goto'];
  return isObject(target) ? text(target['target']) : JSON.stringify(verdict);
}

/** An element as nft takes it back. */
function elementText(element: unknown): string {
  if (!isObject(element)) return text(element);
  const { prefix, range, concat, elem } = element;
  if (isObject(elem)) return elementText(elem['val']);
  if (isObject(prefix)) return `${text(prefix['addr'])}/${text(prefix['len'])}`;
  if (Array.isArray(range)) return range.map(text).join('-');
  if (Array.isArray(concat)) {
    const parts = concat.map(elementText);
    if (parts.length === 3) parts[1] = PROTOCOL_NAMES[parts[1] ?? ''] ?? parts[1] ?? '';
    return parts.join(' . ');
  }
  return JSON.stringify(element);
}
