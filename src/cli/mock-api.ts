// HTTP on a unix socket to write resources into a running mock: apply, delete and list, with JSON answers that name file,
// line and field of what cannot be used.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { ConfigError, errorMessage } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { MockControlPlane } from '../mock/control-plane.js';
import { parseDocuments } from '../mock/documents.js';
import { type ResourceRef, refText } from '../mock/outcome.js';
import { listenOnUnixSocket } from '../transport/listening.js';

/** Longest body of a request. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** What line numbers of a body are said to be in. */
const BODY_NAME = 'body';
const PATH = '/resources';
const USAGE = `GET ${PATH}; PUT or POST ${PATH} with YAML; DELETE ${PATH}/API/KIND[/NAMESPACE]/NAME, API: calico or kubernetes`;

/** Where the API listens and what it works on. */
export interface MockApiOptions {
  /** `unix:/path`. */
  readonly address: string;
  readonly mock: MockControlPlane;
  readonly log: Logger;
  /** Called after every change: sends what is due. */
  readonly onChange: () => void;
}

/** A running API. */
export interface MockApi {
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > MAX_BODY_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** 200 when all was taken, 422 when something was not: the rest of the body is in force all the same. */
function apply(text: string, { mock, onChange }: MockApiOptions): Answer {
  const parsed = parseDocuments(text, BODY_NAME);
  const outcome = mock.apply(parsed.documents);
  if (outcome.applied.length > 0) onChange();
  const problems = [...parsed.problems, ...outcome.problems];
  const body = {
    applied: outcome.applied.map(refText),
    kept: outcome.kept.map(refText),
    problems,
    warnings: outcome.warnings,
  };
  return { status: problems.length > 0 ? 422 : 200, body };
}

/** Empty, which names nothing, where the escapes make no sense. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

function refOf(path: string): ResourceRef | null {
  const [api, kind, ...rest] = path
    .slice(PATH.length + 1)
    .split('/')
    .map(decoded);
  const name = rest.pop();
  if ((api !== 'calico' && api !== 'kubernetes') || !kind || !name || rest.length > 1) return null;
  return { api, kind, namespace: rest[0] ?? '', name };
}

function remove(path: string, { mock, onChange }: MockApiOptions): Answer {
  const ref = refOf(path);
  if (ref === null) return { status: 400, body: { error: `Allowed: ${USAGE}` } };
  if (!mock.delete(ref)) return { status: 404, body: { error: `There is no ${refText(ref)}` } };
  onChange();
  return { status: 200, body: { deleted: [refText(ref)] } };
}

async function answer(request: IncomingMessage, options: MockApiOptions): Promise<Answer> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  if (request.method === 'DELETE' && pathname.startsWith(`${PATH}/`)) return remove(pathname, options);
  if (pathname !== PATH) return { status: 404, body: { error: `Allowed: ${USAGE}` } };
  if (request.method === 'GET') return { status: 200, body: { resources: options.mock.list() } };
  if (request.method !== 'PUT' && request.method !== 'POST') {
    return { status: 405, body: { error: `Allowed: ${USAGE}` } };
  }
  const text = await readBody(request);
  if (text === null) return { status: 413, body: { error: `The body is longer than ${MAX_BODY_BYTES} bytes` } };
  return apply(text, options);
}

function send(response: ServerResponse, { status, body }: Answer): void {
  const text = `${JSON.stringify(body, null, 1)}\n`;
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** Starts the API; only our own user and root can connect. @throws ConfigError for anything but a usable unix socket. */
export async function serveMockApi(options: MockApiOptions): Promise<MockApi> {
  const { address, log } = options;
  if (!address.startsWith('unix:/')) {
    throw new ConfigError(`--api is "${address}", allowed is unix:/absolute/path`, '--api', address, 'command line');
  }
  const server = createServer((request, response) => {
    answer(request, options)
      .catch((error: unknown): Answer => {
        log.error('A request to the API failed', { error: errorMessage(error) });
        return { status: 500, body: { error: errorMessage(error) } };
      })
      .then((result) => send(response, result))
      .catch((error: unknown) => {
        log.error('An answer of the API could not be sent', { error: errorMessage(error) });
        response.destroy();
      });
  });
  const bound = await listenOnUnixSocket(server, address.slice('unix:'.length));
  log.info('The API is served', { address: bound });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
