// Writes what a vitest run came to, as JSON, to the file that FDP_TOTALS names: counts of tests, which failed and why, what
// needed a second try, and what went wrong outside of any test. run-tests.mjs reads it.
import { writeFileSync } from 'node:fs';

/** fast-check says why a property failed in the cause of its error. */
const messages = ({ message, cause }) => (cause?.message === undefined ? [message] : [message, cause.message]);

/** A vitest reporter; vitest makes the instance. */
export default class TotalsReporter {
  onTestRunEnd(modules, unhandledErrors, reason) {
    const totals = { passed: 0, failed: 0, skipped: 0, failures: [], retried: [], problems: [], reason };
    for (const module of modules) {
      const failedBefore = totals.failed;
      for (const test of module.children.allTests()) {
        const { state, errors = [] } = test.result();
        // A test that is still pending was never run, because its worker ended.
        const reasons = state === 'pending' ? ['its worker ended'] : errors.flatMap(messages);
        const told = `${module.relativeModuleId} > ${test.fullName}: ${[...new Set(reasons)].join('; ')}`;
        if (state === 'passed') totals.passed += 1;
        else if (state === 'skipped') totals.skipped += 1;
        else {
          totals.failed += 1;
          totals.failures.push(told);
        }
        // Errors of the first try are kept, also if the second went well.
        const tries = test.diagnostic()?.retryCount ?? 0;
        if (tries > 0 && state === 'passed') totals.retried.push(told);
      }
      // A module that could not be loaded, or a hook of one, has no failed test of its own.
      if (!module.ok() && totals.failed === failedBefore) totals.problems.push(`${module.relativeModuleId} failed`);
    }
    for (const error of unhandledErrors) totals.problems.push(`unhandled: ${error.message ?? String(error)}`);
    writeFileSync(process.env.FDP_TOTALS, JSON.stringify(totals));
  }
}
