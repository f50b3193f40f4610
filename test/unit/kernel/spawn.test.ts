// Commands as child processes: fixture programs fail, hang, flood and ignore their input.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { directRunner, MAX_OUTPUT_BYTES, NOT_STARTED, spawnCommand } from '../../../src/kernel/spawn.js';

const bin = (name: string): string => fileURLToPath(new URL(`../../fixtures/bin/${name}`, import.meta.url));

/** Whether any process of the group lives; a zombie that waits for its reaper does not. */
async function groupLives(group: number): Promise<boolean> {
  const { stdout } = await directRunner.run({ argv: ['ps', '-eo', 'pgid=,stat='] });
  return stdout.split('\n').some((line) => {
    const [pgid, stat] = line.trim().split(/\s+/);
    return Number(pgid) === group && stat !== undefined && !stat.startsWith('Z');
  });
}

describe('spawnCommand', () => {
  test('gives both streams and the exit code', async () => {
    const result = await spawnCommand({ argv: ['sh', '-c', 'cat; echo oops >&2; exit 7'], stdin: 'grüße\n' });
    expect(result).toMatchObject({ exitCode: 7, signal: null, stdout: 'grüße\n', stderr: 'oops\n', timedOut: false });
  });

  test('without stdin the child reads nothing', async () => {
    expect((await spawnCommand({ argv: ['cat'] })).stdout).toBe('');
  });

  test.each([70_000, 5_000_000])('passes %i bytes of input whole', async (length) => {
    const stdin = 'x'.repeat(length);
    expect((await spawnCommand({ argv: ['wc', '-c'], stdin })).stdout.trim()).toBe(String(length));
  });

  test('a missing program ends with 127 and the reason', async () => {
    const result = await spawnCommand({ argv: ['/nowhere/tool', 'x'], stdin: 'abc' });
    expect(result.exitCode).toBe(NOT_STARTED);
    expect(result.stderr).toContain('/nowhere/tool could not be started');
  });

  test('an empty argv ends with 127', async () => {
    expect((await spawnCommand({ argv: [] })).exitCode).toBe(NOT_STARTED);
  });

  test('an argv beyond the limit of the kernel ends with 127', async () => {
    expect((await spawnCommand({ argv: ['true', 'x'.repeat(4_000_000)] })).exitCode).toBe(NOT_STARTED);
  });

  test.each([10, 200_000])('a child that does not read its %i bytes is no error of ours', async (length) => {
    const result = await spawnCommand({ argv: [bin('deaf')], stdin: 'y'.repeat(length) });
    expect(result).toMatchObject({ exitCode: 3, stderr: 'no, thanks\n' });
  });

  test('a timeout kills the whole process group', async () => {
    const result = await spawnCommand({ argv: [bin('slow-reader')], stdin: 'z'.repeat(200_000), timeoutMs: 300 });
    expect(result).toMatchObject({ timedOut: true, signal: 'SIGKILL', exitCode: null });
    expect(await groupLives(Number(result.stdout.trim()))).toBe(false);
  });

  test('too much output kills the child and says so', async () => {
    const result = await spawnCommand({ argv: [bin('flood')] }, { maxBytes: 1_000_000 });
    expect(result.signal).toBe('SIGKILL');
    expect(result.stderr).toContain('printed more than 1000000 bytes');
    expect(result.stdout.length).toBeLessThanOrEqual(1_000_000);
    expect(MAX_OUTPUT_BYTES).toBe(268_435_456);
  });

  test('tools speak English', async () => {
    expect((await spawnCommand({ argv: ['sh', '-c', 'echo $LC_ALL'] })).stdout).toBe('C\n');
  });
});
