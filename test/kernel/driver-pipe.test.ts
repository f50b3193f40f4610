// How driver mode ends: end of stream, signals and bytes that are no stream. The kernel stays as it was each time.
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from 'vitest';
import { ToDataplaneSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { loadRecording } from '../fixtures/recording.js';
import { DriverProcess, framed, waitFor } from './support/driver-process.js';
import { dumpKernel } from './support/dump.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { recordingFrames } from './support/replay.js';

const MODE = 'iptables-nft';
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function inSyncDriver(): Promise<{ namespace: Namespace; driver: DriverProcess }> {
  const namespace = await createNamespace('pipe');
  cleanups.push(() => namespace.remove());
  const recording = loadRecording('pod-lifecycle');
  await namespace.shell(recording.hostScript);
  const driver = new DriverProcess(namespace);
  cleanups.push(() => driver.stop());
  driver.send(recordingFrames(recording, MODE).slice(0, recording.steps.steps[3]?.frames));
  await waitFor(
    () => driver.inSync,
    () => `not in sync\n${driver.rawOutput}`,
  );
  return { namespace, driver };
}

function length(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

const SOME_FRAME = framed(toBinary(ToDataplaneSchema, create(ToDataplaneSchema, {})));

describe('driver mode', () => {
  test.each([
    ['the end of the stream', (driver: DriverProcess) => driver.closeInput(), 0, ''],
    ['SIGTERM', (driver: DriverProcess) => driver.signal('SIGTERM'), 0, ''],
    ['a frame of 2 GiB', (driver: DriverProcess) => driver.sendBytes(length(2n ** 31n)), 65, 'claims 2147483648 bytes'],
    ['a frame of 2^63 bytes', (driver: DriverProcess) => driver.sendBytes(length(2n ** 63n)), 65, 'claims'],
    [
      'a frame that is no protobuf',
      (driver: DriverProcess) => driver.sendBytes(framed(Buffer.from('ffffffffff', 'hex'))),
      65,
      'Frame 14',
    ],
    [
      'a frame cut short',
      (driver: DriverProcess) => {
        driver.sendBytes(Buffer.concat([length(100n), Buffer.alloc(10)]));
        driver.closeInput();
      },
      65,
      '',
    ],
    [
      'a length cut short',
      (driver: DriverProcess) => {
        driver.sendBytes(SOME_FRAME);
        driver.sendBytes(Buffer.alloc(3));
        driver.closeInput();
      },
      65,
      '',
    ],
  ])('ends on %s with its exit code and leaves the kernel as it is', async (_what, act, code, word) => {
    const { namespace, driver } = await inSyncDriver();
    const before = await dumpKernel(namespace, MODE);
    act(driver);
    expect(await driver.exited).toEqual({ code, signal: null });
    expect(await dumpKernel(namespace, MODE)).toEqual(before);
    const last = driver.logs.filter((line) => line.msg.startsWith('Ending')).at(-1)?.msg ?? '';
    expect(last, 'the last line says why').toMatch(/^Ending/);
    expect(last).toContain(word);
  });

  test('ends when kube-proxy turns to IPVS, which needs other rules, and leaves the kernel as it is', async () => {
    const { namespace, driver } = await inSyncDriver();
    const rules = async (): Promise<unknown> => (await dumpKernel(namespace, MODE))[MODE];
    const before = await rules();
    await namespace.run(['ip', 'link', 'add', 'kube-ipvs0', 'type', 'veth', 'peer', 'name', 'kipvs1']);
    expect(await driver.exited).toEqual({ code: 1, signal: null });
    // The clean-ups of the first apply may be under way; its own line comes after them.
    const endings = driver.logs.filter((line) => line.msg.startsWith('Ending')).map((line) => line.msg);
    expect(endings).toEqual([expect.stringMatching(/^Ending: kube-ipvs0 appeared/)]);
    expect(await rules()).toEqual(before);
  });

  test('writes nothing to the kernel before InSync', async () => {
    const namespace = await createNamespace('pipe');
    cleanups.push(() => namespace.remove());
    const recording = loadRecording('pod-lifecycle');
    await namespace.shell(recording.hostScript);
    const before = await dumpKernel(namespace, MODE);
    const driver = new DriverProcess(namespace);
    cleanups.push(() => driver.stop());
    const frames = recordingFrames(recording, MODE);
    driver.send(frames.slice(0, (recording.steps.steps[0]?.frames ?? 1) - 1));
    driver.closeInput();
    expect(await driver.exited).toEqual({ code: 0, signal: null });
    expect(await dumpKernel(namespace, MODE)).toEqual(before);
  });

  test('unknown payloads and fields are skipped, and the stream goes on', async () => {
    const { driver } = await inSyncDriver();
    // Field 99 of the envelope, then field 200 inside a known payload: neither exists in the schema.
    driver.sendBytes(framed(Buffer.from('9a0603666f6f', 'hex')));
    const applied = driver.logs.filter((line) => line.msg === 'Applied').length;
    const recording = loadRecording('pod-lifecycle');
    const frames = recordingFrames(recording, MODE);
    driver.send(frames.slice(recording.steps.steps[3]?.frames, recording.steps.steps[4]?.frames));
    await waitFor(
      () => driver.logs.filter((line) => line.msg === 'Applied').length > applied,
      () => `no apply after the unknown payload\n${driver.rawOutput}`,
    );
  });
});
