// Network namespaces for tests: uniquely named, and gone afterwards, also after a failure.
import { execa } from 'execa';

let counter = 0;

/** A network namespace that exists until `remove`. */
export interface Namespace {
  readonly name: string;
  /** Command prefix that puts a program into the namespace. */
  readonly enter: readonly string[];
  /** Runs a program in the namespace; rejects on a non-zero exit unless told otherwise. */
  run(argv: readonly string[], options?: { input?: string; reject?: boolean; timeoutMs?: number }): Promise<string>;
  /** Runs shell lines in the namespace with `set -e`. */
  shell(script: string): Promise<string>;
  remove(): Promise<void>;
}

/** Throws with the reason when the machine cannot run kernel tests; a test never passes silently without them. */
export async function requireRoot(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('Kernel tests need root (network namespaces, iptables, nft)');
}

/** Creates a namespace with `lo` up. `purpose` is at most 12 characters. */
export async function createNamespace(purpose: string): Promise<Namespace> {
  await requireRoot();
  counter += 1;
  const name = `fdp-${purpose}-${process.env['FDP_RUN'] ?? 'run'}-${process.pid}-${counter}`;
  await execa('ip', ['netns', 'add', name]);
  const run: Namespace['run'] = async (argv, options = {}) => {
    const result = await execa('ip', ['netns', 'exec', name, ...argv], {
      ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
      reject: options.reject ?? true,
      timeout: options.timeoutMs ?? 60_000,
      maxBuffer: 512 * 1024 * 1024,
      stripFinalNewline: false,
    });
    return result.stdout;
  };
  await run(['ip', 'link', 'set', 'lo', 'up']);
  return {
    name,
    enter: ['ip', 'netns', 'exec', name],
    run,
    shell: (script) => run(['sh', '-e'], { input: script }),
    remove: async () => {
      await execa('ip', ['netns', 'del', name], { reject: false });
    },
  };
}
