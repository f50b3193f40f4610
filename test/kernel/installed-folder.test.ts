// The folder that deploy/ installs beside Felix needs nothing of the container it runs in but /bin/sh: started as Felix
// does, in a root folder that holds a shell and its libraries.
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const project = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'fdp-chroot-'));
const root = join(folder, 'root');
const PLUGINS = '/var/lib/calico/felix-plugins';

/** Copies a program and the libraries that it links to. */
function copyProgram(program: string, to: string): void {
  mkdirSync(join(root, dirname(to)), { recursive: true });
  copyFileSync(realpathSync(program), join(root, to));
  for (const [, library = ''] of execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(realpathSync(library), join(root, dirname(library), basename(library)));
  }
}

beforeAll(() => {
  copyProgram('/bin/sh', '/bin/sh');
  for (const name of ['dev', 'proc', 'tmp', PLUGINS]) mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, 'dev/null'), '');
  const collected = join(folder, 'felix-dataplane');
  execFileSync(join(project, 'deploy/runtime/collect'), [collected], { stdio: 'inherit' });
  execFileSync(join(collected, 'install'), [join(root, PLUGINS)], { stdio: 'ignore' });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Starts the driver in private namespaces below the root folder; ends its input once it has started. */
function runInRoot(mounts: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  const script = [...mounts, `exec chroot ${root} ${PLUGINS}/current/felix-dataplane`].join(' && ');
  const child = spawn('unshare', ['-n', '-m', '-p', '-f', '--kill-child', 'sh', '-c', `cd / && ${script}`], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], DATAPLANE_HEALTH: 'off' },
  });
  const [, stdout, stderr, toDriver] = child.stdio;
  let output = '';
  const listen = (chunk: Buffer): void => {
    output += chunk.toString();
    if (!output.includes('starts in driver mode')) return;
    if (toDriver !== null && toDriver !== undefined && 'end' in toDriver) toDriver.end();
  };
  stdout?.on('data', listen);
  stderr?.on('data', listen);
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}

describe('the installed folder in a root folder with a shell, /dev/null and /proc', () => {
  test('runs as a driver: broker, netlink, and an orderly end', async () => {
    const { code, output } = await runInRoot([
      `mount --bind /dev/null ${root}/dev/null`,
      `mount -t proc proc ${root}/proc`,
    ]);
    expect(output).toContain('routes=netlink');
    expect(output).toContain('the control plane closed the connection');
    expect(output).not.toContain('could not be started');
    expect(code, output).toBe(0);
  });
});
