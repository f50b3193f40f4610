// An nftables kernel in memory: carries out the statements that the plane writes, all or none, and refuses what the
// real one refuses (missing objects, objects in use, overlapping intervals, loops). Errors read like those of nft.
import { ToolError } from '../../src/base/errors.js';
import { cidrContains, parseCidr } from '../../src/base/ip.js';
import {
  type KernelNftTable,
  type NftFamily,
  type NftIo,
  scriptText,
  type Statement,
} from '../../src/tables/nftables/io.js';
import { chainKey, hashOfComment } from '../../src/tables/nftables/rendered-chains.js';

interface FakeRule {
  readonly text: string;
  readonly comment: string;
}
interface FakeChain {
  base?: { type: string; hook: string; priority: number; policy: string };
  rules: FakeRule[];
}
interface FakeTable {
  readonly chains: Map<string, FakeChain>;
  readonly sets: Map<string, { type: string; flags: string; elements: Set<string> }>;
  readonly maps: Map<string, { type: string; flags: string; elements: Map<string, string> }>;
  readonly flowtables: Map<string, Set<string>>;
}

class Refused extends Error {}

function emptyTable(): FakeTable {
  return { chains: new Map(), sets: new Map(), maps: new Map(), flowtables: new Map() };
}

function fail(reason: string): never {
  throw new Refused(reason);
}

function need<T>(value: T | undefined): T {
  return value ?? fail('No such file or directory');
}

/** What nft says when it exits with 1 for a line of the script. */
export function nftError(line: number, reason: string): ToolError {
  return new ToolError(`nft exited with 1: ${reason}`, {
    argv: ['nft', '-f', '-'],
    exitCode: 1,
    signal: null,
    stderrHead: `/dev/stdin:${line}:1-3: Error: ${reason}\n`,
    inputLine: line,
    durationMs: 1,
  });
}

/** nft was killed before it answered. */
export function nftKilled(): ToolError {
  return new ToolError('nft was killed by SIGKILL', {
    argv: ['nft', '-f', '-'],
    exitCode: null,
    signal: 'SIGKILL',
    stderrHead: '',
    durationMs: 1,
  });
}

/** The kernel, seen through {@link NftIo}, with hooks to make it fail. */
export class FakeNftKernel implements NftIo {
  #tables = new Map<string, FakeTable>();
  #foreignChanges = 0;
  /** Answer of `generation`; false = null, as with the nft command. */
  tellsGeneration = false;
  transactions: string[] = [];
  checks = 0;
  listings = 0;
  /** Gives the reason for which a statement is refused. */
  refuses: (statement: string, line: number) => string | undefined = () => undefined;
  /** Called before a transaction; what it throws is the answer, before or after the transaction was carried out. */
  beforeTransaction: (script: string) => void = () => undefined;
  afterTransaction: (script: string) => void = () => undefined;
  /** Called before a listing. */
  beforeListing: () => void = () => undefined;

  transaction(statements: readonly Statement[], onReady?: () => void): Promise<void> {
    const script = scriptText(statements);
    this.transactions.push(script);
    onReady?.();
    return Promise.resolve().then(() => {
      this.beforeTransaction(script);
      this.#tables = this.#carryOut(script);
      this.afterTransaction(script);
    });
  }

  check(statements: readonly Statement[]): Promise<void> {
    this.checks++;
    return Promise.resolve().then(() => {
      this.#carryOut(scriptText(statements));
    });
  }

  /** Somebody else changes the ruleset. */
  foreign(script: string): void {
    this.#tables = this.#carryOut(script);
    this.#foreignChanges++;
  }

  listTable(family: NftFamily, table: string): Promise<KernelNftTable | null> {
    this.listings++;
    return Promise.resolve().then(() => {
      this.beforeListing();
      const found = this.#tables.get(`${family} ${table}`);
      if (found === undefined) return null;
      const chains = new Map<string, KernelNftTable['chains'] extends ReadonlyMap<string, infer C> ? C : never>();
      for (const [name, { base, rules }] of found.chains) {
        chains.set(name, {
          ...(base === undefined ? {} : { base }),
          tags: chainKey(rules.map(({ comment }) => hashOfComment(comment))),
        });
      }
      const sets = new Map([...found.sets].map(([name, set]) => [name, { ...set, elements: [...set.elements] }]));
      const maps = new Map([...found.maps].map(([name, map]) => [name, { ...map, elements: new Map(map.elements) }]));
      return { chains, sets, maps, flowtables: found.flowtables };
    });
  }

