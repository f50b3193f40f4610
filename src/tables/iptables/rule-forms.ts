// The bytes of rules by their texts, each form made once: rules that differ in nothing but names (of the chain that they
// lead to, of the interface that they are for, of an IP set) are copies of one form. A pod that comes or goes has hundreds
// of them.
import { type CompatRule, compatRuleBytes, FIRST_EXPRESSION } from '../../kernel/netlink/compat-batch.js';
import { encodeExpressions } from '../../kernel/netlink/nf-expressions.js';
import { commentMatch, setMatch } from '../../kernel/netlink/xt-structs.js';
import type { Family, TableName } from '../../model/family.js';
import { compileRule } from './rule-compiler.js';
import type { RulePlace } from './rule-reader.js';
import { isChainName } from './rule-targets.js';

/** A rule's form, and the names in it, in the order of its places; the text of a comment goes into the first. */
export interface FormedRule {
  readonly form: CompatRule;
  readonly names: readonly string[];
}

const NAME = /^[!#-&(-[\]-~]+$/;
const INTERFACE = /^[A-Za-z0-9_.-]{1,15}$/;
const SIDES = ['--in-interface ', '--out-interface '] as const;
const DISPATCH_END = ' --goto ';
const SET = '--match-set ';
/** Longer than any name. */
const LENGTHS = 32;

/** A comment as expression, but for its text. */
const COMMENT = encodeExpressions([commentMatch('')]);
const COMMENT_TEXT_OFFSET = COMMENT.length - 256;
/** The number of a set is the first field of its match. */
const SET_NUMBER_OFFSET = ((): number => {
  const { info } = setMatch(0, [], false);
  return encodeExpressions([setMatch(0, [], false)]).length - ((info.length + 3) & ~3);
})();
const NOTHING = Buffer.alloc(0);
/** In the place of a form that cannot be had. */
const NO_FORM: CompatRule = { bytes: NOTHING, places: [] };
const NO_NAMES: readonly string[] = [];

/** Where the last attribute of some expressions begins, if it is a name with its zero. */
function nameAt(end: number, name: string): number {
  return end - ((name.length + 4) & ~3);
}

/** Looks up an IP set. */
export type FindSet = RulePlace['findSet'];

/** Forms of the rules of one table that have a comment in front of their matches, or none. */
export class RuleForms {
  readonly #family: Family;
  readonly #table: TableName;
  readonly #comment: Buffer;
  readonly #plain = new Map<string, CompatRule>();
  /** By text in front of the name of a chain, then by the name's length. */
  readonly #jumps = new Map<string, CompatRule[]>();
  /** By interface's side and lengths of the two names. */
  readonly #dispatch: CompatRule[] = [];
  /** By text without the name of the one set in it. */
  readonly #ofSet = new Map<string, CompatRule>();
  readonly #same = new WeakMap<CompatRule, boolean>();

  constructor(family: Family, table: TableName, hasComment: boolean) {
    this.#family = family;
    this.#table = table;
    this.#comment = hasComment ? COMMENT : NOTHING;
  }

  /** Whether the rule is the same in another family, but for the family; false for one that names a set. */
  isSameIn(other: RuleForms, body: string, { form }: FormedRule): boolean {
    let isSame = this.#same.get(form);
    if (isSame === undefined) {
      isSame = !body.includes(SET) && (other.of(body, noSet)?.form.bytes.equals(form.bytes) ?? false);
      this.#same.set(form, isSame);
    }
    return isSame;
  }

  /** What becomes of a rule whose text, but for the comment, is `body`; null if that is not known here. */
  of(body: string, findSet: FindSet): FormedRule | null {
    const set = body.indexOf(SET) + SET.length;
    if (set < SET.length) return this.#leading(body) ?? this.#as(body);
    // The numbers of several sets stand in the bytes of the form, which is kept for nobody else.
    return this.#withSet(body, set, findSet) ?? formed(this.#make(body, 'plain', [], findSet));
  }

  /** A rule that ends with the name of a chain. */
  #leading(body: string): FormedRule | null {
    const start = body.lastIndexOf(' ') + 1;
    const isVerdict = body.endsWith('--jump ', start) || body.endsWith('--goto ', start);
    if (!isVerdict || !body.startsWith('cali-', start)) return null;
    const chain = body.slice(start);
    if (!isChainName(chain) || !NAME.test(chain)) return null;
    const name = interfaceOf(body, start - DISPATCH_END.length);
    if (name !== null) {
      const key = ((body.startsWith(SIDES[0]) ? 0 : LENGTHS) + name.length) * LENGTHS + chain.length;
      const form = (this.#dispatch[key] ??= this.#make(body, 'dispatch', [name, chain]));
      return formed(form, [name, chain]);
    }
    const front = body.slice(0, start);
    let forms = this.#jumps.get(front);
    if (forms === undefined) this.#jumps.set(front, (forms = []));
    const form = (forms[chain.length] ??= this.#make(body, 'chain', [chain]));
    return formed(form, [chain]);
  }

  /** A rule that names one set, from `start` on. */
  #withSet(body: string, start: number, findSet: FindSet): FormedRule | null {
    if (body.includes(SET, start)) return null;
    const end = body.indexOf(' ', start);
    const found = end < 0 ? null : findSet(body.slice(start, end));
    if (found === null || found.family !== this.#family) return null;
    const key = body.slice(0, start) + body.slice(end);
    let form = this.#ofSet.get(key);
    if (form === undefined) this.#ofSet.set(key, (form = this.#make(body, 'set', [], findSet)));
    // The number as two characters, lower byte first.
    return formed(form, [String.fromCharCode(found.index & 0xff, found.index >>> 8)]);
  }

  #as(body: string): FormedRule | null {
    let form = this.#plain.get(body);
    if (form === undefined) this.#plain.set(body, (form = this.#make(body, 'plain', [])));
    return formed(form);
  }

  /** The form of a rule, whose names of interface and chain end its expressions before and after the comment. */
  #make(
    body: string,
    kind: 'plain' | 'set' | 'chain' | 'dispatch',
    names: readonly string[],
    findSet: FindSet = noSet,
  ): CompatRule {
    const compiled = compileRule({ family: this.#family, table: this.#table, findSet }, body);
    if (compiled === null) return NO_FORM;
    const before = encodeExpressions(compiled.before);
    const after = encodeExpressions(compiled.after);
    const bytes = compatRuleBytes([before, this.#comment, after], compiled.protocol);
    const beforeEnd = FIRST_EXPRESSION + before.length;
    const afterStart = beforeEnd + this.#comment.length;
    const places = this.#comment === COMMENT ? [beforeEnd + COMMENT_TEXT_OFFSET] : [];
    const ends = kind === 'dispatch' ? [beforeEnd, afterStart + after.length] : [afterStart + after.length];
    for (const [index, name] of names.entries()) {
      const at = nameAt(ends[index] ?? 0, name);
      places.push(at);
      // The form says nothing of the rule that it was made of.
      bytes.fill(0, at, at + name.length);
    }
    if (kind === 'set') {
      const set = compiled.after.findIndex((expression) => expression.kind === 'match' && expression.name === 'set');
      // What looked like one stands in a comment.
      if (set < 0) return NO_FORM;
      places.push(afterStart + encodeExpressions(compiled.after.slice(0, set)).length + SET_NUMBER_OFFSET);
    }
    return { bytes, places };
  }
}

function noSet(): null {
  return null;
}

function formed(form: CompatRule, names = NO_NAMES): FormedRule | null {
  return form === NO_FORM ? null : { form, names };
}

/** Forms of rules with a comment in front of their matches, and of those without. */
export interface TableForms {
  readonly commented: RuleForms;
  readonly plain: RuleForms;
}

/** Forms of all tables, for one script: kept longer, they would keep names of policies, which stand in comments. */
export class FormCache {
  readonly #tables = new Map<string, TableForms>();

  of(family: Family, table: TableName): TableForms {
    const key = `${table}/${family}`;
    let forms = this.#tables.get(key);
    if (forms === undefined) {
      forms = { commented: new RuleForms(family, table, true), plain: new RuleForms(family, table, false) };
      this.#tables.set(key, forms);
    }
    return forms;
  }
}

/** The interface of `--in-interface NAME --goto `, or of the other side, if its second part begins at `end`. */
function interfaceOf(body: string, end: number): string | null {
  const side = SIDES.find((word) => body.startsWith(word));
  if (side === undefined || !body.startsWith(DISPATCH_END, end)) return null;
  const name = body.slice(side.length, end);
  return INTERFACE.test(name) ? name : null;
}
