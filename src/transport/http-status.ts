// The HTTP server for probes and scrapes: /liveness, /readiness, /metrics and /debug/state, on loopback or a unix
// socket. Answers with what its callbacks say; knows nothing of the dataplane.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ConfigError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { isLoopback, listenOnUnixSocket } from './listening.js';

/** One reporter's word, as in Felix's health aggregator. */
export interface HealthReport {
  readonly name: string;
  readonly ok: boolean;
  /** Why, in one line; empty if there is nothing to say. */
  readonly detail: string;
}

/** What the server asks. Callbacks that throw or reject give a 500 with the message. */
export interface HttpStatusSource {
  /** Reporters of liveness; the answer is 200 if all are ok, 503 if not. */
  liveness(): readonly HealthReport[];
  readiness(): readonly HealthReport[];
  /** Prometheus text 0.0.4. */
  metrics(): Promise<string>;
  /** Anything that JSON can hold; no secrets. */
  debugState(): unknown;
}

/** Where to listen: a port of a loopback address (0 = any free one), or a unix socket (mode 0600). */
export type HttpStatusAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** Server options. */
export interface HttpStatusOptions {
  readonly address: HttpStatusAddress;
  readonly source: HttpStatusSource;
  readonly logger: Logger;
  /** Lets the server listen beyond loopback, for scrapes from other nodes. */
  readonly allowRemote?: boolean;
}

/** A running server. */
export interface HttpStatusServer {
  /** `http://127.0.0.1:9199` or `unix:/run/x.sock`. */
  readonly address: string;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const TEXT = 'text/plain; charset=utf-8';

function healthAnswer(reports: readonly HealthReport[]): Answer {
  const lines = reports.map(
    ({ name, ok, detail }) => `${ok ? 'ok  ' : 'FAIL'} ${name}${detail === '' ? '' : `: ${detail}`}`,
  );
  return { status: reports.every((report) => report.ok) ? 200 : 503, contentType: TEXT, body: `${lines.join('\n')}\n` };
}

async function answerTo(path: string, source: HttpStatusSource): Promise<Answer> {
  switch (path) {
    case '/liveness':
      return healthAnswer(source.liveness());
    case '/readiness':
      return healthAnswer(source.readiness());
    case '/metrics':
      return { status: 200, contentType: 'text/plain; version=0.0.4; charset=utf-8', body: await source.metrics() };
    case '/debug/state':
      return {
        status: 200,
        contentType: 'application/json',
        body: `${JSON.stringify(source.debugState(), null, 2)}\n`,
      };
    default:
      return { status: 404, contentType: TEXT, body: 'Known paths: /liveness /readiness /metrics /debug/state\n' };
  }
}

async function respond(request: IncomingMessage, response: ServerResponse, options: HttpStatusOptions): Promise<void> {
  let answer: Answer;
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  try {
    answer =
      request.method === 'GET' || request.method === 'HEAD'
        ? await answerTo(pathname, options.source)
        : { status: 405, contentType: TEXT, body: 'Only GET is answered\n' };
  } catch (error) {
    options.logger.error('A status request failed', { path: pathname, error: errorMessage(error) });
    answer = { status: 500, contentType: TEXT, body: `${errorMessage(error)}\n` };
  }
  response.writeHead(answer.status, {
    'content-type': answer.contentType,
    'content-length': Buffer.byteLength(answer.body),
  });
  response.end(request.method === 'HEAD' ? undefined : answer.body);
}

function listenOnPort(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      const bound = server.address();
      const actual = typeof bound === 'object' && bound !== null ? bound.port : port;
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`);
    });
  });
}

/**
 * Starts the server. Rejects with ConfigError for an address beyond loopback unless that was asked for, and with the
 * system's error when the address is taken.
 */
export async function serveHttpStatus(options: HttpStatusOptions): Promise<HttpStatusServer> {
  const { address, allowRemote = false, logger } = options;
  const server = createServer((request, response) => {
    respond(request, response, options).catch((error: unknown) => {
      logger.error('A status answer could not be sent', { error: errorMessage(error) });
      response.destroy();
    });
  });
  // Probes come once in a few seconds, each on its own connection; nothing has to be kept open at shutdown.
  server.keepAliveTimeout = 1_000;
  let bound: string;
  if ('path' in address) {
    bound = await listenOnUnixSocket(server, address.path);
  } else {
    if (!allowRemote && !isLoopback(address.host)) {
      const message = `${address.host} is not a loopback address; ask for remote access to listen there`;
      throw new ConfigError(message, 'status address', address.host, 'command line');
    }
    bound = await listenOnPort(server, address.host, address.port);
  }
  server.on('error', (error) => logger.error('The status server failed', { error: error.message }));
  return {
    address: bound,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
