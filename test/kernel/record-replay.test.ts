// A stream recorded between Felix and the driver, and played again: the same kernel state, no secrets, nothing written.
import { execFile } from 'node:child_process';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ToDataplaneSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { loadRecording } from '../fixtures/recording.js';
import { dumpKernel } from './support/dump.js';
import { FakeFelix } from './support/fake-felix.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { atRest, EXECUTABLE, Program, temporaryFolder } from './support/program.js';
import { recordingFrames } from './support/replay.js';
import { TestControl } from './support/sessions.js';

const MODE = 'nftables';
const SECRET = 'hunter2';
const run = promisify(execFile);
const recording = loadRecording('pod-lifecycle');

let namespace: Namespace;
let folder: string;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  namespace = await createNamespace('record');
  cleanups.push(() => namespace.remove());
  const temporary = temporaryFolder();
  cleanups.push(() => temporary.remove());
  folder = temporary.path;
  await namespace.shell(recording.hostScript);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The stream up to `allow-web`, with a password among the parameters. */
function frames(): Buffer[] {
  const [first, ...rest] = recordingFrames(recording, MODE).slice(0, recording.steps.steps[3]?.frames);
  const message = fromBinary(ToDataplaneSchema, first ?? Buffer.alloc(0));
  if (message.payload.case === 'configUpdate') message.payload.value.config['EtcdPassword'] = SECRET;
  return [Buffer.from(toBinary(ToDataplaneSchema, message)), ...rest];
}

/** What DataplaneDriver has to name: Felix gives no arguments. */
function recordScript(out: string, driver = EXECUTABLE): string {
  const script = join(folder, 'record.sh');
  writeFileSync(script, `#!/bin/sh\nexec ${EXECUTABLE} record --driver ${driver} --out ${out}\n`);
  chmodSync(script, 0o755);
  return script;
}

async function recorded(): Promise<{ readonly out: string; readonly kernel: Record<string, string> }> {
  const out = join(folder, 'recording');
  const felix = new FakeFelix({ driver: recordScript(out), enter: namespace.enter });
  cleanups.push(() => felix.terminate());
  felix.send(frames());
  await felix.waitInSync();
  const kernel = await dumpKernel(namespace, MODE);
  expect(await felix.terminate()).toBe(0);
  return { out, kernel };
}

describe('record', () => {
  test('passes everything on and keeps all frames, for its owner alone and without secrets', async () => {
    const { out, kernel } = await recorded();
    expect(kernel['nft']).toContain('filter-cali-tw-cali1');
    const stream = readFileSync(join(out, 'stream.bin'));
    expect(stream.includes(SECRET)).toBe(false);
    expect(statSync(join(out, 'stream.bin')).mode & 0o777).toBe(0o600);
    const steps = JSON.parse(readFileSync(join(out, 'steps.json'), 'utf8')) as { steps: { frames: number }[] };
    expect(steps.steps.at(-1)?.frames).toBe(frames().length);
  });

  test('ends with the exit code of the driver, and refuses a folder that holds a recording', async () => {
    const { out } = await recorded();
    const again = new FakeFelix({ driver: recordScript(out), enter: namespace.enter });
    expect(await again.driverExit).toBe(78);
    expect(again.output).toContain(out);
    await again.terminate();
    const failing = join(folder, 'failing.sh');
    writeFileSync(failing, '#!/bin/sh\nexit 7\n');
    chmodSync(failing, 0o755);
    const third = new FakeFelix({ driver: recordScript(join(folder, 'other'), failing), enter: namespace.enter });
    expect(await third.driverExit).toBe(7);
    await third.terminate();
  });
});

