// Starts the two probe processes and answers from what moment on packets went through or were dropped.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { PROBE_PORT, PROBES } from './synthetic-node.js';
import type { Arrival } from './probe.js';

const ENTRY = join(import.meta.dirname, 'probe.ts');
/** Packets that stay away for so long are dropped, not late. */
const SILENCE_MS = 250;
const GIVE_UP_MS = 30_000;
const PACKET_INTERVAL_MS = 1;

/** Nanoseconds of the monotonic clock, which all processes of a machine share. */
export function nowNs(): number {
  return Number(process.hrtime.bigint());
}

function startProbe(namespace: string, args: readonly string[]): ChildProcess {
  return spawn('ip', ['netns', 'exec', namespace, process.execPath, '--import', 'tsx', ENTRY, ...args], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
}

/** The two probes, from start to `stop`. */
export class ProbePair {
  readonly #children: readonly ChildProcess[];
  #arrivals: Arrival[] = [];
  #watch: ((arrivals: readonly Arrival[]) => void) | null = null;

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  /** Starts both and resolves once the receiver listens. */
  static async start(namespaces: { readonly sender: string; readonly receiver: string }): Promise<ProbePair> {
    const receiver = startProbe(namespaces.receiver, ['receive', String(PROBE_PORT)]);
    await new Promise((resolve, reject) => {
      receiver.once('message', resolve);
      receiver.once('exit', (code) => reject(new Error(`the receiving probe ended with ${code}`)));
    });
    const sender = startProbe(namespaces.sender, ['send', PROBES.receiver.address, String(PROBE_PORT)]);
    const pair = new ProbePair([receiver, sender]);
    receiver.on('message', (message) => {
      const arrivals = message as Arrival[];
      pair.#arrivals.push(...arrivals);
      pair.#arrivals = pair.#arrivals.slice(-10);
      pair.#watch?.(arrivals);
    });
    return pair;
  }

  /** Resolves with the milliseconds from `sinceNs` until a packet that was sent later went through. */
  untilAllowed(sinceNs: number): Promise<number> {
    return this.#until((arrivals, resolve) => {
      const first = arrivals.find(([sent]) => sent >= sinceNs);
      if (first !== undefined) resolve((first[1] - sinceNs) / 1e6);
    });
  }

  /** Resolves with the milliseconds from `sinceNs` until the first packet was sent that was dropped. */
  untilDropped(sinceNs: number): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    return this.#until((arrivals, resolve) => {
      clearTimeout(timer);
      const last = arrivals.at(-1) ?? this.#arrivals.at(-1);
      timer = setTimeout(() => {
        resolve(last === undefined ? 0 : Math.max(0, (last[0] - sinceNs) / 1e6 + PACKET_INTERVAL_MS));
      }, SILENCE_MS);
    });
  }

  stop(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  #until(look: (arrivals: readonly Arrival[], resolve: (ms: number) => void) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      const giveUp = setTimeout(() => {
        this.#watch = null;
        reject(new Error(`no new verdict within ${GIVE_UP_MS} ms`));
      }, GIVE_UP_MS);
      const done = (ms: number): void => {
        clearTimeout(giveUp);
        this.#watch = null;
        resolve(ms);
      };
      this.#watch = (arrivals) => look(arrivals, done);
      look([], done);
    });
  }
}
