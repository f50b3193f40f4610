// Starts real brokers from the sources, for tests.
import { fileURLToPath } from 'node:url';
import { silentLogger } from '../../src/base/logger.js';
import { type Broker, startBroker } from '../../src/kernel/broker.js';

/** argv of a broker process that runs from the sources. */
export const BROKER_ENTRY: readonly string[] = [
  process.execPath,
  '--import',
  'tsx',
  fileURLToPath(new URL('../fixtures/broker-main.ts', import.meta.url)),
];

/** A broker that the test must close. */
export function startTestBroker(): Broker {
  return startBroker({ entry: BROKER_ENTRY, log: silentLogger });
}
