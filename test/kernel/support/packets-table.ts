// Tables of probes with their expected results: one line, one connection. A table holds when all its lines hold in the
// same round, and it must have a line that passes, so that a dead network proves nothing.
import { expect } from 'vitest';
import type { ProbeOutcome } from '../../../scripts/lib/probe.js';
import type { PacketNode } from './packets-node.js';

type Family = 4 | 6;

interface Line {
  readonly text: string;
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  readonly families: readonly Family[];
  readonly expected: 'passes' | 'closed' | 'refused' | 'dropped';
  readonly seenAs: string | null;
}

const ARROWS = { '->': 'passes', '-x->': 'closed', '-r->': 'refused', '-d->': 'dropped' } as const;
const FORM =
  /^(\S+) (->|-x->|-r->|-d->) ([^\s:/]+|\[[^\]]+\])(?::(\d+))?(?:\/(tcp|udp))?(?: v([46]))?(?: seen (\S+))?$/;
const DEFAULT_PORT = 8055;
const TIMEOUT_MS = 400;

/**
 * `p0 -> p1` (passes), `p0 -x-> p1:80/udp v6` (does not), `p0 -r-> p1` (refused: RST or ICMP error), `p0 -d-> p1` (no
 * answer at all), `p0 -> x seen n` (x sees the node's address). Several targets: `p0 -> p1, p2`. The target may be an address in
 * brackets. Port 8055, TCP and both families when not said.
 */
function parse(text: string, families: readonly Family[]): Line[] {
  const [first = '', ...others] = text.split(', ');
  const [from = '', arrow = ''] = first.split(' ');
  return [first, ...others.map((target) => `${from} ${arrow} ${target}`)].map((single) => {
    const parts = FORM.exec(single);
    if (parts === null) throw new Error(`No probe: "${single}"`);
    return {
      text: single,
      from: parts[1] ?? '',
      to: parts[3] ?? '',
      port: Number(parts[4] ?? DEFAULT_PORT),
      protocol: parts[5] === 'udp' ? 'udp' : 'tcp',
      families: parts[6] === undefined ? families : [Number(parts[6]) as Family],
      expected: ARROWS[parts[2] as keyof typeof ARROWS],
      seenAs: parts[7] ?? null,
    };
  });
}

/** Sites answer on a port from the first table that names it. */
const listening = new WeakMap<PacketNode, Set<string>>();

/** Opens a port on a site, over both families, once. */
export async function listenOn(node: PacketNode, site: string, port: number, protocol: 'tcp' | 'udp'): Promise<void> {
  const own = listening.get(node) ?? new Set();
  listening.set(node, own);
  const key = `${site} ${port} ${protocol}`;
  if (own.has(key)) return;
  own.add(key);
  await node.site(site).probe.listen(protocol, '::', port);
}

function address(node: PacketNode, name: string, family: Family): string {
  if (name.startsWith('[')) return name.slice(1, -1);
  const site = node.site(name);
  return family === 4 ? site.v4 : site.v6;
}

async function probeLine(node: PacketNode, line: Line, family: Family): Promise<string> {
  const target = { address: address(node, line.to, family), port: line.port, protocol: line.protocol };
  const outcome: ProbeOutcome = await node.site(line.from).probe.connect({ ...target, timeoutMs: TIMEOUT_MS });
  const seen = line.seenAs === null ? '' : ` seen as ${outcome.seenAs ?? 'nobody'}`;
  return `${outcome.result}${seen}`;
}

function wanted(node: PacketNode, line: Line, family: Family, actual: string): string {
  if (line.expected === 'closed') return actual.startsWith('passes') ? 'no answer' : actual;
  const seen = line.seenAs === null ? '' : ` seen as ${address(node, line.seenAs, family)}`;
  return `${line.expected}${seen}`;
}

/** How a table is tried. */
export interface TableOptions {
  /** Default: both. */
  readonly families?: readonly Family[];
  /** Default 10 s. */
  readonly timeoutMs?: number;
}

/** Tries the table until every line holds in one round; fails with what was wanted and what came in the last round. */
export async function expectPackets(
  node: PacketNode,
  table: readonly string[],
  options: TableOptions = {},
): Promise<void> {
  const lines = table.flatMap((text) => parse(text, options.families ?? [4, 6]));
  if (!lines.some((line) => line.expected === 'passes')) throw new Error('A table without a line that passes');
  for (const line of lines) if (!line.to.startsWith('[')) await listenOn(node, line.to, line.port, line.protocol);
  const deadline = Date.now() + (options.timeoutMs ?? 10_000);
  for (let round = 1; ; round += 1) {
    // Flows of the last round would be let through as established.
    await node.namespace.run(['conntrack', '-F'], { reject: false });
    const rows = await Promise.all(
      lines.flatMap((line) =>
        line.families.map(async (family) => {
          const actual = await probeLine(node, line, family);
          const label = `${line.text} (IPv${family})`;
          return { is: `${label}: ${actual}`, wants: `${label}: ${wanted(node, line, family, actual)}` };
        }),
      ),
    );
    if (rows.every((row) => row.is === row.wants)) return;
    if (round < 2 || Date.now() < deadline) continue;
    expect(
      rows.filter((row) => row.is !== row.wants).map((row) => row.is),
      `after ${round} rounds\n${node.problems()}`,
    ).toEqual(rows.filter((row) => row.is !== row.wants).map((row) => row.wants));
  }
}
