// The relay as Felix starts it, with its address as arguments in place of the environment: `frames|grpc PATH ATTEMPTS`.
import { relay } from '../../../src/transport/relay.js';

const [protocol, path = '', attempts] = process.argv.slice(2);
const end = await relay({
  address: { path },
  protocol: protocol === 'grpc' ? 'grpc' : 'frames',
  attempts: Number(attempts ?? 10),
  retryDelayMs: 20,
  log: (line) => console.error(line),
});
console.log(end);
process.exit(end === 'felix closed' ? 0 : 1);
