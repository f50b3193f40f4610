// Forms of iptables-nft's rules: the bytes of a rule's message behind the names of its table and chain.
import { type CompatRule, compatRuleBytes, FIRST_EXPRESSION } from '../../kernel/netlink/compat-batch.js';
import { encodeExpressions } from '../../kernel/netlink/nf-expressions.js';
import { commentMatch, setMatch } from '../../kernel/netlink/xt-structs.js';
import type { Family, TableName } from '../../model/family.js';
import { compileRule } from './rule-compiler.js';
import { type FormedRule, type FormInput, noSet, SET_OPTION, TextForms } from './text-forms.js';

/** A comment as expression, but for its text. */
const COMMENT = encodeExpressions([commentMatch('')]);
const COMMENT_TEXT_OFFSET = COMMENT.length - 256;
/** The number of a set is the first field of its match. */
const SET_NUMBER_OFFSET = ((): number => {
  const { info } = setMatch(0, [], false);
  return encodeExpressions([setMatch(0, [], false)]).length - ((info.length + 3) & ~3);
})();
const NOTHING = Buffer.alloc(0);

/** Where the last attribute of some expressions begins, if it is a name with its zero. */
function nameAt(end: number, name: string): number {
  return end - ((name.length + 4) & ~3);
}

/** A form's places are those of the comment's text, where it has one, and of the names. */
export class RuleForms extends TextForms<CompatRule> {
  readonly #comment: Buffer;
  readonly #same = new WeakMap<CompatRule, boolean>();

  constructor(family: Family, table: TableName, hasComment: boolean) {
    super(family, table);
    this.#comment = hasComment ? COMMENT : NOTHING;
  }

  /** Whether the rule is the same in another family, but for the family; false for one that names a set. */
  isSameIn(other: RuleForms, body: string, { form }: FormedRule<CompatRule>): boolean {
    let isSame = this.#same.get(form);
    if (isSame === undefined) {
      isSame = !body.includes(SET_OPTION) && (other.of(body, noSet)?.form.bytes.equals(form.bytes) ?? false);
      this.#same.set(form, isSame);
    }
    return isSame;
  }

  /** The names of interface and chain end its expressions before and after the comment. */
  protected make({ body, kind, names, place }: FormInput): CompatRule | null {
    const compiled = compileRule(place, body);
    if (compiled === null) return null;
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
      if (set < 0) return null;
      places.push(afterStart + encodeExpressions(compiled.after.slice(0, set)).length + SET_NUMBER_OFFSET);
    }
    return { bytes, places };
  }
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
