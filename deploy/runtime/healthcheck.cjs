// Asks the driver's health server, where DATAPLANE_HEALTH says that it is, and repeats the answer.
const http = require('node:http');

const path = process.argv[2] ?? '/liveness';
const address = process.env.DATAPLANE_HEALTH || '127.0.0.1:9199';
const target = address.startsWith('unix:')
  ? { socketPath: address.slice('unix:'.length) }
  : { host: address.slice(0, address.lastIndexOf(':')).replace(/[[\]]/g, ''), port: address.slice(address.lastIndexOf(':') + 1) };

function fail(message) {
  console.error(`healthcheck: ${address}${path}: ${message}`);
  process.exitCode = 1;
}

const request = http.get({ ...target, path, timeout: 4_000 }, (response) => {
  response.pipe(process.stdout);
  if (response.statusCode !== 200) fail(`status ${response.statusCode}`);
});
request.on('timeout', () => request.destroy(new Error('no answer within 4 s')));
request.on('error', (error) => fail(error.message));
