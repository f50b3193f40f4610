// Two projects: `unit` needs nothing of the machine, `kernel` needs root, namespaces and the real tools.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/kernel/**'],
          testTimeout: 30_000,
          pool: 'forks',
        },
      },
      {
        test: {
          name: 'kernel',
          include: ['test/kernel/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          // Shared machines stall for seconds. What fails twice in a row is a failure; vitest names what needed a second try.
          retry: 1,
          pool: 'forks',
          maxWorkers: 2,
        },
      },
    ],
  },
});
