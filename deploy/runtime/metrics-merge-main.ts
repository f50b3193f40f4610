// Entry of the metrics server that the overlay metrics-merge runs.
import type { AddressInfo } from 'node:net';
import { createMergeServer } from './metrics-merge.js';

const felix = process.env['FELIX_METRICS_URL'] ?? 'http://127.0.0.1:9091/metrics';
const driver = process.env['DRIVER_METRICS_URL'] ?? 'http://127.0.0.1:9199/metrics';
const port = Number(process.env['METRICS_PORT'] ?? '9198');

const server = createMergeServer({ felix, driver });
server.listen(port, () => {
  const { port: bound } = server.address() as AddressInfo;
  console.log(`Serving :${bound}/metrics, merged of ${felix} and ${driver}`);
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
