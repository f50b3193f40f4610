// The driver as a service: it outlives its control planes, lets in one at a time, and only who may.
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { loadRecording, MODES, type Mode } from '../fixtures/recording.js';
import { waitFor } from './support/driver-process.js';
import { dumpKernel } from './support/dump.js';
import { atRest, EXECUTABLE, Program } from './support/program.js';
import { recordingFrames } from './support/replay.js';
import { useServicePlace } from './support/service-place.js';
import { TestControl } from './support/sessions.js';

const CERTIFICATES = join(import.meta.dirname, '../unit/transport/certs');
const GONE = 'The control plane is gone; everything stays in force';
const recording = loadRecording('pod-lifecycle');

const place = useServicePlace('serve', recording.hostScript);
const serve = (...args: string[]): Promise<Program> => place.serve(args);

async function connect(protocol: 'frames' | 'grpc' = 'frames'): Promise<TestControl> {
  const control = await TestControl.dial(place.path, protocol);
  place.onEnd(() => control.session.close());
  return control;
}

/** The stream up to the step `allow-web`. */
function frames(mode: Mode): Buffer[] {
  return recordingFrames(recording, mode).slice(0, recording.steps.steps[3]?.frames);
}

async function inForce(service: Program, mode: Mode, protocol: 'frames' | 'grpc' = 'frames'): Promise<TestControl> {
  const control = await connect(protocol);
  control.send(frames(mode));
  await control.waitInSync(() => service.transcript());
  await atRest(service);
  return control;
}

