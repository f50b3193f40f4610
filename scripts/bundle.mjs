// Bundles the executable's parts into one CommonJS file each, and makes V8's cached data for them. Driver mode and the
// relay have bundles of their own because Felix waits for them, the broker because it runs beside every driver, and gRPC
// because only a relay over gRPC loads it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
mkdirSync(dist, { recursive: true });

/** Leaves a module out of a bundle: another bundle, which has it, is required from beside when it is asked for. */
const beside = (filter, target) => ({
  name: `beside ${target}`,
  setup: (context) => {
    context.onResolve({ filter }, () => ({ path: `./${target}`, external: true }));
  },
});

/**
 * Parts of libraries that nothing here uses and that load a dozen of Node's own modules (https, zlib, cluster, worker
 * threads): clients of a push gateway, metrics of Node itself, log files written by other threads.
 */
const UNUSED = {
  'prom-client': /^\.\/lib\/(pushgateway|cluster|defaultMetrics)$/,
  pino: /^\.\/(lib\/)?transport$/,
};
const withoutUnused = {
  name: 'without unused',
  setup: (context) => {
    for (const [library, filter] of Object.entries(UNUSED)) {
      context.onResolve({ filter }, ({ path, importer }) =>
        importer.includes(`/node_modules/${library}/`) ? { path, namespace: 'unused' } : undefined,
      );
    }
    context.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: '' }));
  },
};

const PROGRAM = 'felix-dataplane.cjs';
const RELAY_GRPC = 'relay-grpc.cjs';

const entries = [
  { source: 'src/main.ts', target: PROGRAM, plugins: [] },
  { source: 'src/pipe.ts', target: 'pipe.cjs', plugins: [beside(/\/main\.js$/, PROGRAM)] },
  { source: 'src/broker.ts', target: 'broker.cjs', plugins: [] },
  { source: 'src/relay.ts', target: 'relay.cjs', plugins: [beside(/\/grpc-relay\.js$/, RELAY_GRPC)] },
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
    plugins: [withoutUnused, ...plugins],
    // V8 keeps the text, and reads it whole at each start. Lines stay short enough for a stack trace to name a place.
    minifyWhitespace: true,
    lineLimit: 120,
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
