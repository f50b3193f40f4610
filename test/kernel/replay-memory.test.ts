// A recording far larger than the memory that replay takes for it: shown, and played to a driver that reads slowly.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { NamespaceUpdateSchema, ToDataplaneSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import { framed } from './support/driver-process.js';
import { EXECUTABLE, Program, temporaryFolder } from './support/program.js';

const MIB = 1024 * 1024;
/** Small messages first, so that there is progress to show within a step; then large ones. */
const [SMALL, LARGE] = [20_000, 384] as const;
/** 230 MiB were seen for 96 MiB and for 384 MiB alike: Node, our program, what waits, and garbage. */
const MAX_RESIDENT = 320 * MIB;

const folder = temporaryFolder();
const recording = folder.path;
let streamBytes = 0;

function message(padding: number): Buffer {
  const value = create(NamespaceUpdateSchema, { id: { name: 'a' }, labels: { padding: 'x'.repeat(padding) } });
  return framed(
    toBinary(ToDataplaneSchema, create(ToDataplaneSchema, { payload: { case: 'namespaceUpdate', value } })),
  );
}

beforeAll(() => {
  const write = `require('fs').writeFileSync(${JSON.stringify(peak)}, String(process.resourceUsage().maxRSS))`;
  writeFileSync(hook, `process.on('exit', () => ${write});\n`);
  const file = openSync(join(recording, 'stream.bin'), 'w');
  for (const [count, frame] of [
    [SMALL, message(1)],
    [LARGE, message(MIB)],
  ] as const) {
    for (let index = 0; index < count; index += 1) streamBytes += writeSync(file, frame);
  }
  closeSync(file);
  writeFileSync(join(recording, 'steps.json'), '{"steps": [{"name": "first", "frames": 10}]}');
});
afterAll(() => folder.remove());

/** Its largest resident memory, which replay writes down itself at its end. */
const peak = join(recording, 'peak');
const hook = join(recording, 'hook.cjs');
const HOOKED = { NODE_OPTIONS: `--require ${hook}` };

function peakBytes(): number {
  return Number(readFileSync(peak, 'utf8')) * 1024;
}

test('replay to a driver that reads slowly and then goes, sends all with bounded memory, and shows how far it is', async () => {
  const path = join(recording, 'driver.sock');
  let read = 0;
  const server = createServer((socket) => {
    socket.on('data', (chunk: Buffer) => {
      read += chunk.byteLength;
      socket.pause();
      if (read >= streamBytes) socket.destroy();
      else setImmediate(() => socket.resume());
    });
  });
  server.listen(path);
  await once(server, 'listening');
  try {
    const program = new Program(['replay', recording, '--to', `unix:${path}`], { environment: HOOKED });
    await program.exited;
    const output = program.rawOutput;
    // Numbers of messages are written anew, so the size may differ by a few bytes each.
    expect(read).toBeGreaterThan(LARGE * MIB);
    expect(output).toContain(`step 1 of 2, first: messages 1 to 10 of ${SMALL + LARGE}\n`);
    expect(output).toContain(`message 10000 of ${SMALL + LARGE}\nmessage 20000 of ${SMALL + LARGE}\n`);
    expect(peakBytes()).toBeLessThan(MAX_RESIDENT);
  } finally {
    server.close();
  }
});

test('replay --dry shows all of it with bounded memory', async () => {
  // As large as the recording: only counted.
  const { stdout } = await promisify(execFile)(
    'sh',
    ['-c', '"$0" replay "$1" --dry | grep -c "^  {"', EXECUTABLE, recording],
    {
      env: { ...process.env, ...HOOKED },
    },
  );
  expect(Number(stdout)).toBe(SMALL + LARGE);
  expect(peakBytes()).toBeLessThan(MAX_RESIDENT);
});

test('replay --dry ends when nobody reads any more, and fails when nothing can be written', async () => {
  const run = (redirection: string) =>
    promisify(execFile)('bash', [
      '-c',
      `"$0" replay "$1" --dry ${redirection}; echo "exit \${PIPESTATUS[0]}"`,
      EXECUTABLE,
      recording,
    ]);
  expect((await run('| head -1')).stdout).toMatch(/^step 1 of 2, first: .*\nexit 0\n$/);
  expect(await run('> /dev/full')).toEqual({
    stdout: 'exit 70\n',
    stderr: expect.stringContaining('ENOSPC') as string,
  });
});
