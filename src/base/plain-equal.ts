// Equality of plain data by content: what desired state is compared by. Several times faster than
// `isDeepStrictEqual`, which looks at prototypes, symbols and property descriptors too.

/**
 * True if both are the same value, or arrays, maps, sets (of primitives) or plain objects with equal content. A property
 * that is undefined is not the same as a missing one. Other kinds of objects are equal only to themselves.
 */
export function isPlainEqual(left: unknown, right: unknown): boolean {
  if (Object.is(left, right)) return true;
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (Array.isArray(left)) return Array.isArray(right) && sameItems(left, right);
  if (left instanceof Map) return right instanceof Map && sameEntries(left, right);
  if (left instanceof Set)
    return right instanceof Set && left.size === right.size && [...left].every((item) => right.has(item));
  return isPlainObject(left) && isPlainObject(right) && sameProperties(left, right);
}

function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function sameItems(left: readonly unknown[], right: readonly unknown[]): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (!isPlainEqual(left[index], right[index])) return false;
  return true;
}

function sameEntries(left: ReadonlyMap<unknown, unknown>, right: ReadonlyMap<unknown, unknown>): boolean {
  if (left.size !== right.size) return false;
  for (const [key, value] of left) {
    if (!isPlainEqual(value, right.get(key)) || (value === undefined && !right.has(key))) return false;
  }
  return true;
}

function sameProperties(left: Readonly<Record<string, unknown>>, right: Readonly<Record<string, unknown>>): boolean {
  const keys = Object.keys(left);
  if (keys.length !== Object.keys(right).length) return false;
  for (const key of keys) if (!Object.hasOwn(right, key) || !isPlainEqual(left[key], right[key])) return false;
  return true;
}
