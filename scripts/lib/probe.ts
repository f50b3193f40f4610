// A small agent inside a network namespace that listens, connects and tells whether packets pass.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

/** What happened to a connection: `passes` means there and back. */
export interface ProbeOutcome {
  readonly result: 'passes' | 'dropped' | 'refused' | 'unreachable';
  /** Our address as the other side saw it. */
  readonly seenAs?: string;
}

export interface ProbeTarget {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  /** Default 500. */
  readonly timeoutMs?: number;
  readonly source?: string;
  readonly sourcePort?: number;
}

/** Traffic between two places. */
export interface TrafficPlan {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly port: number;
  /** Whether it has to get through, or must not. */
  readonly passes: boolean;
  /** From one packet, or new flow, to the next. */
  readonly everyMs: number;
  /** How long an answer is awaited. */
  readonly timeoutMs: number;
}

/** How it went so far. */
export interface TrafficState {
  readonly exchanges: number;
  readonly faults: readonly string[];
}

interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** An agent process; `enter` is the command prefix that puts a program into the namespace. */
export class Probe {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (reply.error === undefined) waiting?.resolve(reply.value);
      else waiting?.reject(new Error(reply.error));
    });
    child.once('exit', () => {
      for (const waiting of this.#waiting.values()) waiting.reject(new Error('The probe agent is gone'));
      this.#waiting.clear();
    });
  }

  /** Starts an agent and waits until it answers. */
  static async start(enter: readonly string[]): Promise<Probe> {
    const [program = process.execPath, ...rest] = [
      ...enter,
      process.execPath,
      join(import.meta.dirname, 'probe-agent.mjs'),
    ];
    const child = spawn(program, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`The probe agent ended with ${code} at start`)));
    });
    return new Probe(child);
  }

  listen(protocol: 'tcp' | 'udp', address: string, port: number): Promise<void> {
    return this.#ask('listen', { protocol, address, port }) as Promise<void>;
  }

  connect(target: ProbeTarget): Promise<ProbeOutcome> {
    return this.#ask('connect', { timeoutMs: 500, ...target }) as Promise<ProbeOutcome>;
  }

  /** Opens a TCP connection that stays open under `name`. */
  openFlow(name: string, address: string, port: number, timeoutMs = 1_000): Promise<ProbeOutcome> {
    return this.#ask('open-flow', { name, address, port, timeoutMs }) as Promise<ProbeOutcome>;
  }

  /** Sends over an open flow and waits for the echo. */
  checkFlow(name: string, timeoutMs = 1_000): Promise<ProbeOutcome> {
    return this.#ask('check-flow', { name, timeoutMs }) as Promise<ProbeOutcome>;
  }

  closeFlow(name: string): Promise<void> {
    return this.#ask('close-flow', { name }) as Promise<void>;
  }

  /** Has the agent send by itself, with new flows all the time. `passes` also checks the open flow `name`. */
  startTraffic({ passes, ...plan }: TrafficPlan): Promise<void> {
    return this.#ask(passes ? 'start-allowed' : 'start-denied', plan) as Promise<void>;
  }

  trafficState(name: string): Promise<TrafficState> {
    return this.#ask('traffic-state', { name }) as Promise<TrafficState>;
  }

  /** Stops once what is under way has its answer, or has waited for it long enough. */
  stopTraffic(name: string): Promise<TrafficState> {
    return this.#ask('stop-traffic', { name }) as Promise<TrafficState>;
  }

  /** Datagrams and connections that a port which listens here had from any of the addresses. */
  heard(port: number, addresses: readonly string[]): Promise<number> {
    return this.#ask('heard', { port, addresses }) as Promise<number>;
  }

  /** Ends the agent. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 2_000);
    await exited;
    clearTimeout(timer);
  }

  #ask(operation: string, argument: unknown): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, operation, argument });
    });
  }
}
