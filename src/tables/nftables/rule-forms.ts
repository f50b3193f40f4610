// The expressions of rules by their texts: what rules have in common, all of it but the name of a set or what is done in
// the end, is compiled once.
import { constant, type Expression } from '../../kernel/netlink/nf-expressions.js';
import type { NftFamily } from './io.js';
import { isSetName, RuleCompiler } from './rule-compiler.js';

/** What stands between the matches of a rule and what it does. */
const ACTION = ' counter ';
/** What stands before the name of a set. */
const SET = ' @';

/** A rule that looks something up in one set. */
interface Lookup {
  readonly before: Expression;
  readonly lookup: Extract<Expression, { kind: 'lookup' }>;
  readonly after: Expression;
}

/** Makes the rules of one script, one after the other. */
export class RuleForms {
  readonly #compiler: RuleCompiler;
  /** What rules do, from `counter` on, in bytes: a few things, and jumps to chains. As many as the script has. */
  readonly #actions = new Map<string, Expression>();
  /** Texts without the name of the only set that they name → what is around its lookup. As many as the script has. */
  readonly #lookups = new Map<string, Lookup>();

  constructor(family: NftFamily) {
    this.#compiler = new RuleCompiler(family);
  }

  /** The expressions of a rule's text (without its comment), or null when it has a form that is left to libnftables. */
  compile(text: string): readonly Expression[] | null {
    const at = text.indexOf(SET);
    return at < 0 || text.indexOf(SET, at + 1) >= 0
      ? this.#compileRule(text)
      : this.#compileLookup(text, at + SET.length);
  }

  /** A text that names one set: rules of policies differ in little else, so all around it comes from the one before. */
  #compileLookup(text: string, at: number): readonly Expression[] | null {
    const space = text.indexOf(' ', at);
    const end = space < 0 ? text.length : space;
    const set = text.slice(at, end);
    const around = text.slice(0, at) + text.slice(end);
    const known = this.#lookups.get(around);
    if (known !== undefined && isSetName(set)) return [known.before, { ...known.lookup, set }, known.after];
    const out = this.#compileRule(text);
    const place = out?.findIndex((expression) => expression.kind === 'lookup') ?? -1;
    const lookup = out?.[place];
    if (out === null || lookup?.kind !== 'lookup' || lookup.set !== set) return out;
    const [before, after] = [constant(...out.slice(0, place)), constant(...out.slice(place + 1))];
    this.#lookups.set(around, { before, lookup, after });
    return out;
  }

  #compileRule(text: string): Expression[] | null {
    const end = text.indexOf(ACTION);
    if (end < 0) return this.#compiler.compile(text, true);
    const action = this.#action(text.slice(end + 1));
    const out = action === null ? null : this.#compiler.compile(text.slice(0, end), false);
    if (action !== null) out?.push(action);
    return out;
  }

  #action(text: string): Expression | null {
    let action = this.#actions.get(text);
    if (action === undefined) {
      const out = this.#compiler.compile(text, true);
      // A match of a port would depend on the matches before.
      if (out === null || this.#compiler.hasProtocol) return null;
      action = constant(...out);
      this.#actions.set(text, action);
    }
    return action;
  }
}
