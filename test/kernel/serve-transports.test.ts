// One recording through every transport ends, step by step, in the same kernel state and the same statuses.
import { join } from 'node:path';
import { create, fromBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/base/logger.js';
import {
  type FromDataplane,
  FromDataplaneSchema,
  ToDataplaneSchema,
} from '../../src/protocol/gen/felix/felixbackend_pb.js';
import type { ControlSession } from '../../src/protocol/session.js';
import * as grpc from '../../src/transport/grpc.js';
import * as socket from '../../src/transport/socket.js';
import { loadRecording } from '../fixtures/recording.js';
import { FakeFelix } from './support/fake-felix.js';
import { DIFFERENCES } from './support/differences.js';
import { expectState } from './support/kernel-state.js';
import { createNamespace, type Namespace } from './support/namespace.js';
import { EXECUTABLE, Program, temporaryFolder } from './support/program.js';
import { expectedDump, recordingFrames } from './support/replay.js';

const MODE = 'nftables';
const RELAY = join(import.meta.dirname, '../../bin/felix-dataplane-relay');
const CERTIFICATES = join(import.meta.dirname, '../unit/transport/certs');
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function tls(name: string, variables: boolean): [string, string][] {
  const names = variables
    ? ['DATAPLANE_TLS_CERT', 'DATAPLANE_TLS_KEY', 'DATAPLANE_TLS_CA']
    : ['--tls-cert', '--tls-key', '--tls-ca'];
  const files = [`${name}.crt`, `${name}.key`, 'ca.crt'];
  return names.map((option, index) => [option, join(CERTIFICATES, files[index] ?? '')]);
}

/** What a test talks to the driver with. */
interface Driven {
  readonly received: readonly FromDataplane[];
  send(frames: readonly Buffer[]): void;
  describe(): string;
}

interface Place {
  readonly namespace: Namespace;
  readonly folder: string;
}

async function startService(place: Place, args: readonly string[]): Promise<Program> {
  const service = new Program(['serve', ...args], { enter: place.namespace.enter });
  cleanups.push(() => service.stop());
  await service.logged('felix-dataplane serves');
  return service;
}

function dialled(session: ControlSession, service: Program): Driven {
  cleanups.push(() => session.close());
  const received: FromDataplane[] = [];
  session.start((payload) => received.push(create(FromDataplaneSchema, { payload })));
  return {
    received,
    describe: () => service.transcript(),
    send: (frames) => {
      for (const frame of frames) {
        const { payload } = fromBinary(ToDataplaneSchema, frame);
        if (payload.case !== undefined) session.send(payload);
      }
    },
  };
}

function felix(place: Place, driver: string, environment: Record<string, string>, service?: Program): Driven {
  const fake = new FakeFelix({ driver, enter: place.namespace.enter, environment });
  cleanups.push(() => fake.terminate());
  return {
    received: fake.received,
    send: (frames) => fake.send(frames),
    describe: () => `${service?.transcript() ?? ''}\n${fake.output.slice(-4_000)}`,
  };
}

async function relayed(place: Place, args: readonly string[], environment: Record<string, string>): Promise<Driven> {
  const service = await startService(place, args);
  return felix(place, RELAY, environment, service);
}

const unix = (place: Place): string => `unix:${place.folder}/driver.sock`;
const TLS_ADDRESS = '127.0.0.1:9443';
const tlsService = ['--listen', TLS_ADDRESS, ...tls('driver', false).flat(), '--tls-peer', 'felix'];
const tlsRelay = {
  DATAPLANE_SERVICE: TLS_ADDRESS,
  DATAPLANE_TLS_PEER: 'driver',
  ...Object.fromEntries(tls('felix', true)),
};

const TRANSPORTS: Record<string, (place: Place) => Promise<Driven> | Driven> = {
  'the pipes of Felix': (place) => felix(place, EXECUTABLE, {}),
  'a unix socket': async (place) => {
    const service = await startService(place, ['--listen', unix(place)]);
    const address = { path: join(place.folder, 'driver.sock') };
    return dialled(await socket.dial({ address, logger: silentLogger }), service);
  },
  'gRPC on a unix socket': async (place) => {
    const service = await startService(place, ['--listen', unix(place), '--grpc']);
    const address = { path: join(place.folder, 'driver.sock') };
    return dialled(await grpc.dial({ address, logger: silentLogger }), service);
  },
  'relay and unix socket': (place) => relayed(place, ['--listen', unix(place)], { DATAPLANE_SERVICE: unix(place) }),
  'relay and gRPC': (place) =>
    relayed(place, ['--listen', unix(place), '--grpc'], {
      DATAPLANE_SERVICE: unix(place),
      DATAPLANE_SERVICE_GRPC: 'true',
    }),
  'relay and TLS': (place) => relayed(place, tlsService, tlsRelay),
  'relay and gRPC over TLS': (place) =>
    relayed(place, [...tlsService, '--grpc'], { ...tlsRelay, DATAPLANE_SERVICE_GRPC: 'true' }),
};

describe.each(['pod-lifecycle', 'dual-stack'])('recording %s', (name) => {
  test.each(Object.keys(TRANSPORTS))('through %s ends each step in the recorded state', async (transport) => {
    const namespace = await createNamespace('transport');
    cleanups.push(() => namespace.remove());
    const folder = temporaryFolder();
    cleanups.push(() => folder.remove());
    const recording = loadRecording(name);
    await namespace.shell(recording.hostScript);
    const driven = await TRANSPORTS[transport]?.({ namespace, folder: folder.path });
    if (driven === undefined) throw new Error(`No transport ${transport}`);
    const { received, describe: describeFault } = driven;
    const frames = recordingFrames(recording, MODE);
    let sent = 0;
    for (const [index, step] of recording.steps.steps.entries()) {
      const firstMessage = received.length;
      driven.send(frames.slice(sent, step.frames));
      sent = step.frames;
      const wanted = expectedDump(recording, MODE, `${String(index).padStart(2, '0')}-${step.name}`, DIFFERENCES[MODE]);
      await expectState({ namespace, mode: MODE, received, firstMessage, describe: describeFault }, wanted);
    }
    expect(sent).toBe(frames.length);
  });
});
