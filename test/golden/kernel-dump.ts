// Reads the rule hashes out of recorded iptables-save and `nft list table` dumps.

/** `iptables-save` text: table → chain → hashes of our rules in order. */
export function readIptablesDump(text: string): Map<string, Map<string, string[]>> {
  const tables = new Map<string, Map<string, string[]>>();
  let chains = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      chains = new Map();
      tables.set(line.slice(1), chains);
    } else if (line.startsWith(':')) {
      chains.set(line.slice(1, line.indexOf(' ')), []);
    } else if (line.startsWith('-A ')) {
      const [, name = ''] = line.split(' ');
      const hash = /"?cali:([A-Za-z0-9_-]+)"?/.exec(line)?.[1];
      if (hash !== undefined) chains.get(name)?.push(hash);
    }
  }
  return tables;
}

/** `nft list ruleset` text: table (`ip calico`) → chain → hashes in order. */
export function readNftDump(text: string): Map<string, Map<string, string[]>> {
  const tables = new Map<string, Map<string, string[]>>();
  let chains = new Map<string, string[]>();
  let hashes: string[] = [];
  for (const line of text.split('\n')) {
    const table = /^table (\S+ \S+) \{/.exec(line)?.[1];
    const chain = /^\tchain (\S+) \{/.exec(line)?.[1];
    if (table !== undefined) {
      chains = new Map();
      tables.set(table, chains);
    } else if (chain !== undefined) {
      hashes = [];
      chains.set(chain, hashes);
    } else {
      const hash = /comment "cali:([A-Za-z0-9_-]+);/.exec(line)?.[1];
      if (hash !== undefined) hashes.push(hash);
    }
  }
  return tables;
}
