// The relay between real pipes and a real socket: what goes in on one side comes out on the other, and any end is an end.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { FrameDecoder } from '../../../src/protocol/frame.js';
import { WorkloadEndpointStatusUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { decodeFromDataplane } from '../../../src/protocol/messages.js';
import * as grpc from '../../../src/transport/grpc.js';
import type { Listener, Session } from '../../../src/transport/session.js';
import * as socket from '../../../src/transport/socket.js';
import { loadRecording, splitFrames } from '../../fixtures/recording.js';

const program = join(import.meta.dirname, 'relay-program.ts');
const logger = silentLogger;
let folder: string;
let path: string;
let listener: Listener | null;
let child: ChildProcess | null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fdp-relay-'));
  path = join(folder, 'driver.sock');
  listener = null;
  child = null;
});
afterEach(async () => {
  killGroup();
  await listener?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What bash started for the relay outlives bash; the group is its own. */
function killGroup(): void {
  if (child?.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Nothing of the group is left.
  }
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

/** Starts the relay by bash: `before` feeds its fd 3, fd 4 goes to the file `out`. */
function startRelay(protocol: string, before: string, attempts = 10): Promise<Ended> {
  const script = `exec 5> >(cat > "$OUT"); pid=$!; "$@" 3< <(exec 5>&- 2>/dev/null; ${before}) 4>&5 5>&-; code=$?; exec 5>&-; wait $pid; exit $code`;
  const args = ['-c', script, 'bash', process.execPath, '--import', 'tsx', program, protocol, path, String(attempts)];
  const env = { ...process.env, IN: join(folder, 'in'), OUT: join(folder, 'out') };
  const started = spawn('bash', args, { stdio: ['ignore', 'pipe', 'pipe'], env, detached: true });
  child = started;
  const [output, errors]: [string[], string[]] = [[], []];
  started.stdout.on('data', (text: Buffer) => output.push(text.toString()));
  started.stderr.on('data', (text: Buffer) => errors.push(text.toString()));
  return new Promise((resolve) =>
    started.on('close', (code) => resolve({ code, output: output.join('').trim(), errors: errors.join('') })),
  );
}

function writtenStatuses(): number {
  let count = 0;
  const decoder = new FrameDecoder();
  decoder.push(readFileSync(join(folder, 'out')), (frame) => {
    if (decodeFromDataplane(frame.bytes, frame.sequence, frame.offset) !== null) count += 1;
  });
  decoder.end();
  return count;
}

/** Answers each workload update with a status, and tells when the session ends. */
function answer(session: Session, onMessage: (name: string) => void): void {
  session.start((payload) => {
    onMessage(payload.case);
    if (payload.case !== 'workloadEndpointUpdate' || payload.value.id === undefined) return;
    const value = create(WorkloadEndpointStatusUpdateSchema, { id: payload.value.id, status: { status: 'up' } });
    session.send({ case: 'workloadEndpointStatusUpdate', value });
  });
}

describe.each(['frames', 'grpc'] as const)('relay over %s', (protocol) => {
  async function listen(accept: (session: Session) => void): Promise<void> {
    const options = { logger, address: { path }, takeOver: false };
    listener =
      protocol === 'grpc'
        ? await grpc.listen({ ...options, healthAndReflection: false }, accept)
        : await socket.listen(options, accept);
  }

  it('Felix sends a recording and waits for the statuses, both sides get all of it', async () => {
    const { stream } = loadRecording('pod-lifecycle');
    writeFileSync(join(folder, 'in'), stream);
    const seen: string[] = [];
    const frames = splitFrames(stream).length;
    await listen((session) => answer(session, (name) => seen.push(name)));
    const ended = startRelay(protocol, 'cat "$IN"; until [ -e "$IN.enough" ]; do sleep 0.05; done');
    await vi.waitFor(
      () => {
        expect(seen).toHaveLength(frames);
        expect(writtenStatuses()).toBe(seen.filter((name) => name === 'workloadEndpointUpdate').length);
      },
      { timeout: 20_000 },
    );
    writeFileSync(join(folder, 'in.enough'), '');
    expect(await ended).toMatchObject({ code: 0, output: 'felix closed' });
  });

  it('service ends, relay ends with an error for Felix', async () => {
    writeFileSync(join(folder, 'in'), loadRecording('pod-lifecycle').stream);
    await listen((session) => {
      session.start(() => undefined);
      setImmediate(() => void session.close());
    });
    const ended = await startRelay(protocol, 'cat "$IN"; exec sleep 60');
    expect(ended).toMatchObject({ code: 1, output: 'service closed' });
  });

  it('service not there, is tried again and again, then given up', async () => {
    const ended = await startRelay(protocol, 'exec sleep 60', 3);
    expect(ended).toMatchObject({ code: 1, output: 'service unreachable' });
    expect(ended.errors.match(/attempt \d of 3/g)).toEqual(['attempt 1 of 3', 'attempt 2 of 3', 'attempt 3 of 3']);
  });

  it('service comes late, is found', async () => {
    writeFileSync(join(folder, 'in'), loadRecording('pod-lifecycle').stream);
    const ended = startRelay(protocol, 'cat "$IN"', 500);
    await new Promise<void>((resolve) => child?.stderr?.once('data', () => resolve()));
    const session = await new Promise<Session>((resolve) => void listen(resolve));
    session.start(() => undefined);
    expect((await session.closed).kind).toBe('eof');
    expect((await ended).code).toBe(0);
  });
});

describe('relay', () => {
  it('not started by Felix, says so', async () => {
    const started = spawn(process.execPath, ['--import', 'tsx', program, 'frames', path], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const output = await new Promise<string>((resolve) =>
      started.stdout.once('data', (text: Buffer) => resolve(text.toString())),
    );
    expect(output.trim()).toBe('not started by felix');
  });
});
