// docs/differences.md: every row is complete, and its proof exists.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { numberedRows, readDoc, ROOT, testPaths } from './markdown.js';

const text = readDoc('docs/differences.md');
const rows = numberedRows(text);

function exists(path: string): boolean {
  if (!path.includes('*')) return existsSync(join(ROOT, path));
  const pattern = new RegExp(`^${path.replaceAll(/[.+]/g, '\\$&').replace('*', '[^/]*')}$`);
  const folder = dirname(path);
  return readdirSync(join(ROOT, folder)).some((name) => pattern.test(`${folder}/${name}`));
}

describe('docs/differences.md', () => {
  it('numbers its rows from 1 without a gap', () => {
    expect(rows.map(([number]) => Number(number))).toEqual(rows.map((_, index) => index + 1));
    expect(rows.length).toBeGreaterThanOrEqual(14);
  });

  it.each(rows.map((row) => [Number(row[0]), row] as const))(
    'row %i says what, why, where, and has a proof',
    (_, row) => {
      expect(row).toHaveLength(5);
      for (const cell of row) expect(cell).not.toBe('');
      expect(testPaths(row[4] ?? '')).not.toEqual([]);
    },
  );

  it.each([...new Set(testPaths(text))])('%s exists', (path) => {
    expect(exists(path)).toBe(true);
  });

  it('has a row for every row that code and tests refer to', () => {
    const references = (folder: string): number[] =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts'))
        .flatMap((name) => [
          ...readDoc(join(folder, name)).matchAll(/differences(?:\.md)? row (\d+)|[Rr]ow (\d+) of docs\/differences/g),
        ])
        .map((match) => Number(match[1] ?? match[2]));
    const named = new Set([...references('src'), ...references('test')]);
    expect(named.size).toBeGreaterThan(5);
    for (const number of named) expect(rows.map(([first]) => Number(first))).toContain(number);
  });
});
