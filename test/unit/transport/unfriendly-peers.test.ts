// Peers that cost a service something: that never read, never speak, vanish, or show a certificate that is not let in.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LogFields, Logger } from '../../../src/base/logger.js';
import { WorkloadEndpointStatusUpdateSchema } from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { FromDataplanePayload } from '../../../src/protocol/session.js';
import * as grpc from '../../../src/transport/grpc.js';
import { MAX_SILENT } from '../../../src/transport/silent-peers.js';
import type { ControlSession, Listener } from '../../../src/transport/session.js';
import { driverCodec, newTransportCounters } from '../../../src/transport/session.js';
import { SinglePeer } from '../../../src/transport/single-peer.js';
import * as socket from '../../../src/transport/socket.js';
import { StreamConnection } from '../../../src/transport/stream-connection.js';
import type { StreamAddress, TlsFiles } from '../../../src/transport/stream-listener.js';
import { isUnanswered } from '../../../src/transport/tcp-state.js';
import { Collector, ipset, Sessions } from './contract.js';

const PROTOCOLS = ['frames', 'grpc'] as const;
const CERTIFICATES = join(import.meta.dirname, 'certs');

let folder: string;
let path: string;
let sessions: Sessions;
let warnings: { readonly message: string; readonly fields: LogFields | undefined }[];
const cleanups: (() => unknown)[] = [];
const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message, fields) => void warnings.push({ message, fields }),
  error: () => undefined,
  child: () => logger,
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fdp-peers-'));
  path = join(folder, 'driver.sock');
  sessions = new Sessions();
  warnings = [];
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(folder, { recursive: true, force: true });
});

async function listen(protocol: (typeof PROTOCOLS)[number], address: StreamAddress = { path }): Promise<Listener> {
  const options = { logger, address, takeOver: false, counters: newTransportCounters() };
  const listener =
    protocol === 'grpc'
      ? await grpc.listen({ ...options, healthAndReflection: false }, sessions.accept)
      : await socket.listen(options, sessions.accept);
  cleanups.push(() => listener.close());
  return listener;
}

async function dial(protocol: (typeof PROTOCOLS)[number], address: StreamAddress = { path }): Promise<ControlSession> {
  const control = await (protocol === 'grpc' ? grpc.dial({ logger, address }) : socket.dial({ logger, address }));
  cleanups.push(() => control.close(50));
  return control;
}

function status(endpointId: string, round: number): FromDataplanePayload {
  const value = create(WorkloadEndpointStatusUpdateSchema, { id: { endpointId }, status: { status: `${round}` } });
  return { case: 'workloadEndpointStatusUpdate', value };
}

