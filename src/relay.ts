// Entry of the relay: what Felix starts when the driver runs as a service. A bundle of its own, because Felix waits.
import { relayMain } from './transport/relay-main.js';

relayMain(process.argv.slice(2), process.env).then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(`felix-dataplane relay: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(70);
  },
);
