// What anybody writes to a namespace's kernel: nft and ip tell of each change of rules, routes, links and addresses.
// ipset and legacy iptables tell nobody; there the counters show it, as a rule that is written anew starts at 0.
import { type ChildProcess, spawn } from 'node:child_process';
import { waitFor } from '../kernel/support/driver-process.js';
import type { Namespace } from '../kernel/support/namespace.js';

/** Own table and own route, by which a monitor shows that it has told all up to here. */
const MARKER = /fdp-watch|198\.19\.255\./;
/** What a monitor says that is no change: who committed. */
const NO_CHANGE = /^# new generation|^$/;

interface Monitor {
  readonly child: ChildProcess;
  output: string;
}

/** A watch that runs until `stop`. */
export class KernelWatch {
  readonly #namespace: Namespace;
  readonly #monitors: readonly Monitor[];
  #marks = 0;
  #counters = new Map<string, number>();

  private constructor(namespace: Namespace) {
    this.#namespace = namespace;
    this.#monitors = [
      ['nft', '-nn', 'monitor'],
      ['ip', 'monitor', 'link', 'address', 'route', 'rule'],
    ].map((argv) => {
      const [program = '', ...rest] = [...namespace.enter, 'stdbuf', '-oL', ...argv];
      const monitor: Monitor = { child: spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] }), output: '' };
      for (const stream of [monitor.child.stdout, monitor.child.stderr])
        stream?.on('data', (chunk: Buffer) => {
          monitor.output += chunk.toString();
        });
      return monitor;
    });
  }

  /** A watch that hears. */
  static async start(namespace: Namespace): Promise<KernelWatch> {
    const watch = new KernelWatch(namespace);
    await watch.#mark();
    watch.#counters = await watch.#readCounters();
    return watch;
  }

  /** The changes since the start or the last call. */
  async changes(): Promise<string[]> {
    await this.#mark();
    const told = this.#monitors.flatMap((monitor) => {
      const lines = monitor.output.split('\n');
      monitor.output = '';
      return lines.filter((line) => !MARKER.test(line) && !NO_CHANGE.test(line));
    });
    const counters = await this.#readCounters();
    const rewritten = [...this.#counters].filter(([rule, count]) => (counters.get(rule) ?? -1) < count);
    const added = [...counters.keys()].filter((rule) => !this.#counters.has(rule));
    this.#counters = counters;
    return [...told, ...rewritten.map(([rule]) => `written anew: ${rule}`), ...added.map((rule) => `new: ${rule}`)];
  }

  async stop(): Promise<void> {
    for (const { child } of this.#monitors) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
  }

  /** Makes a change of its own until both monitors have told of it. */
  async #mark(): Promise<void> {
    this.#marks += 1;
    const route = `198.19.255.${this.#marks % 250}`;
    const table = `fdp-watch-${this.#marks}`;
    const names = [table, route];
    await waitFor(
      async () => {
        await this.#namespace.shell(`
          nft add table inet ${table}; nft delete table inet ${table}
          ip route add blackhole ${route} table 9999; ip route del blackhole ${route} table 9999
        `);
        return this.#monitors.every(({ output }, index) => output.includes(names[index] ?? ''));
      },
      () => `a monitor is silent\n${this.#monitors.map(({ output }) => output).join('\n')}`,
    );
  }

  async #readCounters(): Promise<Map<string, number>> {
    const counters = new Map<string, number>();
    for (const program of ['iptables-legacy-save', 'ip6tables-legacy-save']) {
      let table = '';
      for (const line of (await this.#namespace.run([program, '-c'])).split('\n')) {
        if (line.startsWith('*')) table = line;
        const [, count, rule] = /^\[(\d+):\d+\] (-A .*)$/.exec(line) ?? [];
        if (rule !== undefined) counters.set(`${program} ${table} ${rule}`, Number(count));
      }
    }
    return counters;
  }
}
