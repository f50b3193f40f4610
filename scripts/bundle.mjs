// Bundles the executable's parts into one CommonJS file each, and makes V8's cached data for them. The relay has a
// bundle of its own because Felix waits for it, and gRPC one that only a relay over gRPC loads.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
mkdirSync(dist, { recursive: true });

const RELAY_GRPC = 'relay-grpc.cjs';

/** Leaves what the relay needs for gRPC out of its bundle: it is required from beside it when asked for. */
const grpcBeside = {
  name: 'grpc-beside',
  setup: (context) => {
    context.onResolve({ filter: /\/grpc-relay\.js$/ }, () => ({ path: `./${RELAY_GRPC}`, external: true }));
  },
};

const entries = [
  { source: 'src/main.ts', target: 'felix-dataplane.cjs', plugins: [] },
  { source: 'src/relay.ts', target: 'relay.cjs', plugins: [grpcBeside] },
  { source: 'src/transport/grpc-relay.ts', target: RELAY_GRPC, plugins: [] },
];

for (const { source, target, plugins } of entries) {
  // Made under another name and renamed: a driver that starts meanwhile sees the old bundle or the new one.
  const fresh = join(dist, `.${process.pid}-${target}`);
  await build({
    entryPoints: [join(root, source)],
    outfile: fresh,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // koffi loads a .node file, the gRPC extras .proto files of their own; all three are optional at run time.
    external: ['koffi', 'grpc-health-check', '@grpc/reflection'],
    plugins,
    supported: { 'dynamic-import': false },
    legalComments: 'none',
    logLevel: 'warning',
    // Code that needs its own path asks for __filename first.
    logOverride: { 'empty-import-meta': 'silent' },
  });
  spawnSync(process.execPath, [join(root, 'scripts/make-cache.cjs'), fresh], { stdio: 'ignore' });
  if (!existsSync(`${fresh}.cache`)) throw new Error(`No cached data for ${target}`);
  renameSync(fresh, join(dist, target));
  renameSync(`${fresh}.cache`, join(dist, `${target}.cache`));
}
