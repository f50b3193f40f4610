// Packs the shared recordings into test/fixtures/recordings, one gzip file each, so that a clone tests itself.
// Usage: npx tsx scripts/pack-recordings.ts [FOLDER]   (default ../shared/recordings)
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const source = process.argv[2] ?? join(import.meta.dirname, '../../shared/recordings');
const target = join(import.meta.dirname, '../test/fixtures/recordings');

/** Reads `expected/MODE/STEP/FILE` into nested records, names sorted. */
function readTree(folder: string): unknown {
  if (!statSync(folder).isDirectory()) return readFileSync(folder, 'utf8');
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readTree(join(folder, name))]),
  );
}

for (const name of readdirSync(source).sort()) {
  const folder = join(source, name);
  const entries = readdirSync(folder);
  const packed = {
    stream: readFileSync(join(folder, 'stream.bin')).toString('base64'),
    steps: JSON.parse(readFileSync(join(folder, 'steps.json'), 'utf8')) as unknown,
    hostScript: readFileSync(join(folder, 'host.sh'), 'utf8'),
    resources: readFileSync(join(folder, 'resources.yaml'), 'utf8'),
    expected: entries.includes('expected') ? readTree(join(folder, 'expected')) : {},
  };
  const bytes = gzipSync(JSON.stringify(packed), { level: 9 });
  writeFileSync(join(target, `${name}.json.gz`), bytes);
  console.log(`${name}: ${entries.sort().join(' ')} -> ${bytes.length} bytes`);
}
