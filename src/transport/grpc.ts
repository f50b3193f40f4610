// Transport over gRPC: felix.dataplane.v1.DataplaneService/Connect, one bidirectional stream per control plane, on a
// unix socket or TCP with mutual TLS. Messages are handed on as bytes, so that decoding, counting and errors are those
// of the other transports.
import {
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';
import { errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { CloseReason } from '../protocol/session.js';
import { oneMessagePerChunk } from './framing.js';
import { checkSocketOwner } from './listening.js';
import {
  type ConnectionOptions,
  controlCodec,
  type ControlSession,
  driverCodec,
  type Listener,
  type SessionAcceptor,
} from './session.js';
import { SilentPeers } from './silent-peers.js';
import { SinglePeer } from './single-peer.js';
import { StreamConnection } from './stream-connection.js';
import { formatAddress, listenForStreams, type StreamAddress } from './stream-listener.js';

/** Full name of the service. */
export const SERVICE_NAME = 'felix.dataplane.v1.DataplaneService';
const CONNECT_PATH = `/${SERVICE_NAME}/Connect`;

const passBytes = (bytes: Buffer): Buffer => bytes;

/** The service with bytes in place of messages. */
export const SERVICE: ServiceDefinition = {
  Connect: {
    path: CONNECT_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: passBytes,
    requestDeserialize: passBytes,
    responseSerialize: passBytes,
    responseDeserialize: passBytes,
  },
};

/** No limit of gRPC's own on a message (its default is 4 MiB, far below a large set); ours is maxFrameBytes. */
const CHANNEL_OPTIONS = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  // A peer that vanished without a word (power loss) is noticed within half a minute.
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

/** A connection without a call on it takes a place for so long. */
const IDLE_CONNECTION_MS = 60_000;

/** gRPC options of both ends. */
export interface GrpcOptions extends ConnectionOptions {
  readonly address: StreamAddress;
}

/** Options of the driver's end. */
export interface GrpcListenOptions extends GrpcOptions {
  readonly takeOver: boolean;
  /** Also serve grpc.health.v1 and server reflection, for grpcurl and probes. */
  readonly healthAndReflection: boolean;
}

/** The status that a control plane gets when its stream ends. */
function statusOf(reason: CloseReason): { readonly code: status; readonly details: string } {
  switch (reason.kind) {
    case 'eof':
    case 'closed':
      return { code: status.OK, details: '' };
    case 'replaced':
      return { code: status.ABORTED, details: 'another control plane took over' };
    case 'error': {
      const isTheirs = 'kind' in reason.error && reason.error.kind === 'protocol';
      return { code: isTheirs ? status.INVALID_ARGUMENT : status.INTERNAL, details: reason.error.message };
    }
  }
}

type ServerCall = ServerDuplexStream<Buffer, Buffer>;

function endCall(call: ServerCall, code: status, details: string): void {
  if (code === status.OK) call.end();
  // This is how grpc-js takes a status for a stream; the call ends with it.
  else call.emit('error', { code, details });
}

function openServerSession(call: ServerCall, description: string, options: ConnectionOptions) {
  const pair = {
    description,
    readable: call,
    writable: call,
    framing: oneMessagePerChunk(options.maxFrameBytes),
    hangUp: (reason: CloseReason) => {
      const { code, details } = statusOf(reason);
      endCall(call, code, details);
    },
  };
  const session = new StreamConnection(pair, driverCodec(options), options);
  call.on('cancelled', () => session.peerGone());
  return session;
}

/**
 * Serves control planes. A call becomes a session with its first message; while one is open, a second one ends with
 * ALREADY_EXISTS or takes over.
 */
export async function listen(options: GrpcListenOptions, accept: SessionAcceptor): Promise<Listener> {
  const { address, logger, takeOver } = options;
  const peers = new SinglePeer({ accept, logger, takeOver });
  const silent = new SilentPeers(logger);
  const server = new Server({ ...CHANNEL_OPTIONS, 'grpc.max_connection_idle_ms': IDLE_CONNECTION_MS });
  server.addService(SERVICE, {
    Connect: (call: ServerCall) => {
      const description = `grpc ${call.getPeer()}`;
      silent.add(call, description, (reason) => endCall(call, status.RESOURCE_EXHAUSTED, reason));
      call.once('cancelled', () => silent.remove(call));
      call.once('readable', () => {
        silent.remove(call);
        if (call.readableLength === 0) {
          endCall(call, status.OK, '');
          return;
        }
        peers.admit({
          description,
          open: () => openServerSession(call, description, options),
          refuse: (reason) => endCall(call, status.ALREADY_EXISTS, reason),
        });
      });
    },
  });
  if (options.healthAndReflection) await addHealthAndReflection(server, logger);
  // The streams are our own listener's, so that modes, owners and certificates are checked in one place.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = await listenForStreams({
    address,
    alpn: ['h2'],
    logger,
    onStream: (socket, _description, claim) => {
      claim();
      injector.injectConnection(socket);
    },
  });
  return {
    address: `grpc+${listener.address}`,
    close: async () => {
      await listener.close();
      void peers.whenIdle().then(() => injector.destroy());
    },
  };
}

