// Programs of tests (programs/*.ts) that run in a namespace, as commands.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { temporaryFolder } from './processes.js';

const ROOT = join(import.meta.dirname, '../../..');

/**
 * The command that runs programs/NAME.ts, for the top of a test file: it is bundled once, until the file ends. tsx would
 * compile the program and all that it imports at each start, for a second of processor time.
 */
export function testProgram(name: string): readonly string[] {
  const folder = temporaryFolder();
  afterAll(() => folder.remove());
  const outfile = join(folder.path, `${name}.mjs`);
  // By its executable: the library would keep a process for the next build.
  execFileSync(join(ROOT, 'node_modules/.bin/esbuild'), [
    join(ROOT, 'test/kernel/programs', `${name}.ts`),
    `--outfile=${outfile}`,
    '--bundle',
    '--platform=node',
    '--format=esm',
    '--external:koffi',
    // Libraries that are CommonJS modules ask for Node's by require().
    "--banner:js=import { createRequire as bannerRequire } from 'node:module'; const require = bannerRequire(import.meta.url);",
    '--log-level=error',
  ]);
  return ['env', `NODE_PATH=${join(ROOT, 'node_modules')}`, process.execPath, '--enable-source-maps', outfile];
}