describe('record --from', () => {
  test('a running service gives a snapshot and what follows, and writes nothing for it; the replay is the same', async () => {
    const [observe, address] = [`unix:${join(folder, 'observe.sock')}`, join(folder, 'driver.sock')];
    const service = new Program(['serve', '--listen', `unix:${address}`, '--observe', observe], {
      enter: namespace.enter,
    });
    cleanups.push(() => service.stop());
    await service.logged('felix-dataplane serves');
    const control = await TestControl.dial(address);
    cleanups.push(() => control.session.close());
    const all = frames();
    control.send(all.slice(0, -1));
    await control.waitInSync(() => service.transcript());
    await atRest(service);
    const writes = service.operations.length;
    const out = join(folder, 'recording');
    const recorder = new Program(['record', '--from', observe, '--out', out]);
    cleanups.push(() => recorder.stop());
    await service.logged('A recorder connected');
    await atRest(service);
    expect(service.operations.slice(writes)).toEqual([]);
    control.send(all.slice(-1));
    await atRest(service);
    const kernel = await dumpKernel(namespace, MODE);
    await control.session.close();
    expect(await recorder.exited).toEqual({ code: 0, signal: null });
    expect(recorder.lines('The session is over')).toHaveLength(1);
    const stream = readFileSync(join(out, 'stream.bin'));
    expect(stream.includes(SECRET)).toBe(false);
    const replay = new Program(['replay', out, '--to', `unix:${address}`, '--once']);
    expect(await replay.exited).toEqual({ code: 0, signal: null });
    await atRest(service);
    expect(await dumpKernel(namespace, MODE)).toEqual(kernel);
  });

  test('says who cannot be reached, and wants one source', async () => {
    const nobody = new Program(['record', '--from', `unix:${folder}/none.sock`, '--out', join(folder, 'x')]);
    expect((await nobody.exited).code).toBe(69);
    expect(nobody.rawOutput).toContain('Cannot connect to unix:');
    const neither = new Program(['record', '--out', join(folder, 'x')]);
    expect((await neither.exited).code).toBe(78);
    expect(neither.rawOutput).toContain('--driver and --from');
  });
});

describe('replay', () => {
  test.each(['frames', 'grpc'])(
    'plays a recording to a service over %s, which writes nothing anew',
    async (protocol) => {
      const { out, kernel } = await recorded();
      const address = `unix:${join(folder, 'driver.sock')}`;
      const option = protocol === 'grpc' ? ['--grpc'] : [];
      const service = new Program(['serve', '--listen', address, ...option], { enter: namespace.enter });
      cleanups.push(() => service.stop());
      await service.logged('felix-dataplane serves');
      const replay = new Program(['replay', out, '--to', address, '--once', ...option]);
      expect(await replay.exited).toEqual({ code: 0, signal: null });
      expect(replay.rawOutput).toMatch(/^step 1 of \d, in-sync: messages 1 to \d+ of \d+$/m);
      await atRest(service);
      expect(service.operations).toEqual([]);
      expect(await dumpKernel(namespace, MODE)).toEqual(kernel);
    },
  );

  test('plays to a driver that it starts, at a given speed', async () => {
    const { out, kernel } = await recorded();
    const replay = new Program(['replay', out, '--driver', EXECUTABLE, '--speed', '100', '--once'], {
      enter: namespace.enter,
    });
    expect(await replay.exited).toEqual({ code: 0, signal: null });
    expect(replay.operations).toEqual([]);
    expect(await dumpKernel(namespace, MODE)).toEqual(kernel);
  });

  test('--dry shows steps and messages and needs no driver; what is no recording is refused', async () => {
    const { out } = await recorded();
    const { stdout } = await run(EXECUTABLE, ['replay', out, '--dry']);
    expect(stdout).toMatch(/^step 1 of/);
    expect(stdout).toContain('"config_update"');
    expect(stdout.split('\n').filter((line) => line.startsWith('  {'))).toHaveLength(frames().length);
    const wrong = new Program(['replay', folder, '--dry']);
    expect((await wrong.exited).code).toBe(78);
    const nothing = new Program(['replay', out]);
    expect((await nothing.exited).code).toBe(78);
    expect(nothing.rawOutput).toContain('--to, --driver and --dry');
  });
});
