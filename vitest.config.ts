// Two projects: `unit` needs nothing of the machine, `kernel` needs root, namespaces and the real tools.
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/kernel/support/sequencer.js';

// Node reads the extra certificates that it names at every start, which can take longer than the rest of the start. Tests
// start hundreds of Nodes, and none needs them.
delete process.env['NODE_EXTRA_CA_CERTS'];

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    // One line for each file: the list of its slow tests is noise in a suite where all are.
    slowTestThreshold: Number.POSITIVE_INFINITY,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/kernel/**'],
          testTimeout: 30_000,
          // As below; but a counterexample that fast-check found is one, whatever other values give.
          retry: { count: 1, condition: /^(?!Property failed)/ },
          pool: 'forks',
          // Files of a worker share its process: to load the program anew for each took a third of the time.
          isolate: false,
          maxWorkers: '100%',
        },
      },
      {
        test: {
          name: 'kernel',
          include: ['test/kernel/**/*.test.ts'],
          globalSetup: ['test/kernel/support/leftovers.ts'],
          // Far above what any test takes: these are for what hangs, not for what is slow.
          testTimeout: 300_000,
          hookTimeout: 180_000,
          // Shared machines stall for seconds. What fails twice in a row is a failure; run-tests lists what needed a second try.
          retry: 1,
          pool: 'forks',
          // As above: namespaces and folders have names of their own, whoever makes them.
          isolate: false,
          // A third of a test's time is waiting for the kernel, so two processors keep three workers busy.
          maxWorkers: 3,
        },
      },
    ],
  },
});
