// The contract over every transport with a listener, and what is special to each.
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import * as grpc from '../../../src/transport/grpc.js';
import * as memory from '../../../src/transport/memory.js';
import type { Listener } from '../../../src/transport/session.js';
import * as socket from '../../../src/transport/socket.js';
import type { StreamAddress, TlsFiles } from '../../../src/transport/stream-listener.js';
import { describeTransport, ipset, Sessions } from './contract.js';

const certs = join(import.meta.dirname, 'certs');

function tlsFiles(name: string, peerNames: readonly string[], ca = 'ca'): TlsFiles {
  const file = (base: string): string => join(certs, base);
  return { certFile: file(`${name}.crt`), keyFile: file(`${name}.key`), caFile: file(`${ca}.crt`), peerNames };
}

/** The port that a listener found, from its address. */
function portOf(listener: Listener): number {
  return Number(/:(\d+)$/.exec(listener.address)?.[1]);
}

function unixFolder(): { readonly path: string; cleanUp(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'fdp-unix-'));
  return { path: join(folder, 'driver.sock'), cleanUp: () => rmSync(folder, { recursive: true, force: true }) };
}

describeTransport('memory', () => {
  const hub = new memory.MemoryHub();
  return {
    listen: (options, accept) => memory.listen({ ...options, hub }, accept),
    dial: (options) => memory.dial({ ...options, hub }),
    cleanUp: () => undefined,
  };
});

for (const [name, transport] of [
  ['socket', socket],
  [
    'gRPC',
    {
      ...grpc,
      listen: (options: socket.SocketListenOptions, accept: Parameters<typeof grpc.listen>[1]) =>
        grpc.listen({ ...options, healthAndReflection: false }, accept),
    },
  ],
] as const) {
  describeTransport(`${name} (unix)`, () => {
    const { path, cleanUp } = unixFolder();
    return {
      listen: (options, accept) => transport.listen({ ...options, address: { path } }, accept),
      dial: (options) => transport.dial({ ...options, address: { path } }),
      cleanUp,
    };
  });

  describeTransport(`${name} (mutual TLS)`, () => {
    let port = 0;
    return {
      listen: async (options, accept) => {
        const address = { host: '127.0.0.1', port: 0, tls: tlsFiles('driver', ['felix']) };
        const listener = await transport.listen({ ...options, address }, accept);
        port = portOf(listener);
        return listener;
      },
      dial: (options) =>
        transport.dial({ ...options, address: { host: '127.0.0.1', port, tls: tlsFiles('felix', ['driver']) } }),
      cleanUp: () => undefined,
    };
  });
}

describe('socket transport, who is let in', () => {
  let unix: ReturnType<typeof unixFolder>;
  let listener: Listener | null = null;
  const logger = silentLogger;
  const sessions = new Sessions();

  beforeEach(() => {
    unix = unixFolder();
  });
  afterEach(async () => {
    await listener?.close();
    listener = null;
    unix.cleanUp();
  });

  async function listen(address: StreamAddress): Promise<Listener> {
    listener = await socket.listen({ logger, address, takeOver: false }, sessions.accept);
    return listener;
  }

  it('unix socket, has mode 0600 and goes away with the listener', async () => {
    await listen({ path: unix.path });
    expect(statSync(unix.path).mode & 0o777).toBe(0o600);
    await listener?.close();
    expect(existsSync(unix.path)).toBe(false);
  });

  it('unix socket left by a dead process, is replaced', async () => {
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(unix.path, resolve));
    // A hard link keeps the file when the server removes its own name, as if it had been killed.
    const { linkSync, renameSync } = await import('node:fs');
    linkSync(unix.path, `${unix.path}.kept`);
    await new Promise((resolve) => dead.close(resolve));
    renameSync(`${unix.path}.kept`, unix.path);
    await listen({ path: unix.path });
    const control = await socket.dial({ logger, address: { path: unix.path } });
    await control.close();
  });

  it('unix socket in use, a plain file in its place, an open folder: each is refused', async () => {
    await listen({ path: unix.path });
    await expect(
      socket.listen({ logger, address: { path: unix.path }, takeOver: true }, sessions.accept),
    ).rejects.toThrow('another process listens');
    const file = `${unix.path}.file`;
    writeFileSync(file, '');
    await expect(socket.listen({ logger, address: { path: file }, takeOver: true }, sessions.accept)).rejects.toThrow(
      'no socket',
    );
    await expect(socket.dial({ logger, address: { path: file } })).rejects.toThrow('not a socket');
    chmodSync(join(unix.path, '..'), 0o777);
    const open = { path: `${unix.path}.open` };
    await expect(socket.listen({ logger, address: open, takeOver: true }, sessions.accept)).rejects.toThrow(
      'other users',
    );
  });

  it('plain TCP, only on loopback', async () => {
    const far = { host: '10.0.0.1', port: 0, plaintext: true } as const;
    await expect(socket.listen({ logger, address: far, takeOver: false }, sessions.accept)).rejects.toThrow(
      'mutual TLS',
    );
    await expect(socket.dial({ logger, address: far })).rejects.toThrow('mutual TLS');
    const made = await listen({ host: '127.0.0.1', port: 0, plaintext: true });
    expect(made.address).toMatch(/^tcp:127\.0\.0\.1:\d+$/);
    const control = await socket.dial({ logger, address: { host: '127.0.0.1', port: portOf(made), plaintext: true } });
    await control.close();
  });

  it.each([
    ['certificate of another CA', tlsFiles('impostor', ['driver'])],
    ['right CA, wrong name', tlsFiles('stranger', ['driver'])],
  ])('TLS client with %s, never becomes a session', async (_, tls) => {
    const made = await listen({ host: '127.0.0.1', port: 0, tls: tlsFiles('driver', ['felix']) });
    const before = sessions.all.length;
    const outcome = await socket
      .dial({ logger, address: { host: '127.0.0.1', port: portOf(made), tls } })
      .then(async (control) => {
        control.start(() => undefined);
        control.send(ipset('x'));
        return (await control.closed).kind;
      })
      .catch(() => 'not connected');
    expect(['not connected', 'eof', 'error']).toContain(outcome);
    expect(sessions.all).toHaveLength(before);
  });

  it('TLS client without a certificate, or without TLS, never becomes a session', async () => {
    const made = await listen({ host: '127.0.0.1', port: 0, tls: tlsFiles('driver', []) });
    const before = sessions.all.length;
    const plain = connect({ host: '127.0.0.1', port: portOf(made) });
    plain.on('error', () => undefined);
    plain.write(Buffer.from('hello, driver, this is not TLS'));
    await new Promise((resolve) => plain.on('close', resolve));
    expect(sessions.all).toHaveLength(before);
  });

  it('server with a certificate for another name, is not spoken to', async () => {
    const made = await listen({ host: '127.0.0.1', port: 0, tls: tlsFiles('stranger', []) });
    const address = { host: '127.0.0.1', port: portOf(made), tls: tlsFiles('felix', ['driver']) };
    await expect(socket.dial({ logger, address })).rejects.toThrow();
  });
});
