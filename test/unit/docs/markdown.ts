// Reads what tests check in Markdown: table rows, paths in backticks, links.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The project's folder. */
export const ROOT = join(import.meta.dirname, '../../..');

/** A file of the project. */
export function readDoc(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Cells of the rows of all tables whose first cell is a number. */
export function numberedRows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => /^\| \d+ \|/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** Paths of tests in backticks; a `*` stands for part of a name. */
export function testPaths(text: string): string[] {
  return [...text.matchAll(/`(test\/[^`\s]+\.ts)`/g)].map((match) => match[1] ?? '');
}

/** Targets of relative links, without their anchors, and the anchors. */
export function relativeLinks(text: string): { readonly path: string; readonly anchor: string }[] {
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = '', anchor = ''] = target.split('#');
      return { path, anchor };
    });
}

/** GitHub's anchors of the headings. */
export function anchors(text: string): Set<string> {
  const headings = text.split('\n').filter((line) => /^#+ /.test(line));
  return new Set(
    headings.map((line) =>
      line
        .replace(/^#+ /, '')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
