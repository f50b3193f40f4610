// Endpoint ids for IPVS mode: every interface gets a number that travels in the mark from INPUT to OUTPUT
// (dataplane.md 3.1; Felix rules/epmark.go).
import { bitsOf, type MarkBits } from './mark-bits.js';

/** 32-bit FNV-1 of the UTF-8 text; FNV-1, not the more usual FNV-1a. */
export function fnv1(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, 'utf8')) hash = Math.imul(hash, 0x01000193) ^ byte;
  return hash >>> 0;
}

/**
 * Allocates ids by hash and linear probe. An interface keeps its id until {@link retain} is told that it is gone, so
 * the state is never larger than the set of endpoints. Two interfaces never share an id: the id selects whose policy
 * a packet meets.
 */
export class EndpointMarks {
  readonly mask: number;
  readonly #bits: readonly number[];
  readonly #positionByName = new Map<string, number>();
  readonly #used = new Set<number>();
  /** Interfaces that were told there is no id for them. */
  readonly #waiting = new Set<string>();
  /** Interfaces that waited and have an id now. */
  #served: string[] = [];

  constructor(marks: MarkBits) {
    this.mask = marks.endpoint;
    this.#bits = bitsOf(marks.endpoint);
    this.#used.add(1);
  }

  /** The id of an interface as a mark inside {@link mask}, or null when all ids are taken. */
  markOf(interfaceName: string): number | null {
    const known = this.#positionByName.get(interfaceName);
    if (known !== undefined) return this.#spread(known);
    const size = 2 ** this.#bits.length;
    const start = fnv1(interfaceName) % size;
    for (let step = 0; step < size; step++) {
      const position = (start + step) % size;
      if (position === 0 || this.#used.has(position)) continue;
      this.#used.add(position);
      this.#positionByName.set(interfaceName, position);
      if (this.#waiting.delete(interfaceName)) this.#served.push(interfaceName);
      return this.#spread(position);
    }
    this.#waiting.add(interfaceName);
    return null;
  }

  /** Interfaces for which an id became free since the last call: what was made without one is to be made again. */
  takeServed(): readonly string[] {
    const served = this.#served;
    this.#served = [];
    return served;
  }

  /** Frees the ids of all interfaces that are not in `names`. */
  retain(names: ReadonlySet<string>): void {
    for (const [name, position] of this.#positionByName) {
      if (names.has(name)) continue;
      this.#positionByName.delete(name);
      this.#used.delete(position);
    }
    for (const name of this.#waiting) if (!names.has(name)) this.#waiting.delete(name);
  }

  // The binary digits of a position fill the mask's bits from low to high.
  #spread(position: number): number {
    let mark = 0;
    this.#bits.forEach((bit, index) => {
      if ((position & (1 << index)) !== 0) mark |= bit;
    });
    return mark >>> 0;
  }
}
