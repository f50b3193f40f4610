// The metrics server of the overlay metrics-merge, between two servers that stand for Felix and the driver.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createMergeServer } from '../../../deploy/runtime/metrics-merge.js';

const servers: Server[] = [];

function listen(server: Server): Promise<string> {
  servers.push(server);
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`));
  });
}

function serveText(text: string, status = 200): Promise<string> {
  return listen(createServer((_request, response) => response.writeHead(status).end(text)));
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

const FELIX = '# TYPE felix_ipset_calls counter\nfelix_ipset_calls 0\n# TYPE felix_host gauge\nfelix_host 1\n';
const DRIVER = '# TYPE felix_ipset_calls counter\nfelix_ipset_calls 7\n';

describe('createMergeServer', () => {
  it("takes the driver's value where both have a family", async () => {
    const url = await listen(createMergeServer({ felix: await serveText(FELIX), driver: await serveText(DRIVER) }));
    const response = await fetch(url);
    expect(response.headers.get('content-type')).toContain('version=0.0.4');
    expect(await response.text()).toBe(`# TYPE felix_host gauge\nfelix_host 1\n${DRIVER}`);
  });

  it('serves the driver alone where Felix does not answer', async () => {
    const url = await listen(createMergeServer({ felix: await serveText('', 500), driver: await serveText(DRIVER) }));
    expect(await (await fetch(url)).text()).toBe(DRIVER);
  });

  it("says 503, and does not show Felix's zeros, where the driver does not answer", async () => {
    const url = await listen(createMergeServer({ felix: await serveText(FELIX), driver: await serveText('', 503) }));
    const response = await fetch(url);
    expect(response.status).toBe(503);
    expect(await response.text()).not.toContain('felix_host');
  });
});
