// Ends a process whose apply hangs: nobody else watches an external driver (ops.md section 2), and a restart reads what
// stands in the kernel.
import type { RootLogger } from './logger.js';
import { EXIT } from './process.js';
import type { ServedSession } from './serve-session.js';

const CHECK_INTERVAL_MS = 5_000;

/** Resolves with an exit code once the session that `current` gives has hung for DataplaneWatchdogTimeout. */
export function untilHung(current: () => ServedSession | null, log: RootLogger): Promise<number> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const health = current()?.health();
      if (health === undefined || health.isLive) return;
      clearInterval(timer);
      log.error(`Ending: ${health.detail}, longer than DataplaneWatchdogTimeout. The kernel keeps what is programmed`);
      resolve(EXIT.dataplane);
    }, CHECK_INTERVAL_MS);
    timer.unref();
  });
}