/** Both need files of their packages, which a bundle may lack; the feed does not depend on them. */
async function addHealthAndReflection(server: Server, logger: Logger): Promise<void> {
  try {
    const [{ HealthImplementation }, { ReflectionService }, { descriptorFiles }] = await Promise.all([
      import('grpc-health-check'),
      import('@grpc/reflection'),
      import('../protocol/descriptors.js'),
    ]);
    new HealthImplementation({ '': 'SERVING', [SERVICE_NAME]: 'SERVING' }).addToServer(server);
    const fileDescriptorProtos = descriptorFiles().map((file) => Buffer.from(file));
    new ReflectionService({
      [SERVICE_NAME]: { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos },
    }).addToServer(server);
  } catch (error) {
    logger.warn('gRPC health and reflection are not available', { error: errorMessage(error) });
  }
}

function clientCredentials(address: StreamAddress) {
  if (!('tls' in address)) return credentials.createInsecure();
  const { caFile, keyFile, certFile } = address.tls;
  return credentials.createSsl(readFileSync(caFile), readFileSync(keyFile), readFileSync(certFile));
}

function clientTarget(address: StreamAddress): string {
  if ('path' in address) return `unix:${address.path}`;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** Opens the raw stream to a driver: bytes of messages both ways. Also what the relay uses. */
export function openStream(address: StreamAddress): {
  readonly call: ClientDuplexStream<Buffer, Buffer>;
  readonly client: Client;
} {
  if ('path' in address) checkSocketOwner(address.path);
  const peerName = 'tls' in address ? address.tls.peerNames[0] : undefined;
  const client = new Client(clientTarget(address), clientCredentials(address), {
    ...CHANNEL_OPTIONS,
    ...(peerName === undefined ? {} : { 'grpc.ssl_target_name_override': peerName }),
  });
  const call = client.makeBidiStreamRequest(CONNECT_PATH, passBytes, passBytes, new Metadata(), {});
  return { call, client };
}

/** Longest wait for the driver to end a call that we ended. */
const LAST_WORD_MS = 1_000;

/** Connects to a driver as its control plane. A refusal ends the session with an error that carries the reason. */
export function dial(options: GrpcOptions): Promise<ControlSession> {
  const { call, client } = openStream(options.address);
  const pair = {
    description: `grpc ${formatAddress(options.address)}`,
    readable: call,
    writable: call,
    framing: oneMessagePerChunk(options.maxFrameBytes),
    hangUp: (reason: CloseReason) => {
      const letGo = (): void => {
        clearTimeout(timer);
        call.cancel();
        client.close();
      };
      // A cancelled call may lose messages that the driver has not read yet, so after an orderly end its status is awaited.
      const timer = setTimeout(letGo, reason.kind === 'closed' ? LAST_WORD_MS : 0);
      call.once('status', letGo);
      call.resume();
    },
  };
  const session = new StreamConnection(pair, controlCodec(), options);
  return Promise.resolve(session);
}
