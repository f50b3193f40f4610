// docs/operations.md against the code: options, exit codes, metrics, commands; and the links of all documents.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT } from '../../../src/cli/process.js';
import { SERIES } from '../../../src/metrics/series.js';
import { anchors, readDoc, relativeLinks, ROOT } from './markdown.js';

const text = readDoc('docs/operations.md');
const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.startsWith('protocol/gen/'))
  .map((name) => ({ name, content: readDoc(join('src', name)) }));

function names(pattern: RegExp, from: string): Set<string> {
  return new Set([...from.matchAll(pattern)].map((match) => match[1] ?? match[0]));
}

describe('docs/operations.md', () => {
  it('names every option that the code reads, and no other', () => {
    const read = names(/'(DATAPLANE_[A-Z_]+)'/g, sources.map(({ content }) => content).join('\n'));
    expect(names(/DATAPLANE_[A-Z_]+/g, text)).toEqual(read);
  });

  it('names every exit code', () => {
    const documented = new Set([...text.matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1])));
    for (const code of Object.values(EXIT)) expect(documented).toContain(code);
  });

  it('names metrics that exist and are fed', () => {
    const feeders = sources
      .filter(({ name }) => name !== 'metrics/series.ts')
      .map(({ content }) => content)
      .join('\n');
    const documented = names(/felix_(?:int_dataplane|driver)_[a-z_]*[a-z]/g, text);
    expect(documented.size).toBeGreaterThan(10);
    for (const name of documented) {
      expect(Object.keys(SERIES)).toContain(name);
      expect(feeders, `${name} is fed`).toContain(`'${name}'`);
    }
  });

  it('quotes log lines that exist', () => {
    const lines = [...text.matchAll(/^\| `([^`]+)`(?:, `([^`]+)`)? \|/gm)]
      .flatMap((match) => [match[1], match[2]])
      .filter((line) => line !== undefined && /^[A-Zh][a-z]+ [a-z]/.test(line));
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) {
      expect(
        sources.some(({ content }) => content.includes(line ?? '')),
        line,
      ).toBe(true);
    }
  });
});

const COMMANDS = names(/\.command\('([a-z]+)'\)/g, readDoc('src/cli/run.ts'));

describe.each([
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'docs/differences.md',
  'docs/operations.md',
  'docs/design/README.md',
  'docs/design/driver.md',
  'docs/design/cli.md',
  'docs/design/base.md',
  'docs/design/model.md',
])('%s', (path) => {
  const content = readDoc(path);

  it('links to files and headings that exist', () => {
    for (const { path: target, anchor } of relativeLinks(content)) {
      const file = target === '' ? path : join(dirname(path), target);
      expect(existsSync(join(ROOT, file)), `${path} → ${target}`).toBe(true);
      if (anchor !== '') expect(anchors(readDoc(file)), `${path} → ${target}#${anchor}`).toContain(anchor);
    }
  });

  it('names commands, scripts and tests that exist', () => {
    for (const command of names(/felix-dataplane ([a-z]+) (?:--|\.\/|PATH|FOLDER)/g, content)) {
      expect(COMMANDS).toContain(command);
    }
    for (const file of names(
      /(?:^|[\s`(])(?:\.\/)?((?:scripts|test|src|deploy|bin)\/[\w./-]*\w)(?![\w*-])/gm,
      content,
    )) {
      expect(existsSync(join(ROOT, file)), `${path} names ${file}`).toBe(true);
    }
    const scripts = Object.keys((JSON.parse(readDoc('package.json')) as { scripts: object }).scripts);
    for (const script of names(/npm run ([a-z:]+)/g, content)) expect(scripts).toContain(script);
  });
});

describe('docs/design/README.md', () => {
  it('links to every other page of its folder', () => {
    const linked = new Set(relativeLinks(readDoc('docs/design/README.md')).map(({ path }) => path));
    for (const page of readdirSync(join(ROOT, 'docs/design'))) {
      if (page !== 'README.md') expect(linked).toContain(page);
    }
  });

  it('has the import table of .dependency-cruiser.cjs', () => {
    const table = readDoc('docs/design/README.md').split('## Imports')[1]?.split('## ')[0] ?? '';
    const documented = new Map<string, string[]>();
    for (const row of table.split('\n').filter((line) => line.startsWith('| `'))) {
      const [rooms = '', imports = ''] = row.split('|').slice(1, 3);
      for (const room of names(/`([a-z]+)`/g, rooms)) documented.set(room, [...names(/`([a-z]+)`/g, imports)].sort());
    }
    const allowed = [...readDoc('.dependency-cruiser.cjs').matchAll(/^ {2}([a-z]+): \[(.*)\],$/gm)];
    expect(allowed.length).toBeGreaterThan(10);
    for (const [, room = '', list = ''] of allowed) {
      if (room === 'base' || room === 'model' || room === 'cli') continue;
      expect(documented.get(room), room).toEqual([...names(/'([a-z]+)'/g, list)].sort());
    }
  });
});

describe.each(['base', 'model', 'driver', 'cli'])('docs/design/%s.md', (room) => {
  it('names every file of its room', () => {
    const page = readDoc(`docs/design/${room}.md`);
    const files = readdirSync(join(ROOT, 'src', room)).filter((name) => name.endsWith('.ts'));
    for (const file of files) expect(page).toContain(`\`${file}\``);
  });
});

describe('README.md', () => {
  it('begins with the two commands, and is short', () => {
    const lines = readDoc('README.md').split('\n');
    expect(lines.length).toBeLessThanOrEqual(250);
    const commands = lines.filter((line) => /^\.\/scripts\//.test(line));
    expect(commands.slice(0, 2).map((line) => line.split(' ')[0])).toEqual(['./scripts/demo', './scripts/test']);
    expect(lines.indexOf(commands[0] ?? '')).toBeLessThan(12);
  });
});
