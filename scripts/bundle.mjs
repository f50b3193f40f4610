// Bundles src/main.ts and src/relay.ts into one CommonJS file each, and makes V8's cached data for them.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
mkdirSync(dist, { recursive: true });

const entries = [
  ['src/main.ts', 'felix-dataplane.cjs'],
  ['src/relay.ts', 'relay.cjs'],
].filter(([source]) => existsSync(join(root, source)));

for (const [source, target] of entries) {
  await build({
    entryPoints: [join(root, source)],
    outfile: join(dist, target),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // koffi loads a .node file, the gRPC extras .proto files of their own; all three are optional at run time.
    external: ['koffi', 'grpc-health-check', '@grpc/reflection'],
    supported: { 'dynamic-import': false },
    legalComments: 'none',
    logLevel: 'warning',
    // Code that needs its own path asks for __filename first.
    logOverride: { 'empty-import-meta': 'silent' },
  });
  spawnSync(process.execPath, [join(root, 'scripts/make-cache.cjs'), join(dist, target)], { stdio: 'ignore' });
  if (!existsSync(join(dist, `${target}.cache`))) throw new Error(`No cached data for ${target}`);
}