  listTables(family: NftFamily): Promise<string[]> {
    const names = [...this.#tables.keys()].filter((name) => name.startsWith(`${family} `));
    return Promise.resolve(names.map((name) => name.slice(family.length + 1)));
  }

  listChains(family: NftFamily, table: string): Promise<string[]> {
    return Promise.resolve([...(this.#tables.get(`${family} ${table}`)?.chains.keys() ?? [])]);
  }

  generation(): Promise<number | null> {
    return Promise.resolve(this.tellsGeneration ? this.#foreignChanges : null);
  }

  /** Rule texts of a chain, or undefined if there is none. */
  rules(family: NftFamily, table: string, chain: string): string[] | undefined {
    return this.#tables
      .get(`${family} ${table}`)
      ?.chains.get(chain)
      ?.rules.map(({ text }) => text);
  }

  /** Sorted elements of a set, or undefined. */
  elements(family: NftFamily, table: string, set: string): string[] | undefined {
    const found = this.#tables.get(`${family} ${table}`)?.sets.get(set);
    return found === undefined ? undefined : [...found.elements].sort();
  }

  /** Elements of a map, or undefined. */
  map(family: NftFamily, table: string, map: string): Record<string, string> | undefined {
    const found = this.#tables.get(`${family} ${table}`)?.maps.get(map);
    return found === undefined ? undefined : Object.fromEntries(found.elements);
  }

  /** Devices of a flowtable, or undefined. */
  devices(family: NftFamily, table: string, flowtable: string): string[] | undefined {
    const found = this.#tables.get(`${family} ${table}`)?.flowtables.get(flowtable);
    return found === undefined ? undefined : [...found].sort();
  }

  /** All of a table as text, for comparison; null if there is no such table. */
  dump(family: NftFamily, table: string): string | null {
    const found = this.#tables.get(`${family} ${table}`);
    if (found === undefined) return null;
    const lines: string[] = [];
    for (const [name, { base, rules }] of found.chains) {
      lines.push(
        `chain ${name} ${JSON.stringify(base ?? null)} ${rules.map(({ text, comment }) => `${text} # ${comment}`).join(' | ')}`,
      );
    }
    for (const [name, set] of found.sets)
      lines.push(`set ${name} ${set.type} ${set.flags} ${[...set.elements].sort().join()}`);
    for (const [name, map] of found.maps) lines.push(`map ${name} ${JSON.stringify([...map.elements].sort())}`);
    for (const [name, devices] of found.flowtables) lines.push(`flowtable ${name} ${[...devices].sort().join()}`);
    return lines.sort().join('\n');
  }

  #carryOut(script: string): Map<string, FakeTable> {
    const tables = structuredClone(this.#tables);
    const lines = script.split('\n');
    for (const [at, line] of lines.entries()) {
      if (line === '') continue;
      try {
        const reason = this.refuses(line, at + 1);
        if (reason !== undefined) fail(reason);
        carryOutStatement(tables, line);
      } catch (error) {
        if (error instanceof Refused) throw nftError(at + 1, error.message);
        throw error;
      }
    }
    for (const table of tables.values())
      if (hasLoop(table)) throw nftError(lines.length - 1, 'Could not process rule: Too many links');
    return tables;
  }
}

function carryOutStatement(tables: Map<string, FakeTable>, line: string): void {
  const match = /^(add|delete|flush) (\w+) (ip|ip6|arp) ([\w-]+)(?: (\S+))?(?: (.*))?$/u.exec(line);
  if (match === null) fail('syntax error');
  const [, verb, kind, family, tableName, name = '', rest = ''] = match;
  const key = `${family} ${tableName}`;
  if (kind === 'table') {
    if (verb === 'add') tables.set(key, tables.get(key) ?? emptyTable());
    else if (!tables.delete(key)) fail('No such file or directory');
    return;
  }
  const table = need(tables.get(key));
  const statement = `${verb} ${kind}`;
  if (statement === 'add chain') addChain(table, name, rest);
  else if (statement === 'flush chain') need(table.chains.get(name)).rules = [];
  else if (statement === 'delete chain') deleteChain(table, name);
  else if (statement === 'add rule') addRule(table, name, rest);
  else if (statement === 'add set') addShaped(table.sets, name, rest, () => new Set<string>());
  else if (statement === 'add map')
    addShaped(table.maps, name, rest.replace(' : verdict', ''), () => new Map<string, string>());
  else if (statement === 'flush map') need(table.maps.get(name)).elements.clear();
  else if (statement === 'delete set' || statement === 'delete map')
    deleteNamed(table, kind === 'set' ? table.sets : table.maps, name);
  else if (kind === 'element') changeElements(table, verb === 'add', name, rest);
  else if (kind === 'flowtable') changeFlowtable(table, verb === 'add', name, rest);
  else fail(`syntax error: ${line}`);
}

function addChain(table: FakeTable, name: string, rest: string): void {
  const base = /type (\w+) hook (\w+) priority (-?\d+);(?: policy (\w+);)?/u.exec(rest);
  if (table.chains.has(name)) return;
  const [, type = '', hook = '', priority, policy = 'accept'] = base ?? [];
  table.chains.set(
    name,
    base === null ? { rules: [] } : { base: { type, hook, priority: Number(priority), policy }, rules: [] },
  );
}

function targets(table: FakeTable): { from: string; to: string }[] {
  const found: { from: string; to: string }[] = [];
  for (const [from, { rules }] of table.chains) {
    for (const { text } of rules) {
      for (const [, to = ''] of text.matchAll(/(?:jump|goto) (\S+)/gu)) found.push({ from, to });
      for (const [, map = ''] of text.matchAll(/vmap @(\S+)/gu)) {
        for (const to of table.maps.get(map)?.elements.values() ?? []) found.push({ from, to });
      }
    }
  }
  return found;
}

function deleteChain(table: FakeTable, name: string): void {
  if (need(table.chains.get(name)).rules.length > 0) fail('Could not process rule: Device or resource busy');
  const inMaps = [...table.maps.values()].some(({ elements }) => [...elements.values()].includes(name));
  if (inMaps || targets(table).some(({ to }) => to === name)) fail('Could not process rule: Device or resource busy');
  table.chains.delete(name);
}

function addRule(table: FakeTable, chain: string, rest: string): void {
  const match = /^(.*?)(?: comment "([^"]*)")?$/u.exec(rest);
  const [, text = '', comment = ''] = match ?? [];
  for (const [, target = ''] of text.matchAll(/(?:jump|goto) (\S+)/gu)) need(table.chains.get(target));
  for (const [, set = ''] of text.matchAll(/@(\S+)/gu))
    need(table.sets.get(set) ?? table.maps.get(set) ?? table.flowtables.get(set));
  need(table.chains.get(chain)).rules.push({ text, comment });
}

function addShaped<E>(
  objects: Map<string, { type: string; flags: string; elements: E }>,
  name: string,
  rest: string,
  empty: () => E,
): void {
  const [, type = ''] = /type ([^;]+);/u.exec(rest) ?? fail('syntax error');
  const [, flags = ''] = /flags ([^;]+);/u.exec(rest) ?? [];
  const old = objects.get(name);
  if (old !== undefined && (old.type !== type || old.flags !== flags)) fail('File exists');
  if (old === undefined) objects.set(name, { type, flags, elements: empty() });
}

function deleteNamed(table: FakeTable, objects: Map<string, unknown>, name: string): void {
  need(objects.get(name));
  const used = [...table.chains.values()].some(({ rules }) =>
    rules.some(({ text }) => ` ${text} `.includes(`@${name} `)),
  );
  if (used) fail('Could not process rule: Device or resource busy');
  objects.delete(name);
}

function changeElements(table: FakeTable, add: boolean, name: string, rest: string): void {
  const texts = rest.replace(/^\{ /u, '').replace(/ \}$/u, '').split(', ');
  const set = table.sets.get(name);
  for (const text of texts) {
    if (set === undefined) changeMapElement(table, need(table.maps.get(name)).elements, add, text);
    else changeSetElement(set, add, text);
  }
}

function changeMapElement(table: FakeTable, elements: Map<string, string>, add: boolean, text: string): void {
  const [, key = '', target = ''] = /^"([^"]+)"(?: : goto (\S+))?$/u.exec(text) ?? fail('syntax error');
  if (!add) {
    if (!elements.delete(key)) fail('Could not process rule: No such file or directory');
    return;
  }
  need(table.chains.get(target));
  if (elements.has(key) && elements.get(key) !== target) fail('Could not process rule: File exists');
  elements.set(key, target);
}

function changeSetElement(
  set: { type: string; flags: string; elements: Set<string> },
  add: boolean,
  text: string,
): void {
  if (!add) {
    if (!set.elements.delete(text)) fail('element does not exist');
    return;
  }
  const [address = ''] = text.split(' . ');
  const cidr = parseCidr(address) ?? fail('Could not resolve hostname: Name or service not known');
  if (set.flags === 'interval') {
    for (const other of set.elements) {
      const otherCidr = parseCidr(other);
      if (otherCidr === null || other === text) continue;
      if (cidrContains(cidr, otherCidr) || cidrContains(otherCidr, cidr))
        fail('interval overlaps with an existing one');
    }
  } else if (address.includes('/')) {
    fail('syntax error');
  }
  set.elements.add(text);
}

function changeFlowtable(table: FakeTable, add: boolean, name: string, rest: string): void {
  const [, list = ''] = /devices = \{ ([^}]*) \}/u.exec(rest) ?? [];
  const names = list === '' ? [] : list.split(', ').map((device) => device.replaceAll('"', ''));
  if (add) {
    const devices = table.flowtables.get(name) ?? new Set<string>();
    for (const device of names) {
      if (device.startsWith('missing')) fail('Could not process rule: No such file or directory');
      devices.add(device);
    }
    table.flowtables.set(name, devices);
  } else if (rest === '') {
    deleteNamed(table, table.flowtables, name);
  } else {
    const devices = need(table.flowtables.get(name));
    for (const device of names) if (!devices.delete(device)) fail('Could not process rule: No such file or directory');
  }
}

function hasLoop(table: FakeTable): boolean {
  const next = new Map<string, string[]>();
  for (const { from, to } of targets(table)) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const visit = (chain: string, path: ReadonlySet<string>): boolean => {
    if (path.has(chain)) return true;
    if (done.has(chain)) return false;
    const deeper = new Set(path).add(chain);
    if ((next.get(chain) ?? []).some((to) => visit(to, deeper))) return true;
    done.add(chain);
    return false;
  };
  return [...table.chains.keys()].some((chain) => visit(chain, new Set()));
}
