// Entry of the broker process (design/kernel.md). A bundle of its own: as a second copy of the whole program it would
// cost twice the time to start and three times the memory of its own.
import { runBroker } from './kernel/broker-process.js';

runBroker().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`felix-dataplane broker: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(70);
  },
);
