// A seeded source of random numbers for kernel tests: the seed is printed, and FDP_SEED plays the same run again.

/** Numbers that depend on the seed alone. */
export interface SeededRandom {
  readonly seed: number;
  /** An integer from 0 to `below - 1`. */
  integer(below: number): number;
  /** One of the items; throws on an empty list. */
  pick<T>(items: readonly T[]): T;
  /** The same items in any order. */
  shuffle<T>(items: readonly T[]): T[];
}

/** Takes the seed from FDP_SEED, else from the clock, and prints it under `purpose`. */
export function seededRandom(purpose: string): SeededRandom {
  const seed = Number(process.env['FDP_SEED'] ?? Date.now() % 1_000_000_000);
  console.log(`${purpose}: FDP_SEED=${seed}`);
  let state = seed >>> 0;
  const integer = (below: number): number => {
    // Steele and Vigna's SplitMix with 32 bits.
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % below;
  };
  return {
    seed,
    integer,
    shuffle: (items) => {
      const left = [...items];
      return items.flatMap(() => left.splice(integer(left.length), 1));
    },
    pick: (items) => {
      const item = items[integer(items.length)];
      if (item === undefined) throw new Error('Nothing to pick from');
      return item;
    },
  };
}
