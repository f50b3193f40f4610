// Writes whole tables as input of iptables-restore and nft, with empty sets for all that rules refer to, so that
// the real tools can judge rendered rules.
import type { Chain, Rule } from '../../src/model/chain.js';
import type { Family, TableName } from '../../src/model/family.js';
import { MODERN_FEATURES } from '../../src/model/features.js';
import * as iptables from '../../src/tables/iptables/hash.js';
import * as nftables from '../../src/tables/nftables/hash.js';
import { layerName, nftSetName } from '../../src/tables/nftables/render.js';
import { reachable, type TableContent } from './rule-state.js';

/** Base chains of the nft table: `<layer>-<chain>` → its declaration (dataplane.md 5.2). */
const NFT_BASE_CHAINS: Readonly<Record<string, string>> = {
  'raw-PREROUTING': 'type filter hook prerouting priority -300;',
  'raw-OUTPUT': 'type filter hook output priority -300;',
  'mangle-PREROUTING': 'type filter hook prerouting priority -150;',
  'mangle-POSTROUTING': 'type filter hook postrouting priority -150;',
  'nat-PREROUTING': 'type nat hook prerouting priority -100;',
  'nat-OUTPUT': 'type nat hook output priority 110;',
  'nat-POSTROUTING': 'type nat hook postrouting priority 110;',
  'filter-INPUT': 'type filter hook input priority 0;',
  'filter-FORWARD': 'type filter hook forward priority 0;',
  'filter-OUTPUT': 'type filter hook output priority 0;',
};

/** Names of the sets that rules use; true for sets of address and port. */
function setsOf(contents: Iterable<TableContent>): Map<string, boolean> {
  const sets = new Map<string, boolean>();
  for (const content of contents) {
    for (const chain of content.chains.values()) {
      for (const match of chain.rules.flatMap((rule) => rule.match)) {
        if (match.kind === 'source-set' || match.kind === 'dest-set') sets.set(match.set, false);
        if (match.kind === 'source-port-set' || match.kind === 'dest-port-set') sets.set(match.set, true);
      }
    }
  }
  return sets;
}

/** Input of `ipset restore`. */
export function ipsetText(contents: Iterable<TableContent>, family: Family): string {
  const lines = [...setsOf(contents)].map(
    ([name, ports]) =>
      `create ${name} ${ports ? 'hash:ip,port' : 'hash:net'} family ${family === 4 ? 'inet' : 'inet6'}`,
  );
  return `${lines.join('\n')}\n`;
}

function* programmedChains(content: TableContent): Generator<Chain> {
  for (const name of reachable(content)) {
    const chain = content.chains.get(name);
    if (chain !== undefined) yield chain;
  }
}

function* hooksOf(content: TableContent): Generator<[string, readonly Rule[]]> {
  for (const [hook, rules] of content.inserted) yield [hook, rules];
  for (const [hook, rules] of content.appended) yield [hook, rules];
}

/** Input of iptables-restore for one table. */
export function iptablesText(content: TableContent, table: TableName, family: Family): string {
  const ctx = { family, features: MODERN_FEATURES };
  const lines = [`*${table}`];
  const chains = [...programmedChains(content)];
  for (const { name } of chains) lines.push(`:${name} - [0:0]`);
  const append = (name: string, rules: readonly Rule[]): void => {
    for (const text of iptables.renderChain(name, rules, ctx).texts) lines.push(`-A ${name} ${text}`);
  };
  for (const { name, rules } of chains) append(name, rules);
  for (const [hook, rules] of hooksOf(content)) append(hook, rules);
  return `${[...lines, 'COMMIT'].join('\n')}\n`;
}

/** Input of `nft -f`: all layers of one family's table. */
export function nftText(contents: ReadonlyMap<TableName, TableContent>, family: Family): string {
  const table = family === 4 ? 'ip calico' : 'ip6 calico';
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const lines = [`add table ${table}`];
  for (const [set, ports] of setsOf(contents.values())) {
    const type = ports ? `type ${address} . inet_proto . inet_service;` : `type ${address}; flags interval;`;
    lines.push(`add set ${table} ${nftSetName(set)} { ${type} }`);
  }
  const rules: string[] = [];
  for (const [layer, content] of contents) {
    const ctx = { family, features: MODERN_FEATURES, layer };
    const chains = [...programmedChains(content)];
    const add = (name: string, list: readonly Rule[]): void => {
      const { texts, hashes } = nftables.renderChain(name, list, ctx);
      const comments = nftables.ruleComments(list, hashes);
      texts.forEach((text, index) => {
        rules.push(`add rule ${table} ${layerName(layer, name)} ${text} comment "${comments[index]}"`);
      });
    };
    for (const { name } of chains) lines.push(`add chain ${table} ${layerName(layer, name)}`);
    for (const { name, elements } of content.maps) {
      lines.push(`add map ${table} ${layerName(layer, name)} { type ifname : verdict; }`);
      for (const [key, target] of elements) {
        rules.push(`add element ${table} ${layerName(layer, name)} { ${key} : goto ${layerName(layer, target)} }`);
      }
    }
    for (const { name, rules: list } of chains) add(name, list);
    for (const [hook, list] of hooksOf(content)) {
      const base = layerName(layer, hook);
      lines.push(`add chain ${table} ${base} { ${NFT_BASE_CHAINS[base]} }`);
      add(hook, list);
    }
  }
  return `${[...lines, ...rules].join('\n')}\n`;
}
