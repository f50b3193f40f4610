// Traffic that runs while something else happens: what may pass has to pass all the time, what may not never. The agents
// in the namespaces send by themselves, at a steady pace, so that it costs little beside what is tested.
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
  /** Flows that got through, checks of the established ones, and packets that were denied. */
  readonly exchanges: number;
  /** Packets that had to pass and did not, or the reverse. */
  readonly faults: readonly string[];
}

/**
 * A new flow that has to pass every 5 ms, and time for its answer: a machine may stall. A packet that may not pass every
 * 2 ms: where it would arrive, each is counted, so nothing waits for it.
 */
const PACE = {
  passes: { everyMs: 5, timeoutMs: 5_000 },
  denied: { everyMs: 2, timeoutMs: 250 },
} as const;

/** Runs UDP and TCP over both families for each pair, and keeps one established flow for each pair that passes. */
export class Traffic {
  readonly #node: PacketNode;
  readonly #pairs: readonly Pair[];

  private constructor(node: PacketNode, pairs: readonly Pair[]) {
    this.#node = node;
    this.#pairs = pairs;
  }

  /** Opens the ports and the flows, then starts. */
  static async start(node: PacketNode, pairs: readonly Pair[]): Promise<Traffic> {
    for (const { from, to, port, passes } of pairs) {
      for (const protocol of ['tcp', 'udp'] as const) await listenOn(node, to, port, protocol);
      if (!passes) continue;
      const name = nameOf({ from, to, port });
      const flow = await node.site(from).probe.openFlow(name, node.site(to).v4, port, 5_000);
      if (flow.result !== 'passes') throw new Error(`${name} cannot be opened: ${flow.result}`);
    }
    for (const pair of pairs) {
      const { v4, v6 } = node.site(pair.to);
      const pace = pair.passes ? PACE.passes : PACE.denied;
      const plan = { name: nameOf(pair), addresses: [v4, v6], port: pair.port, passes: pair.passes, ...pace };
      await node.site(pair.from).probe.startTraffic(plan);
    }
    return new Traffic(node, pairs);
  }

  /** The fewest exchanges of any pair so far. */
  async exchanges(): Promise<number> {
    const states = this.#pairs.map((pair) => this.#node.site(pair.from).probe.trafficState(nameOf(pair)));
    return Math.min(...(await Promise.all(states)).map(({ exchanges }) => exchanges));
  }

  /** Ends once the last answers are there. */
  async stop(): Promise<TrafficReport> {
    const reports = this.#pairs.map(async (pair): Promise<TrafficReport> => {
      const name = nameOf(pair);
      const from = this.#node.site(pair.from);
      const { exchanges, faults } = await from.probe.stopTraffic(name);
      const named = faults.map((fault) => `${name}: ${fault}`);
      if (pair.passes) return { exchanges, faults: named };
      const heard = await this.#node.site(pair.to).probe.heard(pair.port, [from.v4, from.v6]);
      return {
        exchanges,
        faults: heard === 0 ? named : [...named, `${name}: ${heard} packets passed that are denied`],
      };
    });
    const all = await Promise.all(reports);
    return {
      exchanges: all.reduce((sum, { exchanges }) => sum + exchanges, 0),
      faults: all.flatMap(({ faults }) => faults),
    };
  }
}

function nameOf({ from, to, port }: Omit<Pair, 'passes'>): string {
  return `${from} -> ${to}:${port}`;
}