describe.each(PROTOCOLS)('over %s', (protocol) => {
  it('a peer that never reads: half a million statuses cost one place for each endpoint', async () => {
    await listen(protocol);
    const control = await dial(protocol);
    const answers = new Collector<FromDataplanePayload>();
    control.start(answers.handler);
    control.send(ipset('hello'));
    const { session, messages } = await sessions.get(0);
    await messages.atLeast(1);
    control.pause('never reads');
    const [endpoints, rounds] = [1_000, 500];
    for (let round = 0; round < rounds; round += 1) {
      for (let index = 0; index < endpoints; index += 1) session.send(status(`${index}`, round));
      if (round % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(session.sendBacklog).toBe(endpoints);
    // What comes in is still taken: the loop does not wait for the reader.
    control.send(ipset('still there'));
    await messages.atLeast(2);
    control.resume();
    const last = new Map<string, string>();
    const take = (): void => {
      for (const one of answers.received.splice(0)) {
        if (one.case === 'workloadEndpointStatusUpdate')
          last.set(one.value.id?.endpointId ?? '', one.value.status?.status ?? '');
      }
    };
    while (last.size < endpoints || [...last.values()].some((round) => round !== `${rounds - 1}`)) {
      await answers.atLeast(1);
      take();
    }
  });

  it('peers that never speak: a control plane still gets in, the oldest of them makes room', async () => {
    await listen(protocol);
    const silent: ControlSession[] = [];
    for (let index = 0; index < MAX_SILENT + 4; index += 1) {
      const peer = await dial(protocol);
      peer.start(() => undefined);
      silent.push(peer);
    }
    await Promise.all(silent.slice(0, 4).map((peer) => peer.closed));
    expect(warnings.map(({ message }) => message)).toEqual(
      Array.from({ length: 4 }, () => 'A connection that never said anything makes room for a new one'),
    );
    const control = await dial(protocol);
    control.start(() => undefined);
    control.send(ipset('a'));
    await (await sessions.get(0)).messages.atLeast(1);
    expect(sessions.all).toHaveLength(1);
  });
});

describe('a peer without power', () => {
  const LINE =
    '   1: 0100007F:1E61 0200007F:C350 01 00000000:00000000 01:00000012 00000000     0        0 8 2 x 20 4 30 10 -1';

  it.each([
    ['is there', LINE, false],
    ['leaves three messages unanswered', LINE.replace('00000000     0        0', '00000003     0        0'), true],
    ['leaves three probes unanswered', LINE.replace('0        0 8', '0        3 8'), true],
    ['is another one', LINE.replace('C350', 'C351'), null],
    ['has hung up', LINE.replace(' 01 00000000', ' 08 00000000').replace('00000000     0', '00000009     0'), false],
  ])('%s', (_what, line, unanswered) => {
    expect(isUnanswered(line, 0x1e61, 0xc350)).toBe(unanswered);
  });

  it('makes room for the next one, and only when the kernel says so', () => {
    const accepted: string[] = [];
    let isGone = false;
    const peers = new SinglePeer({ accept: (session) => accepted.push(session.description), logger, takeOver: false });
    const refused: string[] = [];
    const candidate = (description: string) => ({
      description,
      open: () => {
        const stream = connect({ path: join(folder, 'none') }) as Socket;
        stream.on('error', () => undefined);
        return new StreamConnection({ description, readable: stream, writable: stream }, driverCodec({ logger }), {
          logger,
        });
      },
      refuse: () => refused.push(description),
      isGone: () => isGone,
    });
    peers.admit(candidate('first'));
    peers.admit(candidate('second'));
    isGone = true;
    peers.admit(candidate('third'));
    expect(accepted).toEqual(['first', 'third']);
    expect(refused).toEqual(['second']);
    expect(warnings.at(-1)?.message).toBe('A control plane that no longer answers makes room for another');
  });
});

function tls(name: string, ca = 'ca'): TlsFiles {
  const file = (base: string): string => join(CERTIFICATES, base);
  return { certFile: file(`${name}.crt`), keyFile: file(`${name}.key`), caFile: file(`${ca}.crt`), peerNames: [] };
}

/** Connects, says something and waits until that has ended. */
async function refused(protocol: (typeof PROTOCOLS)[number], port: number, name: string | null): Promise<void> {
  if (name === null) {
    const stranger = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    stranger.on('error', () => undefined);
    stranger.on('secureConnect', () => stranger.write('hello'));
    await new Promise((resolve) => stranger.on('close', resolve));
    return;
  }
  const ended = await dial(protocol, { host: '127.0.0.1', port, tls: { ...tls(name), peerNames: ['driver'] } }).then(
    async (control) => {
      control.start(() => undefined);
      control.send(ipset('x'));
      return (await control.closed).kind;
    },
    () => 'not connected',
  );
  expect(['not connected', 'eof', 'error']).toContain(ended);
}

describe.each(PROTOCOLS)('TLS over %s', (protocol) => {
  it.each([
    ['expired', 'expired', 'expired', /CERT_HAS_EXPIRED/],
    ['of another authority', 'impostor', 'ca', /UNABLE_TO|SELF_SIGNED/],
    ['missing', null, 'ca', /no certificate/],
  ])('a certificate that is %s: the log says so, and the next one gets in', async (_what, name, trusted, reason) => {
    const listener = await listen(protocol, { host: '127.0.0.1', port: 0, tls: tls('driver', trusted) });
    const port = Number(/:(\d+)$/.exec(listener.address)?.[1]);
    await refused(protocol, port, name);
    expect(sessions.all).toHaveLength(0);
    const reasons = warnings
      .filter(({ message }) => message === 'A TLS client was refused')
      .map(({ fields }) => String(fields?.['reason']));
    expect(reasons.join()).toMatch(reason);
    await listener.close();
    const good = await listen(protocol, { host: '127.0.0.1', port: 0, tls: tls('driver') });
    const address = { host: '127.0.0.1', port: Number(/:(\d+)$/.exec(good.address)?.[1]) };
    const control = await dial(protocol, { ...address, tls: { ...tls('felix'), peerNames: ['driver'] } });
    control.start(() => undefined);
    control.send(ipset('y'));
    await (await sessions.get(0)).messages.atLeast(1);
  });

  it('the ticket of an earlier connection is no certificate', async () => {
    const listener = await listen(protocol, { host: '127.0.0.1', port: 0, tls: tls('driver') });
    const target = {
      host: '127.0.0.1',
      port: Number(/:(\d+)$/.exec(listener.address)?.[1]),
      rejectUnauthorized: false,
    };
    const friend = connectTls({
      ...target,
      cert: readFileSync(join(CERTIFICATES, 'felix.crt')),
      key: readFileSync(join(CERTIFICATES, 'felix.key')),
    });
    cleanups.push(() => friend.destroy());
    friend.on('error', () => undefined).resume();
    const session = await new Promise<Buffer>((resolve) => friend.once('session', resolve));
    const stranger = connectTls({ ...target, session });
    stranger.on('error', () => undefined).resume();
    await new Promise((resolve) => stranger.on('close', resolve));
    const refusals = warnings.filter(({ message }) => message === 'A TLS client was refused');
    expect(refusals.map(({ fields }) => String(fields?.['reason'])).join()).toContain('a resumed session');
    expect(sessions.all).toHaveLength(0);
  });

  it('a service whose certificate ran out is not spoken to, with the reason', async () => {
    const listener = await listen(protocol, { host: '127.0.0.1', port: 0, tls: tls('expired') });
    const port = Number(/:(\d+)$/.exec(listener.address)?.[1]);
    const address = { host: '127.0.0.1', port, tls: { ...tls('felix', 'expired'), peerNames: ['felix'] } };
    const error = await dial(protocol, address).then(
      async (control) => {
        control.start(() => undefined);
        control.send(ipset('x'));
        const reason = await control.closed;
        return reason.kind === 'error' ? reason.error.message : reason.kind;
      },
      (thrown: unknown) => String(thrown),
    );
    expect(error).toMatch(/expired/);
    expect(sessions.all).toHaveLength(0);
  });
});
