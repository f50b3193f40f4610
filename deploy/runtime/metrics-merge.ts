// Serves one exposition for Prometheus: Felix's own less the families that the driver has too (Felix shows those as
// zeros when its driver is external), then the driver's. Both are asked on loopback, at each scrape.
import { createServer, type Server } from 'node:http';
import { EXPOSITION_CONTENT_TYPE, mergeExpositions } from '../../src/metrics/metrics.js';

/** Where to ask. */
export interface MergeSources {
  readonly felix: string;
  readonly driver: string;
}

const TIMEOUT_MS = 5_000;

async function scrape(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return response.text();
}

/** The merged text. Felix may be away; without the driver it rejects, or Felix's zeros would stand for its values. */
export async function mergedText(sources: MergeSources): Promise<string> {
  const [felix, driver] = await Promise.all([scrape(sources.felix).catch(() => ''), scrape(sources.driver)]);
  return mergeExpositions(felix, driver);
}

/** A server that answers GET /metrics with the merged text, or 503 with the reason. */
export function createMergeServer(sources: MergeSources): Server {
  return createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end('Known path: /metrics\n');
      return;
    }
    mergedText(sources).then(
      (text) => response.writeHead(200, { 'content-type': EXPOSITION_CONTENT_TYPE }).end(text),
      (error: unknown) => response.writeHead(503).end(`${String(error)}\n`),
    );
  });
}
