// Turns a transaction's text, as script.ts writes it, into one netlink batch. A statement of another form gives null:
// then the whole transaction is libnftables's.
import type { TimeSlices } from '../../base/time-slices.js';
import type { Expression } from '../../kernel/netlink/nf-expressions.js';
import type { Batch, ElementKind } from '../../kernel/netlink/nf-tables.js';
import { NfBatch, type SetForm } from '../../kernel/netlink/nf-batch.js';
import type { ChainRules, NftFamily, SetElements, Statement } from './io.js';
import { RuleForms } from './rule-forms.js';

const FIRST = /^(?:add|flush|delete) (?:table|chain|set|map) (ip|ip6|arp) (\S+)(?: |$)/;
const TABLE = /^(add|delete) table (?:ip|ip6|arp) \S+$/;
const CHAIN =
  /^(add|flush|delete) chain (?:ip|ip6|arp) \S+ (\S+)(?: \{ type (filter|route|nat) hook ([a-z]+) priority (-?\d+); \})?$/;
const SET = /^(add|delete|flush) (?:set|map) (?:ip|ip6|arp) \S+ (\S+)(?: \{ type ([^;]+?);(?: flags ([a-z,]+);)? \})?$/;

/** nft's numbers of data types, by what the sets of this program hold. */
const INTERVAL = 4;
const MAP = 8;
const NETWORK_ORDER = Buffer.from('000402000000', 'hex');
const PARTS_ORDER = Buffer.from('000400000000030800040d0000000100', 'hex');
const INTERFACE_ORDER = Buffer.from('000401000000010400000000060400000000', 'hex');

function form(keyType: number, keyLength: number, userData: Buffer): SetForm {
  return { keyType, keyLength, flags: 0, isVerdictMap: false, userData };
}

const FORMS: Readonly<Record<string, SetForm>> = {
  ipv4_addr: form(7, 4, NETWORK_ORDER),
  ipv6_addr: form(8, 16, NETWORK_ORDER),
  'ipv4_addr . inet_proto . inet_service': form(0x730d, 12, PARTS_ORDER),
  'ipv6_addr . inet_proto . inet_service': form(0x830d, 24, PARTS_ORDER),
  'ifname : verdict': { keyType: 41, keyLength: 16, flags: MAP, isVerdictMap: true, userData: INTERFACE_ORDER },
};

/** Which kind of elements a set has, from its type and flags; null for one that is left to nft. */
export function elementKind(type: string, isInterval: boolean): ElementKind | null {
  if (type === 'ipv4_addr' || type === 'ipv6_addr') return isInterval ? 'interval' : 'address';
  if (/^ipv[46]_addr \. inet_proto \. inet_service$/u.test(type)) return 'address-port';
  return type === 'ifname : verdict' ? 'interface-goto' : null;
}

const STATEMENT_BYTES = 128;
const RULE_BYTES = 384;
const ELEMENT_BYTES = 72;

/** What the compiler has to know: `family table set` → kind of its elements. */
export type ElementKinds = ReadonlyMap<string, ElementKind>;

class ScriptCompiler {
  /** Sets that the transaction makes. */
  readonly #made = new Map<string, ElementKind>();
  readonly #batch: NfBatch;
  readonly #kinds: ElementKinds;
  readonly #prefix: string;
  readonly #rule: (text: string) => readonly Expression[] | null;

  constructor(batch: NfBatch, kinds: ElementKinds) {
    this.#batch = batch;
    this.#kinds = kinds;
    this.#prefix = `${batch.family} ${batch.table}`;
    const forms = new RuleForms(batch.family);
    this.#rule = (text) => forms.compile(text);
  }

