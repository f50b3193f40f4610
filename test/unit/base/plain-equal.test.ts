import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isPlainEqual } from '../../../src/base/plain-equal.js';

describe('isPlainEqual', () => {
  it.each([
    [1, 1, true],
    [1, '1', false],
    [0, -0, false],
    [Number.NaN, Number.NaN, true],
    [null, undefined, false],
    [null, {}, false],
    [[], {}, false],
    [{}, [], false],
    [{ a: undefined }, {}, false],
    [{ a: undefined }, { b: undefined }, false],
    [{ a: [1, { b: 2n }] }, { a: [1, { b: 2n }] }, true],
    [{ a: 1, b: 2 }, { b: 2, a: 1 }, true],
    [[1, 2], [2, 1], false],
    [new Map([['a', [1]]]), new Map([['a', [1]]]), true],
    [new Map([['a', undefined]]), new Map([['b', undefined]]), false],
    [new Map(), {}, false],
    [new Set(['a', 'b']), new Set(['b', 'a']), true],
    [new Set(['a']), new Set(['b']), false],
    [new Set(), [], false],
    [new Date(0), new Date(0), false],
  ])('row %# : %s and %s are equal: %s', (left, right, expected) => {
    expect(isPlainEqual(left, right)).toBe(expected);
  });

  it('agrees with node on random plain data', () => {
    const data = fc.object({ withBigInt: true, maxDepth: 3 });
    fc.assert(
      fc.property(data, data, (left, right) => {
        expect(isPlainEqual(left, right)).toBe(isDeepStrictEqual(left, right));
        expect(isPlainEqual(left, structuredClone(left))).toBe(true);
      }),
    );
  });
});
