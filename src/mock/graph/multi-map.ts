// A map from key to a set of values that forgets keys without values.

/** Keys with at least one value each. */
export class MultiMap<K, V> {
  readonly #sets = new Map<K, Set<V>>();

  /** True if the value was not there before. */
  add(key: K, value: V): boolean {
    const values = this.#sets.get(key);
    if (values === undefined) {
      this.#sets.set(key, new Set([value]));
      return true;
    }
    if (values.has(value)) return false;
    values.add(value);
    return true;
  }

  /** Removing what is not there does nothing. */
  delete(key: K, value: V): void {
    const values = this.#sets.get(key);
    if (values?.delete(value) && values.size === 0) this.#sets.delete(key);
  }

  /** True if the key has a value. */
  has(key: K): boolean {
    return this.#sets.has(key);
  }

  /** The values of a key, in order of their adding; empty if it has none. */
  get(key: K): ReadonlySet<V> {
    return this.#sets.get(key) ?? new Set<V>();
  }

  /** Keys that have a value. */
  keys(): IterableIterator<K> {
    return this.#sets.keys();
  }
}
