// Entry of the executable: argv → a command → an exit code.
import { run } from './cli/run.js';

run(process.argv).then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(`felix-dataplane: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(70);
  },
);
