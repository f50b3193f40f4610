// UDP streams between pods, a packet every few milliseconds without a second try: one lost packet of an allowed stream
// is a fault, and so is one packet of a denied stream that arrives.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { waitFor } from '../kernel/support/driver-process.js';
import type { PacketNode } from '../kernel/support/packets-node.js';

const AGENT = join(import.meta.dirname, 'stream-agent.mjs');

interface Report {
  readonly ready?: boolean;
  readonly sent?: number;
  readonly answered?: number;
  readonly lost?: readonly (readonly string[])[];
  readonly taken?: Readonly<Record<string, number>>;
}

class Agent {
  readonly reports: Report[] = [];
  readonly #child: ChildProcess;
  readonly #exit: Promise<void>;

  constructor(enter: readonly string[], args: readonly string[]) {
    const [program = '', ...rest] = [...enter, process.execPath, AGENT, ...args];
    this.#child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#exit = new Promise((resolve) => {
      this.#child.once('close', () => resolve());
    });
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        this.reports.push(JSON.parse(line) as Report);
      });
  }

  async finish(): Promise<Report> {
    this.#child.stdin?.end();
    await this.#exit;
    return this.reports.at(-1) ?? {};
  }
}

/** One stream from pod to pod. */
interface Stream {
  readonly from: string;
  readonly port: number;
  readonly family: 'v4' | 'v6';
  readonly kind: 'same' | 'fresh';
  readonly intervalMs: number;
  readonly passes: boolean;
}

/** All go to p0, which lets in p1 alone. */
const STREAMS: readonly Stream[] = [
  { from: 'p1', port: 9001, family: 'v4', kind: 'same', intervalMs: 4, passes: true },
  { from: 'p1', port: 9002, family: 'v6', kind: 'fresh', intervalMs: 10, passes: true },
  { from: 'p2', port: 9003, family: 'v4', kind: 'fresh', intervalMs: 10, passes: false },
  { from: 'p2', port: 9004, family: 'v6', kind: 'same', intervalMs: 4, passes: false },
];

/** What came of the streams. */
export interface StreamsReport {
  readonly faults: readonly string[];
  /** Packets of allowed streams, of denied streams. */
  readonly passed: number;
  readonly denied: number;
}

/** Streams that run until `stop`. */
export class Streams {
  readonly #echo: Agent;
  readonly #senders: readonly (readonly [Stream, Agent])[];

  private constructor(node: PacketNode, echo: Agent) {
    const { v4, v6 } = node.site('p0');
    this.#echo = echo;
    this.#senders = STREAMS.map((stream) => {
      const target = [stream.family === 'v4' ? v4 : v6, String(stream.port), String(stream.intervalMs), stream.kind];
      return [stream, new Agent(node.site(stream.from).namespace.enter, ['send', ...target])];
    });
  }

  /** Starts streams and waits until the allowed ones have an answer. */
  static async start(node: PacketNode): Promise<Streams> {
    const ports = STREAMS.map(({ port }) => String(port));
    const echo = new Agent(node.site('p0').namespace.enter, ['echo', ...ports]);
    await waitFor(
      () => echo.reports.length > 0,
      () => 'nobody listens',
    );
    const streams = new Streams(node, echo);
    await waitFor(
      () => streams.#senders.every(([stream, agent]) => !stream.passes || agent.reports.length > 0),
      () => 'an allowed stream has no answer',
    );
    return streams;
  }

  async stop(): Promise<StreamsReport> {
    const reports = await Promise.all(
      this.#senders.map(async ([stream, agent]) => [stream, await agent.finish()] as const),
    );
    const { taken = {} } = await this.#echo.finish();
    const faults: string[] = [];
    const counts = { passed: 0, denied: 0 };
    for (const [stream, { sent = 0, answered = 0, lost = [] }] of reports) {
      counts[stream.passes ? 'passed' : 'denied'] += sent;
      const name = `${stream.from} -> p0:${stream.port} ${stream.family} ${stream.kind}`;
      if (sent === 0) faults.push(`${name}: nothing was sent`);
      if (stream.passes && answered < sent)
        faults.push(`${name}: ${sent - answered} of ${sent} lost, ${JSON.stringify(lost)}`);
      if (!stream.passes && taken[stream.port] !== 0) faults.push(`${name}: ${taken[stream.port]} of ${sent} arrived`);
    }
    return { faults, ...counts };
  }
}
