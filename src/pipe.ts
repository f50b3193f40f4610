// Entry of driver mode: without arguments, and with descriptors 3 and 4 open, Felix started us. A bundle of its own,
// because Felix waits for it and it runs on every node: a third of the whole program.
import { runPipe } from './cli/pipe.js';
import { brokerEntryOf, reportFailure } from './cli/process.js';
import { hasInheritedPipes } from './transport/inherited-pipes.js';

async function main(): Promise<void> {
  // Started by hand: the whole program says how it is used.
  if (!hasInheritedPipes()) return void (await import('./main.js'));
  process.exit(await runPipe(brokerEntryOf(process.argv)).catch(reportFailure));
}

main().catch((error: unknown) => {
  console.error(`felix-dataplane: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(70);
});
