// Asks Felix for its metrics, so that the driver can serve them merged with its own.
import { request } from 'node:http';
import { DataplaneError, errorMessage } from '../base/errors.js';

const TIMEOUT_MS = 2_000;
/** Felix's page is about 30 kB; a hundred times that is no metrics page. */
const MAX_BYTES = 4 * 1024 * 1024;

function failed(url: string, problem: string, cause?: unknown): DataplaneError {
  return new DataplaneError('protocol', `Metrics of Felix at ${url}: ${problem}`, { cause });
}

/**
 * The exposition text at an HTTP address, e.g. `http://127.0.0.1:9091/metrics`. Rejects with DataplaneError when there
 * is no answer within two seconds, one that is not 200, or one that is too long.
 */
export function fetchExposition(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { timeout: TIMEOUT_MS, headers: { accept: 'text/plain; version=0.0.4' } }, (response) => {
      if (response.statusCode !== 200) {
        response.resume();
        reject(failed(url, `status ${response.statusCode}`));
        return;
      }
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.byteLength;
        chunks.push(chunk);
        if (size > MAX_BYTES) response.destroy(new Error(`more than ${MAX_BYTES} bytes`));
      });
      response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
      response.on('error', (error) => reject(failed(url, error.message, error)));
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    sent.on('error', (error) => reject(failed(url, errorMessage(error), error)));
    sent.end();
  });
}
