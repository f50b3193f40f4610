// Picks the command. Without arguments and with descriptors 3 and 4 open, Felix started us.
import { DataplaneError } from '../base/errors.js';
import { runBroker } from '../kernel/broker-process.js';
import { hasInheritedPipes } from '../transport/pipe.js';
import { runPipe } from './pipe.js';
import { exitCodeOf } from './process.js';
import { VERSION } from './version.js';

/** First argument of the broker process, which is this same program. */
const BROKER_ARGUMENT = '__broker';

/** Runs the command that `argv` names; resolves with the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const [node = process.execPath, script = '', ...args] = argv;
  if (args[0] === BROKER_ARGUMENT) {
    await runBroker();
    return 0;
  }
  const brokerEntry = [node, ...process.execArgv, script, BROKER_ARGUMENT];
  try {
    if (args.length === 0 && hasInheritedPipes()) return await runPipe(brokerEntry);
  } catch (error) {
    if (!(error instanceof DataplaneError)) throw error;
    console.error(`felix-dataplane: ${error.message}`);
    return exitCodeOf(error);
  }
  if (args[0] === '--version') {
    console.log(VERSION);
    return 0;
  }
  console.error('felix-dataplane: start it from Felix (DataplaneDriver)');
  return 64;
}
