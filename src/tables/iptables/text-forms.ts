// Forms of rules by their texts, each made once: rules that differ in nothing but names (of the chain that they lead to,
// of the interface that they are for, of an IP set) are copies of one form. A pod that comes or goes has hundreds of them.
import type { Family, TableName } from '../../model/family.js';
import type { RulePlace } from './rule-reader.js';
import { isComment } from './rule-matches.js';
import { isChainName } from './rule-targets.js';

/** A rule's form, and the names in it: of an interface, of a chain, or the number of an IP set as two characters. */
export interface FormedRule<Form> {
  readonly form: Form;
  readonly names: readonly string[];
}

/**
 * What is left open in a form: nothing, the number of the one IP set, the chain at the end, or the interface at the
 * beginning and the chain at the end.
 */
export type FormKind = 'plain' | 'set' | 'chain' | 'dispatch';

/** Looks up an IP set. */
export type FindSet = RulePlace['findSet'];

/** What a form is made of: a rule of its kind, but for the comment, and the names in it. */
export interface FormInput {
  readonly body: string;
  readonly kind: FormKind;
  readonly names: readonly string[];
  readonly place: RulePlace;
}

const NAME = /^[!#-&(-[\]-~]+$/;
const INTERFACE = /^[A-Za-z0-9_.-]{1,15}$/;
const SIDES = ['--in-interface ', '--out-interface '] as const;
const DISPATCH_END = ' --goto ';
/** Longer than any name. */
const LENGTHS = 32;
const NO_NAMES: readonly string[] = [];
const COMMENT_START = '-m comment --comment "';
const PLAIN_COMMENT = /^[A-Za-z0-9_ @%+=:,./-]*$/;

/** In front of the name of an IP set. */
export const SET_OPTION = '--match-set ';

/** Forms of the rules of one table, each with a comment in front of its other matches, or each without. */
export abstract class TextForms<Form> {
  readonly #family: Family;
  readonly #table: TableName;
  readonly #plain = new Map<string, Form | null>();
  /** By text in front of the name of a chain, then by the name's length. */
  readonly #jumps = new Map<string, (Form | null)[]>();
  /** By interface's side and lengths of the two names. */
  readonly #dispatch: (Form | null)[] = [];
  /** By text without the name of the one set in it. */
  readonly #ofSet = new Map<string, Form | null>();

  constructor(family: Family, table: TableName) {
    this.#family = family;
    this.#table = table;
  }

  /** Null for a rule that is not known here. */
  protected abstract make(input: FormInput): Form | null;

  /** What becomes of a rule whose text, but for the comment, is `body`; null if that is not known here. */
  of(body: string, findSet: FindSet): FormedRule<Form> | null {
    const set = body.indexOf(SET_OPTION) + SET_OPTION.length;
    if (set < SET_OPTION.length) return this.#leading(body) ?? this.#as(body);
    // The numbers of several sets stand in the bytes of the form, which is kept for nobody else.
    return this.#withSet(body, set, findSet) ?? formed(this.#make(body, 'plain', NO_NAMES, findSet));
  }

  /** A rule that ends with the name of a chain. */
  #leading(body: string): FormedRule<Form> | null {
    const start = body.lastIndexOf(' ') + 1;
    const isVerdict = body.endsWith('--jump ', start) || body.endsWith('--goto ', start);
    if (!isVerdict || !body.startsWith('cali-', start)) return null;
    const chain = body.slice(start);
    if (!isChainName(chain) || !NAME.test(chain)) return null;
    const name = interfaceOf(body, start - DISPATCH_END.length);
    if (name !== null) {
      const names = [name, chain];
      const key = ((body.startsWith(SIDES[0]) ? 0 : LENGTHS) + name.length) * LENGTHS + chain.length;
      const form = (this.#dispatch[key] ??= this.#make(body, 'dispatch', names));
      return formed(form, names);
    }
    const front = body.slice(0, start);
    let forms = this.#jumps.get(front);
    if (forms === undefined) this.#jumps.set(front, (forms = []));
    const names = [chain];
    const form = (forms[chain.length] ??= this.#make(body, 'chain', names));
    return formed(form, names);
  }

  /** A rule that names one set, from `start` on. */
  #withSet(body: string, start: number, findSet: FindSet): FormedRule<Form> | null {
    if (body.includes(SET_OPTION, start)) return null;
    const end = body.indexOf(' ', start);
    const found = end < 0 ? null : findSet(body.slice(start, end));
    if (found === null || found.family !== this.#family) return null;
    const key = body.slice(0, start) + body.slice(end);
    let form = this.#ofSet.get(key);
    if (form === undefined) {
      form = this.#make(body, 'set', NO_NAMES, findSet);
      this.#ofSet.set(key, form);
    }
    // The number as two characters, lower byte first.
    return formed(form, [String.fromCharCode(found.index & 0xff, found.index >>> 8)]);
  }

  #as(body: string): FormedRule<Form> | null {
    let form = this.#plain.get(body);
    if (form === undefined) {
      form = this.#make(body, 'plain', NO_NAMES);
      this.#plain.set(body, form);
    }
    return formed(form);
  }

  #make(body: string, kind: FormKind, names: readonly string[], findSet: FindSet = noSet): Form | null {
    return this.make({ body, kind, names, place: { family: this.#family, table: this.#table, findSet } });
  }
}

/** For rules that name no set. */
export function noSet(): null {
  return null;
}

/** The text of the comment in front of a rule's other words ('' = there is none), and those; null for an unusual one. */
export function splitComment(text: string, start: number): { readonly comment: string; readonly body: string } | null {
  if (!text.startsWith(COMMENT_START, start)) return { comment: '', body: text.slice(start) };
  const from = start + COMMENT_START.length;
  const end = text.indexOf('"', from);
  const next = end + 1;
  if (end < 0 || (next < text.length && text.charCodeAt(next) !== SPACE)) return null;
  const comment = text.slice(from, end);
  return isComment(comment) && PLAIN_COMMENT.test(comment) ? { comment, body: text.slice(next + 1) } : null;
}

const SPACE = 0x20;

function formed<Form>(form: Form | null, names = NO_NAMES): FormedRule<Form> | null {
  return form === null ? null : { form, names };
}

/** The interface of `--in-interface NAME --goto `, or of the other side, if its second part begins at `end`. */
function interfaceOf(body: string, end: number): string | null {
  const side = SIDES.find((word) => body.startsWith(word));
  if (side === undefined || !body.startsWith(DISPATCH_END, end)) return null;
  const name = body.slice(side.length, end);
  return INTERFACE.test(name) ? name : null;
}
