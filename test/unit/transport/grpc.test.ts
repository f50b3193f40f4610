// What only gRPC has: health, reflection, and statuses that tell the peer why.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import * as grpc from '../../../src/transport/grpc.js';
import type { Listener } from '../../../src/transport/session.js';
import { ipset, Sessions } from './contract.js';

const logger = silentLogger;
const pass = (bytes: Buffer): Buffer => bytes;
let folder: string;
let path: string;
let listener: Listener | null;
let sessions: Sessions;
let client: Client;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fdp-grpc-'));
  path = join(folder, 'driver.sock');
  sessions = new Sessions();
  client = new Client(`unix:${path}`, credentials.createInsecure());
});
afterEach(async () => {
  client.close();
  await Promise.all(sessions.all.map((session) => session.close(50)));
  await listener?.close();
  listener = null;
  rmSync(folder, { recursive: true, force: true });
});

async function listen(options: {
  takeOver?: boolean;
  healthAndReflection?: boolean;
  maxFrameBytes?: number;
}): Promise<void> {
  const { takeOver = false, healthAndReflection = false, ...rest } = options;
  listener = await grpc.listen({ logger, address: { path }, takeOver, healthAndReflection, ...rest }, sessions.accept);
}

describe('gRPC transport', () => {
  it('health asked for, says SERVING', async () => {
    await listen({ healthAndReflection: true });
    const answer = await new Promise<Buffer | undefined>((resolve, reject) => {
      client.makeUnaryRequest('/grpc.health.v1.Health/Check', pass, pass, Buffer.alloc(0), (error, value) =>
        error === null ? resolve(value) : reject(error),
      );
    });
    expect([...(answer ?? [])]).toEqual([0x08, 0x01]);
  });

  it('reflection asked for, lists the service and gives its file', async () => {
    await listen({ healthAndReflection: true });
    const ask = (request: Buffer): Promise<string> =>
      new Promise((resolve, reject) => {
        const call = client.makeBidiStreamRequest(
          '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
          pass,
          pass,
          new Metadata(),
          {},
        );
        call.on('data', (answer: Buffer) => {
          resolve(answer.toString('latin1'));
          call.end();
        });
        call.on('error', reject);
        call.write(request);
      });
    const field = (number: number, text: string): Buffer =>
      Buffer.from([number * 8 + 2, text.length, ...Buffer.from(text)]);
    expect(await ask(field(7, '*'))).toContain(grpc.SERVICE_NAME);
    expect(await ask(field(4, grpc.SERVICE_NAME))).toContain('felix/dataplane/v1/service.proto');
    expect(await ask(field(4, 'felix.ToDataplane'))).toContain('IPSetDeltaUpdate');
  });

  it('second control plane, is told who is connected', async () => {
    await listen({});
    const first = await grpc.dial({ logger, address: { path } });
    first.start(() => undefined);
    first.send(ipset('a'));
    await (await sessions.get(0)).messages.atLeast(1);
    const second = await grpc.dial({ logger, address: { path } });
    second.start(() => undefined);
    second.send(ipset('b'));
    expect(await second.closed).toMatchObject({
      kind: 'error',
      error: { code: 6, details: expect.stringContaining('another control plane is connected') },
    });
    await first.close();
  });

  it('message that is none, ends with INVALID_ARGUMENT and its place', async () => {
    await listen({});
    const { call } = grpc.openStream({ path });
    const ended = new Promise<{ code: number; details: string }>((resolve) => call.on('status', resolve));
    call.on('error', () => undefined);
    call.on('data', () => undefined);
    call.write(Buffer.from([0x78, 0x01]));
    call.write(Buffer.from([0xff]));
    const { code, details } = await ended;
    expect(code).toBe(3);
    expect(details).toContain('Frame 1 at byte 2');
  });
});
