// The collected folder, really made from this machine's Node and run: it needs nothing from outside, starts its broker
// through its own wrapper, and is installed in one step.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readlinkSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VERSION } from '../../../src/cli/version.js';

const root = join(import.meta.dirname, '../../..');
const folder = mkdtempSync(join(tmpdir(), 'fdp-runtime-'));
const runtime = join(folder, 'felix-dataplane');
const target = join(folder, 'felix-plugins');

beforeAll(() => {
  if (!existsSync(join(root, 'dist/felix-dataplane.cjs'))) throw new Error('dist/ is missing: npm run build first');
  execFileSync(join(root, 'deploy/runtime/collect'), [runtime], { stdio: 'inherit' });
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function install(...flags: string[]): { readonly code: number | null; readonly output: string } {
  const run = spawnSync(join(runtime, 'install'), [target, ...flags], { encoding: 'utf8' });
  return { code: run.status, output: run.stdout + run.stderr };
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** Starts the driver as Felix does; once `until` is in its output, does `then` with that and lets go of it. */
function runAsFelix(
  program: string,
  until: string,
  {
    health = 'off',
    environment = {},
    then = () => Promise.resolve(),
  }: { health?: string; environment?: Record<string, string>; then?: (output: string) => Promise<void> } = {},
): Promise<Ended> {
  const child = spawn(program, [], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    env: { DATAPLANE_HEALTH: health, DATAPLANE_KERNEL_DRIVER: 'spawn', PATH: process.env['PATH'], ...environment },
  });
  const [, stdout, stderr, toDriver] = child.stdio;
  let output = '';
  let isOver = false;
  return new Promise((resolve, reject) => {
    const letGo = (): void => {
      if (toDriver !== null && toDriver !== undefined && 'end' in toDriver) toDriver.end();
    };
    const listen = (chunk: Buffer): void => {
      output += chunk.toString();
      if (isOver || !output.includes(until)) return;
      isOver = true;
      then(output).then(letGo, (error: unknown) => {
        letGo();
        reject(error instanceof Error ? error : new Error(String(error)));
      });
    };
    stdout?.on('data', listen);
    stderr?.on('data', listen);
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** Runs the health check without blocking, so that a server of this process could answer too. */
function healthcheck(address: string, path: string): Promise<Ended> {
  const child = spawn(join(runtime, 'healthcheck'), [path], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { DATAPLANE_HEALTH: address },
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}

describe('the collected folder', () => {
  it('holds every library that its Node needs', () => {
    const listed = execFileSync(
      join(runtime, 'lib/loader'),
      ['--library-path', join(runtime, 'lib'), '--list', join(runtime, 'lib/node')],
      { encoding: 'utf8' },
    );
    const paths = [...listed.matchAll(/=> (\S+) \(/g)].map((match) => match[1] ?? '');
    expect(paths.length).toBeGreaterThan(3);
    const outside = paths.filter((path) => !path.startsWith(join(runtime, 'lib')) && !path.includes('ld-linux'));
    expect(outside).toEqual([]);
  });

  it('says its version, with an empty environment', () => {
    const run = spawnSync(join(runtime, 'felix-dataplane'), ['--version'], { encoding: 'utf8', env: {} });
    expect(run.stdout).toBe(`${VERSION}\n`);
    expect(readFileSync(join(runtime, 'VERSION'), 'utf8')).toBe(`${VERSION}\n`);
  });

  it('takes its wrapper, not the loader, for its executable', () => {
    const run = spawnSync('./node', ['-p', 'process.execPath + " " + process.argv[0]'], {
      cwd: runtime,
      encoding: 'utf8',
    });
    expect(run.stdout).toBe(`${join(runtime, 'node')} ${join(runtime, 'node')}\n`);
  });

  it('uses the cached data that came with the bundle', () => {
    const script = `
      const { readFileSync } = require('node:fs');
      const vm = require('node:vm');
      const file = ${JSON.stringify(join(runtime, 'dist/felix-dataplane.cjs'))};
      const text = '(function (exports, require, module, __filename, __dirname) {' + readFileSync(file, 'utf8') + '\\n})';
      console.log(new vm.Script(text, { filename: file, cachedData: readFileSync(file + '.cache') }).cachedDataRejected);`;
    const run = spawnSync(join(runtime, 'node'), ['-e', script], { encoding: 'utf8' });
    expect(run.stdout).toBe('false\n');
  });

  it("changes V8's flags when it has loaded what it needs of Node: cached data of those modules is for the flags before", async () => {
    const preload = join(folder, 'preload.cjs');
    writeFileSync(
      preload,
      `const v8 = require('node:v8');
      const loaded = () => process.moduleLoadList.filter((name) => name.startsWith('NativeModule'));
      const { setFlagsFromString } = v8;
      v8.setFlagsFromString = (flag) => {
        const before = new Set(loaded());
        v8.setFlagsFromString = setFlagsFromString;
        process.once('exit', () =>
          console.log('modules after the flags: [' + loaded().filter((name) => !before.has(name)) + ']'));
        setFlagsFromString(flag);
      };`,
    );
    const program = join(runtime, 'felix-dataplane');
    const environment = { NODE_OPTIONS: `--require=${preload}` };
    const { output } = await runAsFelix(program, 'starts in driver mode', { environment });
    expect(output).toContain('modules after the flags: []');
  });

  it('runs as a driver, with its broker, until Felix goes away', async () => {
    const { code, output } = await runAsFelix(join(runtime, 'felix-dataplane'), 'starts in driver mode');
    expect(output).toContain('the control plane closed the connection');
    expect(output).not.toContain('could not be started');
    expect(code).toBe(0);
  });

  it.each([
    ['a unix socket', `unix:${join(folder, 'health.sock')}`],
    ['a port', '127.0.0.1:0'],
  ])('healthcheck asks the driver over %s: it lives, and is not ready without a control plane', async (_, health) => {
    const { code } = await runAsFelix(join(runtime, 'felix-dataplane'), 'Health and metrics are served', {
      health,
      then: async (output) => {
        // Port 0 is any that is free.
        const address = health.replace(/^127.*/, /127\.0\.0\.1:\d+/.exec(output)?.[0] ?? 'no port');
        // Served before the session is; then it says so.
        const live = await healthcheck(address, '/liveness');
        expect(live.output).toContain('ok   Dataplane');
        expect(live.code).toBe(0);
        const ready = await healthcheck(address, '/readiness');
        expect(ready.output).toContain('FAIL Dataplane');
        expect(ready.code).toBe(1);
      },
    });
    expect(code).toBe(0);
  });

  it('healthcheck fails, with the address, where nothing listens', async () => {
    const address = `unix:${join(folder, 'nobody.sock')}`;
    const { code, output } = await healthcheck(address, '/readiness');
    expect(code).toBe(1);
    expect(output).toContain('nobody.sock/readiness');
  });
});

describe('the metrics server of the image', () => {
  it('is bundled as the Dockerfile says, runs by the collected Node, and misses the driver', async () => {
    const bundle = join(folder, 'metrics-merge.cjs');
    const entry = /npx (esbuild .*--format=cjs)/.exec(
      readFileSync(join(root, 'Dockerfile'), 'utf8').replaceAll('\\\n', ' '),
    );
    const [program = '', ...flags] = (entry?.[1] ?? '').split(/\s+/);
    execFileSync(join(root, 'node_modules/.bin', program), [...flags, `--outfile=${bundle}`, '--log-level=error'], {
      cwd: root,
    });
    const child = spawn(join(runtime, 'node'), [bundle], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // Port 1 is nobody's.
      env: { METRICS_PORT: '0', DRIVER_METRICS_URL: 'http://127.0.0.1:1/metrics' },
    });
    try {
      const said = await new Promise<Buffer>((resolve) => child.stdout.once('data', resolve));
      const port = /:(\d+)/.exec(said.toString())?.[1] ?? 'no port';
      expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(503);
    } finally {
      child.kill('SIGTERM');
    }
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
  });
});

describe('install', () => {
  it('is not done before it was done', () => {
    expect(install('--check').code).not.toBe(0);
  });

  it('copies, links, and leaves nothing half done; a second time changes nothing', () => {
    for (let time = 0; time < 2; time += 1) {
      expect(install()).toEqual({ code: 0, output: `install: ${target}/current is ${VERSION}\n` });
      expect(readlinkSync(join(target, 'current'))).toBe(VERSION);
      expect(readdirSync(target).sort()).toEqual([VERSION, 'current']);
      expect(install('--check').code).toBe(0);
    }
  });

  it('makes a driver that Felix can start over the link', async () => {
    const { code, output } = await runAsFelix(join(target, 'current/felix-dataplane'), 'starts in driver mode');
    expect(output).not.toContain('could not be started');
    expect(code).toBe(0);
  });

  it('does not write over a version with other content', () => {
    writeFileSync(join(target, VERSION, 'DIGEST'), 'other\n');
    const { code, output } = install();
    expect(code).toBe(73);
    expect(output).toContain('other content');
    expect(install('--check').code).not.toBe(0);
  });
});