/** Packets that each rule has counted, in order: a rule that is written again begins at 0. */
async function counters(mode: Mode): Promise<number[]> {
  const program = mode === 'nftables' ? ['nft', 'list', 'ruleset'] : [`${mode}-save`, '-c'];
  const text = await place.namespace.run(program);
  return [...text.matchAll(/counter packets (\d+)|^\[(\d+):/gm)].map((found) => Number(found[1] ?? found[2]));
}

describe('serve, whose control plane goes away', () => {
  test.each(MODES)('in %s keeps all in force, and writes nothing when the same state comes again', async (mode) => {
    const service = await serve();
    const control = await inForce(service, mode);
    const before = await dumpKernel(place.namespace, mode);
    expect(Object.keys(before)).toContain('nft');
    await control.session.close();
    await service.logged(GONE);
    expect(await dumpKernel(place.namespace, mode)).toEqual(before);
    await place.namespace.run(['bash', '-c', 'for i in 1 2 3; do echo > /dev/udp/127.0.0.1/9; done']);
    const [writes, counted] = [service.operations.length, await counters(mode)];
    expect(writes).toBeGreaterThan(0);
    for (let round = 1; round <= 2; round += 1) {
      const next = await inForce(service, mode);
      await next.session.close();
      await service.logged(GONE, round);
    }
    expect(service.operations.slice(writes), 'writes of two reconnects').toEqual([]);
    // The kernel's own packets (MLD, say) may have been counted meanwhile.
    const now = await counters(mode);
    expect(now).toHaveLength(counted.length);
    expect(
      now.filter((count, index) => count < (counted[index] ?? 0)),
      'counters that were reset',
    ).toEqual([]);
    expect(Math.max(...counted), 'something was counted').toBeGreaterThan(0);
    expect(await dumpKernel(place.namespace, mode)).toEqual(before);
  });

  test('writes what changed meanwhile, and nothing before InSync', async () => {
    const mode = 'nftables';
    const service = await serve();
    const control = await inForce(service, mode);
    await control.session.close();
    await service.logged(GONE);
    const writes = service.operations.length;
    const next = await connect();
    const all = recordingFrames(recording, mode);
    const inSync = recording.steps.steps[0]?.frames ?? 0;
    // A Felix that starts has its whole state in before its InSync; here without the policies of the later steps.
    next.send(all.slice(0, inSync - 1));
    await atRest(service);
    expect(service.operations.slice(writes)).toEqual([]);
    const before = await dumpKernel(place.namespace, mode);
    next.send([...all.slice(inSync, recording.steps.steps[1]?.frames), ...all.slice(inSync - 1, inSync)]);
    await next.waitInSync(() => service.transcript());
    await atRest(service);
    const objects = service.operations.slice(writes).map((line) => String(line['object']));
    expect(objects.length).toBeGreaterThan(0);
    expect(await dumpKernel(place.namespace, mode)).not.toEqual(before);
    const untouched = objects.filter((object) => object.includes('failsafe') || object.includes('INPUT'));
    expect(untouched).toEqual([]);
  });

  test('in the middle of a message: all stays in force, and the next one is let in', async () => {
    const service = await serve();
    await (await inForce(service, 'nftables')).session.close();
    await service.logged(GONE);
    const before = await dumpKernel(place.namespace, 'nftables');
    const cut = await promisify(execFile)('sh', [
      '-c',
      `printf '\\144\\0\\0\\0\\0\\0\\0\\0abc' | "$0" -e 'process.stdin.pipe(require("net").connect(process.argv[1]))' "$1"`,
      process.execPath,
      place.path,
    ]);
    expect(cut.stderr).toBe('');
    await service.logged(GONE, 1);
    expect(service.lines(GONE).at(-1)?.['error'], 'says that the stream was cut').toMatch(/frame/i);
    expect(await dumpKernel(place.namespace, 'nftables')).toEqual(before);
    await inForce(service, 'nftables');
  });
});

describe.each(['frames', 'grpc'] as const)('serve over %s, with a second control plane', (protocol) => {
  const option = protocol === 'grpc' ? ['--grpc'] : [];

  test('refuses it, and the first goes on', async () => {
    const service = await serve(...option);
    const first = await inForce(service, 'nftables', protocol);
    const second = await connect(protocol);
    second.send(frames('nftables'));
    const reason = await second.session.closed;
    if (protocol === 'grpc') {
      expect(reason).toMatchObject({ kind: 'error' });
      expect(reason.kind === 'error' ? reason.error.message : '').toContain('another control plane is connected');
    }
    await service.logged('A second control plane was refused');
    const applied = service.lines('Applied').length;
    first.send(recordingFrames(recording, 'nftables').slice(recording.steps.steps[3]?.frames));
    await service.logged('Applied', applied);
  });

  test('lets it take over with --take-over, writes nothing, and ends the first', async () => {
    const service = await serve(...option, '--take-over');
    const first = await inForce(service, 'nftables', protocol);
    const writes = service.operations.length;
    const second = await inForce(service, 'nftables', protocol);
    const reason = await first.session.closed;
    expect(reason.kind).toBe(protocol === 'grpc' ? 'error' : 'eof');
    expect(service.operations.slice(writes)).toEqual([]);
    expect(second.inSync).toBe(true);
  });
});

describe('serve, at its door', () => {
  test('a unix socket can be used by its owner alone', async () => {
    await serve();
    expect(statSync(place.path).mode & 0o777).toBe(0o600);
  });

  test('a second service on the same socket is refused, the first stays', async () => {
    const service = await serve();
    const second = new Program(['serve', '--listen', `unix:${place.path}`], { enter: place.namespace.enter });
    expect((await second.exited).code).toBe(78);
    expect(second.rawOutput + second.transcript()).toContain('another process listens on it');
    await inForce(service, 'nftables');
  });

  test('the socket file of a service that was killed is taken over', async () => {
    const first = await serve();
    first.signal('SIGKILL');
    await first.exited;
    await inForce(await serve(), 'nftables');
  });

  test.each([
    [['0.0.0.0:9443', '--plaintext'], 78, 'mutual TLS'],
    [['127.0.0.1:9443'], 78, '--tls-cert'],
    [['127.0.0.1:9443', '--tls-cert', '/x.crt'], 78, 'all of'],
    [['unix:relative.sock'], 78, 'absolute'],
    [['nonsense'], 78, 'HOST:PORT'],
  ])('%j is refused with what is allowed', async (args, code, words) => {
    const service = new Program(['serve', '--listen', ...args], { enter: place.namespace.enter });
    expect((await service.exited).code).toBe(code);
    expect(service.rawOutput + service.transcript()).toContain(words);
  });

  test.each([
    ['of another authority', 'impostor', 'other-ca'],
    ['for another name', 'stranger', 'ca'],
    ['missing', null, 'ca'],
  ])('TLS with a certificate %s is refused, the right one is let in', async (_what, name, ca) => {
    const file = (base: string): string => join(CERTIFICATES, base);
    const service = await serve(
      ...['--listen', '127.0.0.1:9443', '--tls-peer', 'felix'],
      ...['--tls-cert', file('driver.crt'), '--tls-key', file('driver.key'), '--tls-ca', file('ca.crt')],
    );
    // Sends a byte over TLS and says how it ends; the server is not checked, so that only the client is.
    const script = `const tls = require('tls'); const fs = require('fs');
      const [cert, key, ca] = process.argv.slice(1);
      const own = cert === '' ? {} : { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
      const s = tls.connect({ host: '127.0.0.1', port: 9443, rejectUnauthorized: false, ca: fs.readFileSync(ca), ...own }, () => s.write('x'));
      s.on('error', (e) => { console.log('refused ' + e.code); process.exit(0); });
      s.on('close', () => { console.log('refused'); process.exit(0); });
      setTimeout(() => { console.log('let in'); process.exit(0); }, Number(process.env.WAIT_MS));`;
    const attempt = (who: string | null, authority: string, waitMs: number): Promise<string> =>
      place.namespace.run([
        ...['env', `WAIT_MS=${waitMs}`, process.execPath, '-e', script],
        ...(who === null ? ['', ''] : [file(`${who}.crt`), file(`${who}.key`)]),
        file(`${authority}.crt`),
      ]);
    expect(await attempt(name, ca, 20_000)).toMatch(/^refused/);
    await waitFor(
      () => service.lines('A TLS client was refused').length === 1,
      () => service.transcript(),
    );
    expect(service.lines('A control plane connected')).toEqual([]);
    const letIn = attempt('felix', 'ca', 1_500);
    await service.logged('A control plane connected');
    await letIn;
  });

  test('--help and a missing option say how it is called', async () => {
    const { stdout } = await promisify(execFile)(EXECUTABLE, ['serve', '--help']);
    expect(stdout).toContain('--listen');
    const wrong = new Program(['serve']);
    expect((await wrong.exited).code).toBe(64);
    expect(wrong.rawOutput).toContain("required option '--listen <address>'");
  });
});
