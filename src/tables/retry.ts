// How often, and how far apart, a table is tried again before the dataplane gives up (dataplane.md 4.4 and 4.5).

/** Attempts of a write, the first one included. */
export const MAX_WRITE_ATTEMPTS = 11;

/** Pause before write attempt `attempt` (1 = the second): 1, 2, 4 … 512 ms. */
export function writeRetryDelayMs(attempt: number): number {
  return 2 ** (attempt - 1);
}

/** Pauses before the second, third and fourth attempt of a read. */
export const READ_RETRY_DELAYS_MS: readonly number[] = [100, 200, 400];
