// The broker process: parallel commands, its death, and what a dying daemon leaves behind.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ToolError } from '../../../src/base/errors.js';
import { silentLogger } from '../../../src/base/logger.js';
import { type Broker, startBroker } from '../../../src/kernel/broker.js';
import { BROKER_ENTRY, startTestBroker } from '../../fakes/broker.js';

const brokers: Broker[] = [];
const open = (): Broker => {
  const broker = startTestBroker();
  brokers.push(broker);
  return broker;
};

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.close();
});

/** Process id of the broker: the parent of what it runs. */
async function brokerPid(broker: Broker): Promise<number> {
  return Number((await broker.run({ argv: ['sh', '-c', 'echo $PPID'] })).stdout);
}

describe('startBroker', () => {
  test('runs commands and keeps answers apart', async () => {
    const broker = open();
    const results = await Promise.all(
      ['a', 'b', 'c', 'd'].map((text) => broker.run({ argv: ['cat'], stdin: text.repeat(100_000) })),
    );
    expect(results.map((result) => result.stdout.length)).toEqual([100_000, 100_000, 100_000, 100_000]);
    expect(results.map((result) => result.stdout[0])).toEqual(['a', 'b', 'c', 'd']);
  });

  test('runs commands at the same time: one waits for what the other writes', async () => {
    const broker = open();
    const folder = await mkdtemp(join(tmpdir(), 'fdp-broker-'));
    const fifo = join(folder, 'fifo');
    await broker.run({ argv: ['mkfifo', fifo] });
    const reader = broker.run({ argv: ['cat', fifo] });
    const writer = broker.run({ argv: ['sh', '-c', `echo met > ${fifo}`] });
    expect((await reader).stdout).toBe('met\n');
    await writer;
    await rm(folder, { recursive: true });
  });

  test('a command fails as in-process: exit code, signal, missing program', async () => {
    const broker = open();
    expect((await broker.run({ argv: ['sh', '-c', 'exit 4'] })).exitCode).toBe(4);
    expect((await broker.run({ argv: ['sh', '-c', 'kill -9 $$'] })).signal).toBe('SIGKILL');
    expect((await broker.run({ argv: ['/nowhere/tool'] })).exitCode).toBe(127);
    expect((await broker.run({ argv: ['sleep', '100'], timeoutMs: 100 })).timedOut).toBe(true);
  });

  test('a dead broker fails what is under way and serves the next command', async () => {
    const broker = open();
    const pid = await brokerPid(broker);
    const hanging = broker.run({ argv: ['sleep', '5'] });
    process.kill(pid, 'SIGKILL');
    await expect(hanging).rejects.toThrow(ToolError);
    await expect(hanging).rejects.toThrow(/outcome is unknown/);
    expect(await brokerPid(broker)).not.toBe(pid);
  });

  test('ignores SIGTERM: the daemon decides', async () => {
    const broker = open();
    const pid = await brokerPid(broker);
    process.kill(pid, 'SIGTERM');
    process.kill(pid, 'SIGHUP');
    expect(await brokerPid(broker)).toBe(pid);
  });

  test('an entry that cannot be started rejects every command with the reason', async () => {
    const broker = startBroker({ entry: ['/nowhere/node'], log: silentLogger });
    await expect(broker.run({ argv: ['true'] })).rejects.toThrow(/could not be started.*ENOENT/);
    await expect(broker.run({ argv: ['true'] })).rejects.toThrow(/could not be started/);
    await broker.close();
  });

  test('after close commands reject', async () => {
    const broker = startTestBroker();
    await broker.close();
    await expect(broker.run({ argv: ['true'] })).rejects.toThrow(/is closed/);
  });
});

describe('runBroker', () => {
  test('finishes a running command when the daemon dies, then exits', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fdp-broker-'));
    const started = join(folder, 'started');
    const file = join(folder, 'done');
    const [program = '', ...args] = BROKER_ENTRY;
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], serialization: 'advanced' });
    const exited = new Promise<number | null>((resolve) => {
      child.once('exit', resolve);
    });
    const script = `touch ${started}; cat > ${file}.tmp; sleep 0.3; mv ${file}.tmp ${file}`;
    const stdin = 'whole input '.repeat(50_000);
    child.send({ kind: 'run', id: 1, command: { argv: ['sh', '-c', script], stdin } });
    await vi.waitFor(() => readFile(started), { timeout: 10_000 });
    child.disconnect();
    expect(await exited).toBe(0);
    expect((await readFile(file, 'utf8')).length).toBe(stdin.length);
    await rm(folder, { recursive: true });
  });

  test('kills a command that hangs when the daemon is gone, with all that it started, then exits', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fdp-broker-'));
    const file = join(folder, 'pid');
    const [program = '', ...args] = BROKER_ENTRY;
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], serialization: 'advanced' });
    const exited = new Promise<number | null>((resolve) => {
      child.once('exit', resolve);
    });
    const script = `sleep 300 & echo $! > ${file}.tmp; mv ${file}.tmp ${file}; wait`;
    child.send({ kind: 'run', id: 1, command: { argv: ['sh', '-c', script] } });
    await vi.waitFor(() => readFile(file), { timeout: 10_000 });
    const pid = Number(await readFile(file, 'utf8'));
    child.disconnect();
    expect(await exited).toBe(0);
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), { timeout: 10_000 });
    await rm(folder, { recursive: true });
  });
});
