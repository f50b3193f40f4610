import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import { fetchExposition } from '../../../src/transport/exposition-client.js';
import {
  type HttpStatusAddress,
  type HttpStatusServer,
  type HttpStatusSource,
  serveHttpStatus,
} from '../../../src/transport/http-status.js';

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

let folder: string;
let server: HttpStatusServer | null = null;
let isReady = true;
const source: HttpStatusSource = {
  liveness: () => [{ name: 'loop', ok: true, detail: '' }],
  readiness: () => [
    { name: 'loop', ok: true, detail: '' },
    { name: 'in sync', ok: isReady, detail: isReady ? '' : 'no apply yet' },
  ],
  metrics: () => Promise.resolve('felix_ipset_calls 1\n'),
  debugState: () => {
    throw new Error('state is not available');
  },
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fdp-http-'));
  isReady = true;
});
afterEach(async () => {
  await server?.close();
  server = null;
  rmSync(folder, { recursive: true, force: true });
});

async function start(address: HttpStatusAddress, allowRemote = false): Promise<HttpStatusServer> {
  server = await serveHttpStatus({ address, source, logger: silentLogger, allowRemote });
  return server;
}

function get(address: string, path: string, method = 'GET'): Promise<Reply> {
  const target = address.startsWith('unix:')
    ? { socketPath: address.slice('unix:'.length) }
    : { host: new URL(address).hostname, port: new URL(address).port };
  return new Promise((resolve, reject) => {
    const sent = request({ ...target, path, method }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers['content-type'] ?? '',
          body: Buffer.concat(chunks).toString('utf8'),
        }),
      );
    });
    sent.on('error', reject);
    sent.end();
  });
}

describe('serveHttpStatus', () => {
  it('loopback port, answers health, readiness and metrics', async () => {
    const { address } = await start({ host: '127.0.0.1', port: 0 });
    expect(await get(address, '/liveness')).toMatchObject({ status: 200, body: 'ok   loop\n' });
    expect(await get(address, '/readiness')).toMatchObject({ status: 200 });
    isReady = false;
    expect(await get(address, '/readiness')).toMatchObject({
      status: 503,
      body: 'ok   loop\nFAIL in sync: no apply yet\n',
    });
    expect(await get(address, '/metrics?x=1')).toEqual({
      status: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      body: 'felix_ipset_calls 1\n',
    });
  });

  it('callback that throws, unknown path and other methods, are told so', async () => {
    const { address } = await start({ host: 'localhost', port: 0 });
    expect(await get(address, '/debug/state')).toMatchObject({ status: 500, body: 'state is not available\n' });
    expect(await get(address, '/etc/passwd')).toMatchObject({ status: 404 });
    expect(await get(address, '/metrics', 'POST')).toMatchObject({ status: 405 });
  });

  it('unix socket, is open to our user only', async () => {
    const path = join(folder, 'status.sock');
    const { address } = await start({ path });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await get(address, '/liveness')).toMatchObject({ status: 200 });
  });

  it('unix socket in use, or a file, or in an open folder, is refused', async () => {
    const path = join(folder, 'status.sock');
    await start({ path });
    await expect(serveHttpStatus({ address: { path }, source, logger: silentLogger })).rejects.toThrow('listens on it');
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await expect(serveHttpStatus({ address: { path: file }, source, logger: silentLogger })).rejects.toThrow(
      'no socket',
    );
    chmodSync(folder, 0o777);
    const open = join(folder, 'open.sock');
    await expect(serveHttpStatus({ address: { path: open }, source, logger: silentLogger })).rejects.toThrow(
      'other users',
    );
  });

  it('address beyond loopback, is refused unless asked for', async () => {
    await expect(start({ host: '0.0.0.0', port: 0 })).rejects.toThrow('not a loopback address');
    const { address } = await start({ host: '0.0.0.0', port: 0 }, true);
    expect(await get(address.replace('0.0.0.0', '127.0.0.1'), '/liveness')).toMatchObject({ status: 200 });
  });
});

describe('fetchExposition', () => {
  it('page of a server, comes as text; no page and no server are errors that name the address', async () => {
    const { address } = await start({ host: '127.0.0.1', port: 0 });
    expect(await fetchExposition(`${address}/metrics`)).toBe('felix_ipset_calls 1\n');
    await expect(fetchExposition(`${address}/nothing`)).rejects.toThrow(`${address}/nothing: status 404`);
    await server?.close();
    server = null;
    await expect(fetchExposition(`${address}/metrics`)).rejects.toThrow(`${address}/metrics: `);
  });
});
