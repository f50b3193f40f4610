// One node for each mode, and tests that must come out the same on all of them. The nodes wait side by side: a packet
// that is dropped costs its timeout once, not three times.
import { MODES, type Mode } from '../../fixtures/recording.js';
import { PacketNode, type PacketNodeOptions } from './packets-node.js';

/** Nodes of all modes. */
export interface ModeNodes {
  /** Runs `act` on every node; a failure says in which mode it was. */
  each(act: (node: PacketNode, mode: Mode) => Promise<void>): Promise<void>;
  remove(): Promise<void>;
}

async function settleAll(work: readonly (readonly [Mode, Promise<unknown>])[]): Promise<void> {
  const results = await Promise.allSettled(work.map(([, promise]) => promise));
  for (const [index, result] of results.entries()) {
    if (result.status === 'fulfilled') continue;
    const error: unknown = result.reason;
    if (error instanceof Error) error.message = `${work[index]?.[0]}: ${error.message}`;
    throw error;
  }
}

/** Makes the nodes, without drivers. */
export async function createModeNodes(options: PacketNodeOptions, modes: readonly Mode[] = MODES): Promise<ModeNodes> {
  const nodes = new Map<Mode, PacketNode>();
  const remove = async (): Promise<void> => {
    await Promise.all([...nodes.values()].map((node) => node.remove()));
  };
  try {
    const make = async (mode: Mode) => nodes.set(mode, await PacketNode.create(options));
    await settleAll(modes.map((mode) => [mode, make(mode)] as const));
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    each: (act) =>
      settleAll(
        modes.flatMap((mode) => {
          const node = nodes.get(mode);
          return node === undefined ? [] : [[mode, act(node, mode)] as const];
        }),
      ),
    remove,
  };
}

/** The two programs of an iptables mode; null in nftables mode. */
export function iptablesOf(mode: Mode): { readonly v4: string; readonly v6: string } | null {
  if (mode === 'nftables') return null;
  const backend = mode === 'iptables-legacy' ? 'legacy' : 'nft';
  return { v4: `iptables-${backend}`, v6: `ip6tables-${backend}` };
}

/** Sets the system's policy of a base chain, in iptables modes only: in nftables mode both base chains decide. */
export async function setChainPolicy(node: PacketNode, mode: Mode, chain: string, verdict: string): Promise<void> {
  const programs = iptablesOf(mode);
  if (programs === null) return;
  await node.namespace.shell(`${programs.v4} -P ${chain} ${verdict}; ${programs.v6} -P ${chain} ${verdict}`);
}
