// Picks the command.
import type { Command } from 'commander';
import type { MockOptions } from './mock.js';
import { brokerEntryOf, EXIT, reportFailure } from './process.js';
import type { RecordOptions } from './record.js';
import type { ReplayOptions } from './replay.js';
import type { ServeOptions } from './serve.js';
import type { StandaloneOptions } from './standalone.js';
import { VERSION } from './version.js';

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function withAddress(command: Command): Command {
  return command
    .option('--grpc', 'gRPC (felix.dataplane.v1.DataplaneService) instead of Felix frames')
    .option('--tls-cert <file>', 'certificate (PEM) for mutual TLS over TCP')
    .option('--tls-key <file>', 'its private key')
    .option('--tls-ca <file>', 'authority that signs the peers')
    .option('--tls-peer <name>', 'name that a peer certificate may have; repeatable', collect, [])
    .option('--plaintext', 'TCP without TLS, on loopback only');
}

function addRecordings(program: Command, done: (code: number) => void): void {
  program
    .command('record')
    .description('record what a control plane sends; secrets and paths are left out')
    .option('--driver <path>', 'stand between Felix and this driver, which is started in our place')
    .option('--from <address>', 'unix:/path that a running service was given by --observe')
    .requiredOption('--out <folder>', 'folder for the recording')
    .action(async (options: RecordOptions) => done(await (await import('./record.js')).runRecord(options)));
  withAddress(program.command('replay').description('play a recording to a driver, or show what is in it'))
    .argument('<folder>', 'the recording')
    .option('--to <address>', 'where the driver serves')
    .option('--driver <path>', 'driver to start')
    .option('--dry', 'only print the messages of each step')
    .option('--step', 'wait for Enter before each step')
    .option('--speed <messages>', 'messages a second (default: as fast as the driver reads)')
    .option('--pause <seconds>', 'wait after each step')
    .option('--once', 'end when all is played and the dataplane is in sync')
    .action(async (folder: string, options: ReplayOptions) =>
      done(await (await import('./replay.js')).runReplay(folder, options)),
    );
}

/** Commands are loaded when they are asked for. */
async function createProgram(brokerEntry: readonly string[], done: (code: number) => void): Promise<Command> {
  const commander = await import('commander');
  const program = new commander.Command('felix-dataplane')
    .description(
      "External dataplane driver for Calico's Felix. Started by Felix (DataplaneDriver), it takes no arguments.",
    )
    .version(VERSION)
    .showHelpAfterError()
    .exitOverride();
  withAddress(program.command('serve').description('run as a service that control planes connect to'))
    .requiredOption('--listen <address>', 'unix:/path, HOST:PORT or [IPv6]:PORT')
    .option('--observe <address>', 'unix:/path where `record --from` may watch the session')
    .option('--take-over', 'let a second control plane take the place of the first')
    .action(async (options: ServeOptions) => done(await (await import('./serve.js')).runServe(options, brokerEntry)));
  withAddress(program.command('mock').description('be the control plane of a driver, from YAML files'))
    .argument('<path>', 'file or folder of Calico and Kubernetes resources; a change is sent at once')
    .requiredOption('--to <address>', 'where the driver serves')
    .option('--hostname <name>', 'node whose driver is served (default: this host)')
    .option('--set <key=value>', 'Felix parameter; repeatable', collect, [])
    .option('--once', 'end when the dataplane is in sync')
    .option('--api <address>', 'unix:/path of an HTTP API that applies, deletes and lists resources')
    .action(async (path: string, options: MockOptions) =>
      done(await (await import('./mock.js')).runMock(path, options)),
    );
  program
    .command('standalone')
    .description('driver and control plane in one process: policy for hosts and containers without Kubernetes')
    .argument('<path>', 'file or folder of Calico and Kubernetes resources; a change is enforced at once')
    .option('--hostname <name>', 'name of this node (default: this host)')
    .option('--set <key=value>', 'Felix parameter; repeatable', collect, [])
    .option('--api <address>', 'unix:/path of an HTTP API that applies, deletes and lists resources')
    .action(async (path: string, options: StandaloneOptions) =>
      done(await (await import('./standalone.js')).runStandalone(path, options, brokerEntry)),
    );
  addRecordings(program, done);
  program
    .command('relay')
    .description('join Felix to a driver that runs as a service (see felix-dataplane relay --help)');
  return program;
}

/** Runs the command that `argv` names; resolves with the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  let code: number = EXIT.usage;
  try {
    const program = await createProgram(brokerEntryOf(argv), (result) => {
      code = result;
    });
    await program.parseAsync(argv.slice(2), { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('commander.')) {
      return 'exitCode' in error && error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    }
    return reportFailure(error);
  }
}
