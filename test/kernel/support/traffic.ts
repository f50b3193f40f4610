// Traffic that runs while something else happens: what may pass has to pass all the time, what may not never.
import type { Probe } from '../../../scripts/lib/probe.js';
import type { PacketNode } from './packets-node.js';
import { listenOn } from './packets-table.js';

/** One pair that talks. */
export interface Pair {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly passes: boolean;
}

/** What came of it. */
export interface TrafficReport {
  /** Rounds that were finished. */
  readonly rounds: number;
  /** Packets that had to pass and did not, or the reverse. */
  readonly faults: readonly string[];
}

/** A packet that has to pass is given time; one that may not, so long that a queue on the way would show it. */
const PATIENCE_MS = { passes: 5_000, closed: 250 } as const;

/** Runs UDP and TCP both ways of each pair, and keeps one established flow for each pair that passes. */
export class Traffic {
  readonly #faults: string[] = [];
  readonly #done: Promise<unknown>;
  #rounds = 0;
  #isRunning = true;

  private constructor(node: PacketNode, pairs: readonly Pair[]) {
    this.#done = Promise.all(pairs.map((pair) => this.#run(node, pair)));
  }

  /** Opens the ports and the flows, then starts. */
  static async start(node: PacketNode, pairs: readonly Pair[]): Promise<Traffic> {
    const ports = new Set(pairs.map((pair) => `${pair.to} ${pair.port}`));
    for (const each of ports) {
      const [site = '', port] = each.split(' ');
      for (const protocol of ['tcp', 'udp'] as const) await listenOn(node, site, Number(port), protocol);
    }
    for (const pair of pairs) {
      if (!pair.passes) continue;
      const flow = await node.site(pair.from).probe.openFlow(flowName(pair), node.site(pair.to).v4, pair.port, 5_000);
      if (flow.result !== 'passes') throw new Error(`${flowName(pair)} cannot be opened: ${flow.result}`);
    }
    return new Traffic(node, pairs);
  }

  get rounds(): number {
    return this.#rounds;
  }

  /** Ends after the rounds that are under way. */
  async stop(): Promise<TrafficReport> {
    this.#isRunning = false;
    await this.#done;
    return { rounds: this.#rounds, faults: this.#faults };
  }

  async #run(node: PacketNode, pair: Pair): Promise<void> {
    const { probe } = node.site(pair.from);
    while (this.#isRunning) {
      await (pair.passes ? this.#allowed(node, pair, probe) : this.#denied(node, pair, probe));
      this.#rounds += 1;
    }
  }

  async #allowed(node: PacketNode, pair: Pair, probe: Probe): Promise<void> {
    const { v4, v6 } = node.site(pair.to);
    const timeoutMs = PATIENCE_MS.passes;
    for (const [protocol, address] of [
      ['udp', v4],
      ['udp', v6],
      ['tcp', v4],
    ] as const) {
      const { result } = await probe.connect({ protocol, address, port: pair.port, timeoutMs });
      if (result !== 'passes') this.#fault(pair, `${protocol} ${address}: ${result}`);
    }
    const { result } = await probe.checkFlow(flowName(pair), timeoutMs);
    if (result !== 'passes') this.#fault(pair, `the established flow: ${result}`);
  }

  async #denied(node: PacketNode, pair: Pair, probe: Probe): Promise<void> {
    const { v4, v6 } = node.site(pair.to);
    const outcomes = await Promise.all(
      (
        [
          ['udp', v4],
          ['udp', v6],
          ['tcp', v4],
        ] as const
      ).map(([protocol, address]) =>
        probe.connect({ protocol, address, port: pair.port, timeoutMs: PATIENCE_MS.closed }),
      ),
    );
    for (const { result } of outcomes) if (result === 'passes') this.#fault(pair, 'passed, though it is denied');
  }

  #fault(pair: Pair, what: string): void {
    this.#faults.push(`${flowName(pair)}: ${what}`);
  }
}

function flowName(pair: Pair): string {
  return `${pair.from} -> ${pair.to}:${pair.port}`;
}
