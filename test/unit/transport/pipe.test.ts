// The pipe transport against real pipes, as Felix makes them: `<(…)` and `>(…)` of bash are pipe(2) pairs.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { FrameDecoder } from '../../../src/protocol/frame.js';
import { WorkloadEndpointUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { decodeFromDataplane } from '../../../src/protocol/messages.js';
import { dial, hasInheritedPipes } from '../../../src/transport/pipe.js';
import { loadRecording } from '../../fixtures/recording.js';

const driver = join(import.meta.dirname, 'pipe-driver.ts');
const node = [process.execPath, '--import', 'tsx', driver];
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fdp-pipe-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  readonly kind: string;
  readonly error: string;
  readonly seen: Record<string, number>;
}

/** Runs the driver with fd 3 from a file's bytes and fd 4 to a file, both through pipes. */
function runWithPipes(stream: Uint8Array): {
  readonly outcome: Outcome;
  readonly written: Buffer;
  readonly status: number | null;
} {
  const [input, output] = [join(folder, 'in'), join(folder, 'out')];
  writeFileSync(input, stream);
  const script = `exec 5> >(cat > "$2"); pid=$!; shift 0; "\${@:3}" 3< <(cat "$1") 4>&5 5>&-; code=$?; exec 5>&-; wait $pid; exit $code`;
  const result = spawnSync('bash', ['-c', script, 'bash', input, output, ...node], { encoding: 'utf8' });
  if (result.stdout === '') throw new Error(`driver said nothing: ${result.stderr}`);
  return { outcome: JSON.parse(result.stdout) as Outcome, written: readFileSync(output), status: result.status };
}

describe('pipe transport', () => {
  it('listen, whole recording then end of fd 3, delivers all, answers and exits by itself', () => {
    const { stream } = loadRecording('pod-lifecycle');
    const { outcome, written, status } = runWithPipes(stream);
    expect(outcome.kind).toBe('eof');
    expect(status).toBe(0);
    expect(outcome.seen['inSync']).toBe(1);
    const statuses: string[] = [];
    const decoder = new FrameDecoder();
    decoder.push(written, (frame) => {
      const decoded = decodeFromDataplane(frame.bytes, frame.sequence, frame.offset);
      statuses.push(decoded?.payload.case ?? '');
    });
    decoder.end();
    expect(statuses).toHaveLength(outcome.seen['workloadEndpointUpdate'] ?? 0);
  });

  it('listen, stream cut inside a frame, ends with a protocol error', () => {
    const { stream } = loadRecording('pod-lifecycle');
    const { outcome } = runWithPipes(stream.subarray(0, stream.byteLength - 3));
    expect(outcome.kind).toBe('error');
    expect(outcome.error).toContain('stream ends inside a frame');
  });

  it('listen, garbage, ends with a protocol error', () => {
    const { outcome } = runWithPipes(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'));
    expect(outcome.error).toContain('more than the limit');
  });

  it('hasInheritedPipes, started without them, is false', () => {
    const check = `import { hasInheritedPipes } from ${JSON.stringify(join(import.meta.dirname, '../../../src/transport/pipe.ts'))}; console.log(hasInheritedPipes());`;
    const script = join(folder, 'check.mts');
    writeFileSync(script, check);
    const run = spawnSync(process.execPath, ['--import', 'tsx', script], { encoding: 'utf8', cwd: process.cwd() });
    expect(run.stdout.trim()).toBe('false');
    expect(hasInheritedPipes(200, 201)).toBe(false);
  });

  it('dial, started driver, gets messages and answers', async () => {
    const [command, ...args] = node;
    const { session, process: child } = dial({ logger: silentLogger, command: command ?? '', arguments: args });
    const answer = new Promise<string>((resolve) => session.start((payload) => resolve(payload.case)));
    session.send({
      case: 'workloadEndpointUpdate',
      value: create(WorkloadEndpointUpdateSchema, {
        id: { orchestratorId: 'k8s', workloadId: 'ns/pod', endpointId: 'eth0' },
        endpoint: { name: 'cali1', state: 'active' },
      }),
    });
    expect(await answer).toBe('workloadEndpointStatusUpdate');
    const exited = new Promise((resolve) => child.on('exit', resolve));
    await session.close();
    expect(await exited).toBe(0);
  });

  it('listen, driver waiting, exits on its own when the writer of fd 3 is killed', async () => {
    const child = spawn(
      'bash',
      ['-c', `"$@" 3< <(echo $BASHPID >&2; exec sleep 600) 4> >(cat >/dev/null)`, 'bash', ...node],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const writerPid = await new Promise<number>((resolve) =>
      child.stderr.once('data', (text: Buffer) => resolve(Number(text))),
    );
    const exited = new Promise((resolve) => child.on('exit', resolve));
    process.kill(writerPid, 'SIGKILL');
    expect(await exited).toBe(0);
  });
});
