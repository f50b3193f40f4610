// Rules of a large table are read chain by chain; what that gives is what one dump gives, and of one moment.
import { expect, test } from 'vitest';
import { createNamespace } from './support/namespace.js';
import { testProgram } from './support/test-program.js';

const PROGRAM = testProgram('nft-rule-reads');
/** The first write, and three commits during each of the two listings. */
const GENERATIONS = 7;

interface Reads {
  readonly generation: number;
  readonly listed: Record<string, string>;
  readonly tagged: Record<string, string[]>;
  readonly whole: Record<string, string>;
}

/** Tags as `RuleTagReader` joins them. A tag of the other reader ends where the comment does. */
function joined(tags: readonly string[]): string {
  return `${tags.length}:${tags.map((tag) => tag.replace(/;$/u, '')).join()}`;
}

/** What is without the generation that a text names. */
function ofGeneration(generation: number, tags: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(tags).map(([chain, text]) => [
      chain.replace(`only-${generation}`, 'only'),
      text.replaceAll(`G${generation}-`, ''),
    ]),
  );
}

test.each([
  ['one dump', 400],
  ['chain by chain', 9_000],
])('Rules that are read by %s are those of one moment, also while others commit', async (_way, many) => {
  const namespace = await createNamespace('rulereads');
  try {
    const { generation, listed, tagged, whole } = JSON.parse(await namespace.run([...PROGRAM, String(many)])) as Reads;
    expect(generation).toBe(GENERATIONS);
    const last = ofGeneration(GENERATIONS, whole);
    expect(last['many']).toBe(`${many}:${Array.from({ length: many }, (_, at) => `many-${at}`).join()}`);
    const empty = Object.fromEntries(['c0', 'c4', 'only', 'in'].map((chain) => [chain, '0:']));
    // The first listing ends with the fourth write, the second one with the last.
    expect(ofGeneration(4, listed)).toMatchObject({ ...last, ...empty });
    const byTags = Object.fromEntries(Object.entries(tagged).map(([chain, tags]) => [chain, joined(tags)]));
    expect(ofGeneration(GENERATIONS, byTags)).toMatchObject({ ...last, ...empty });
    expect(Object.keys(tagged).sort()).toEqual(
      Object.keys(listed)
        .sort()
        .map((name) => name.replace('only-4', 'only-7')),
    );
  } finally {
    await namespace.remove();
  }
});