  statement(statement: Statement): boolean {
    if (typeof statement !== 'string') return 'chain' in statement ? this.#rules(statement) : this.#elements(statement);
    const first = FIRST.exec(statement);
    if (first === null || `${first[1]} ${first[2]}` !== this.#prefix) return false;
    return this.#chain(statement) || this.#set(statement) || this.#table(statement);
  }

  #rules({ table, chain, texts, comments }: ChainRules): boolean {
    if (table !== this.#prefix) return false;
    this.#batch.openRules(chain);
    for (const [index, text] of texts.entries()) {
      if (!this.#batch.addRule(text, comments[index] ?? '', this.#rule)) return false;
    }
    return true;
  }

  #elements({ operation, table, set, elements }: SetElements): boolean {
    const key = `${table} ${set}`;
    const kind = this.#made.get(key) ?? this.#kinds.get(key);
    if (kind === undefined || table !== this.#prefix) return false;
    // Interface names are in quotes, as nft wants them.
    const plain = kind === 'interface-goto' ? elements.map((element) => element.replaceAll('"', '')) : elements;
    this.#batch.changeElements({ operation, set, kind, elements: plain });
    return true;
  }

  #chain(line: string): boolean {
    const [, verb, name = '', type, hook = '', priority] = CHAIN.exec(line) ?? [];
    if (verb === 'add') {
      this.#batch.addChain(name, type === undefined ? undefined : { type, hook, priority: Number(priority) });
    } else if (verb === 'flush') this.#batch.flushChain(name);
    else if (verb === 'delete') this.#batch.deleteChain(name);
    return verb !== undefined;
  }

  #set(line: string): boolean {
    const [, verb, name = '', type = '', flags = ''] = SET.exec(line) ?? [];
    if (verb === 'delete') this.#batch.deleteSet(name);
    else if (verb === 'flush') this.#batch.flushSet(name);
    else if (verb === 'add') {
      const made = FORMS[type];
      const kind = elementKind(type, flags === 'interval');
      if (made === undefined || kind === null || (flags !== '' && flags !== 'interval')) return false;
      this.#made.set(`${this.#prefix} ${name}`, kind);
      this.#batch.addSet(name, flags === '' ? made : { ...made, flags: made.flags | INTERVAL });
    }
    return verb !== undefined;
  }

  #table(line: string): boolean {
    const verb = TABLE.exec(line)?.[1];
    if (verb === 'add') this.#batch.addTable();
    else if (verb === 'delete') this.#batch.deleteTable();
    return verb !== undefined;
  }
}

/** About how many bytes a script takes, rather more. */
function sizeOf(statements: readonly Statement[]): number {
  let bytes = 0;
  for (const statement of statements) {
    if (typeof statement === 'string') bytes += STATEMENT_BYTES;
    else if ('chain' in statement) bytes += statement.texts.length * RULE_BYTES;
    else bytes += statement.elements.length * ELEMENT_BYTES;
  }
  return bytes;
}

function openScript(
  statements: readonly Statement[],
  kinds: ElementKinds,
): { readonly batch: NfBatch; readonly compiler: ScriptCompiler } | null {
  const [start] = statements;
  const prefix =
    typeof start === 'object'
      ? start.table
      : FIRST.exec(start ?? '')
          ?.slice(1, 3)
          .join(' ');
  const [family, table] = prefix?.split(' ') ?? [];
  if (family === undefined || table === undefined) return null;
  const batch = new NfBatch(family as NftFamily, table, sizeOf(statements));
  return { batch, compiler: new ScriptCompiler(batch, kinds) };
}

/**
 * Compiles the statements of one table; null if one of them has a form that is not known here.
 * @throws NetlinkError for an element that is not what its set holds.
 */
export function compileScript(statements: readonly Statement[], kinds: ElementKinds): Batch | null {
  const script = openScript(statements, kinds);
  if (script === null) return null;
  for (const statement of statements) if (!script.compiler.statement(statement)) return null;
  return script.batch.finish();
}

/** The same for scripts that may be long: hands the event loop back between slices. */
export async function compileInSlices(
  statements: readonly Statement[],
  kinds: ElementKinds,
  slices: TimeSlices,
): Promise<Batch | null> {
  const script = openScript(statements, kinds);
  if (script === null) return null;
  for (const statement of statements) {
    if (!script.compiler.statement(statement)) return null;
    if (slices.isOver()) await slices.pause();
  }
  return script.batch.finish();
}
