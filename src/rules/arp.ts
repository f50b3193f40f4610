// The nft table `arp calico-arp`, wanted in both modes: keeps the host, which answers ARP for everything, from
// claiming a pod's own address toward that pod (dataplane.md 5.7).
import type { Chain, Rule } from '../model/chain.js';
import { CHAIN, ENDPOINT_CHAIN_PREFIX, endpointChainName } from '../model/names.js';
import { DROP, jump, type RenderContext, rule } from './context.js';
import type { DispatchChains } from './renderer.js';

/** Interfaces without addresses get neither chain nor map element. */
export function renderArpTable(
  ctx: RenderContext,
  addressesByInterface: ReadonlyMap<string, readonly string[]>,
): DispatchChains & { readonly inserted: ReadonlyMap<string, readonly Rule[]> } {
  const chains: Chain[] = [
    { name: CHAIN.arpDispatch, rules: [{ match: [{ kind: 'out-interface-map', map: CHAIN.arpDispatch }] }] },
  ];
  const elements = new Map<string, string>();
  for (const [interfaceName, addresses] of addressesByInterface) {
    if (addresses.length === 0) continue;
    const name = endpointChainName(ENDPOINT_CHAIN_PREFIX.arp, interfaceName, ctx.backend);
    const rules = addresses.map((address) =>
      rule(
        [
          { kind: 'out-interface', name: interfaceName },
          { kind: 'arp-reply-from', address },
        ],
        DROP,
      ),
    );
    chains.push({ name, rules });
    elements.set(interfaceName, name);
  }
  return {
    chains,
    maps: [{ name: CHAIN.arpDispatch, elements }],
    inserted: new Map([['OUTPUT', [rule([], jump(CHAIN.arpDispatch))]]]),
  };
}
