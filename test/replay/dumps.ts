// Reads the kernel dumps of the recordings into chains with their rule hashes, sets, maps and routes.

/** Chain → hash of every rule, in order; `''` for a rule without one. */
export type ChainHashes = Map<string, string[]>;

/** One nft table. Names are as in the dump, with layer prefixes. */
export interface NftTable {
  readonly chains: ChainHashes;
  /** Map → `interface → chain`. */
  readonly maps: Map<string, Map<string, string>>;
}

/** `iptables-save` text → table → chain → hashes. Kernel chains without rules of ours are left out. */
export function readIptablesDump(text: string): Map<string, ChainHashes> {
  const tables = new Map<string, ChainHashes>();
  let chains: ChainHashes = new Map();
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      chains = new Map();
      tables.set(line.slice(1), chains);
    } else if (line.startsWith(':')) {
      const name = line.slice(1, line.indexOf(' '));
      if (name.startsWith('cali-')) chains.set(name, []);
    } else if (line.startsWith('-A ')) {
      const name = line.split(' ')[1] ?? '';
      const hash = /--comment "?cali:([A-Za-z0-9_-]+)/.exec(line)?.[1] ?? '';
      chains.set(name, [...(chains.get(name) ?? []), hash]);
    }
  }
  return tables;
}

/** `nft list table` text → `family name` → chains and maps. Base chains without rules are left out. */
export function readNftDump(text: string): Map<string, NftTable> {
  const tables = new Map<string, NftTable>();
  let table: NftTable = { chains: new Map(), maps: new Map() };
  let block: { kind: string; name: string } | null = null;
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    const opened = /^(table|chain|map|set|flowtable) (\S+)(?: (\S+))? \{$/.exec(line);
    if (opened?.[1] === 'table') {
      table = { chains: new Map(), maps: new Map() };
      tables.set(`${opened[2]} ${opened[3]}`, table);
    } else if (opened !== null) {
      block = { kind: opened[1] ?? '', name: opened[2] ?? '' };
      if (block.kind === 'chain' && /^[a-z]+-cali-/.test(block.name)) table.chains.set(block.name, []);
      if (block.kind === 'map') table.maps.set(block.name, new Map());
    } else if (block?.kind === 'chain' && line !== '}' && line !== '' && !line.startsWith('type ')) {
      const hash = /comment "cali:([A-Za-z0-9_-]+)/.exec(line)?.[1] ?? '';
      table.chains.set(block.name, [...(table.chains.get(block.name) ?? []), hash]);
    } else if (block?.kind === 'map') {
      const element = /^"?([^" ]+)"? : goto (\S+?),?$/.exec(line);
      if (element !== null) table.maps.get(block.name)?.set(element[1] ?? '', element[2] ?? '');
    }
  }
  return tables;
}

/** `ipset save` text → set name → sorted members. */
export function readIpsetDump(text: string): Map<string, string[]> {
  const sets = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [verb, name = '', member = ''] = line.split(' ');
    if (verb === 'create') sets.set(name, []);
    else if (verb === 'add') sets.get(name)?.push(member);
  }
  for (const members of sets.values()) members.sort();
  return sets;
}

/** `ip route` text → sorted `destination metric` of the routes on one interface. */
export function readRoutes(text: string, interfaceName: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.includes(`dev ${interfaceName} `) && !line.includes('proto kernel'))
    .map((line) => `${line.split(' ')[0]} ${/metric (\d+)/.exec(line)?.[1] ?? ''}`)
    .sort();
}
