// Forms of legacy rules: entries that are copied into the table, where names and the place that a rule leads to are put in.
import { commentMatch } from '../../kernel/netlink/xt-structs.js';
import { EXTENSION, XTABLES_LAYOUTS } from '../../kernel/netlink/xtables-socket.js';
import type { Family, TableName } from '../../model/family.js';
import { matchBytes } from './legacy-extensions.js';
import { compileLegacyRule } from './legacy-rule.js';
import { type FindSet, type FormInput, splitComment, TextForms } from './text-forms.js';

/** The entry of rules that are alike. */
export interface LegacyForm {
  readonly bytes: Buffer;
  /** Where texts go: that of the comment, the name of the interface or the number of the IP set. */
  readonly places: readonly number[];
  /** Where the place that it leads to goes; null for a target that leads nowhere. */
  readonly verdictAt: number | null;
  /** The chain that it leads to: by name, `last` of the rule's names, or null for the next rule. */
  readonly leadsTo: { readonly chain: string } | 'last' | null;
}

/** A rule of a legacy table. */
export interface LegacyRule {
  readonly form: LegacyForm;
  /** One for each place of the form, and more that have none. */
  readonly texts: readonly string[];
  /** The chain that it leads to; null for the next rule, or none. */
  readonly chain: string | null;
}

const COMMENT = matchBytes('comment', [commentMatch('')]) ?? Buffer.alloc(0);

class RuleForms extends TextForms<LegacyForm> {
  readonly #hasComment: boolean;

  constructor(family: Family, table: TableName, hasComment: boolean) {
    super(family, table);
    this.#hasComment = hasComment;
  }

  protected make({ body, kind, place }: FormInput): LegacyForm | null {
    const entry = compileLegacyRule(place, body);
    // What looked like the name of a set stands in a comment.
    if (entry === null || (kind === 'set' && entry.setAt === null)) return null;
    const { target, interfaceAt, setAt } = entry;
    const shift = this.#hasComment ? COMMENT.length : 0;
    const bytes = this.#hasComment ? withComment(place.family, entry.bytes) : entry.bytes;
    const places = this.#hasComment ? [XTABLES_LAYOUTS[place.family].entry + EXTENSION.data] : [];
    if (kind === 'dispatch' && interfaceAt !== null) places.push(interfaceAt);
    if (kind === 'set' && setAt !== null) places.push(setAt + shift);
    const chain = target?.chain ?? null;
    const isNamed = kind === 'chain' || kind === 'dispatch';
    return {
      bytes,
      places,
      verdictAt: target === null ? null : target.verdictAt + shift,
      leadsTo: isNamed ? 'last' : chain === null ? null : { chain },
    };
  }
}

/** The comment is the first match. */
function withComment(family: Family, entry: Buffer): Buffer {
  const { entry: length, targetOffset, nextOffset } = XTABLES_LAYOUTS[family];
  const bytes = Buffer.concat([entry.subarray(0, length), COMMENT, entry.subarray(length)]);
  for (const at of [targetOffset, nextOffset]) bytes.writeUInt16LE(bytes.readUInt16LE(at) + COMMENT.length, at);
  return bytes;
}

/** Rules of one table, for one script: kept longer, forms would keep names of policies, which stand in comments. */
export class LegacyForms {
  readonly #plain: RuleForms;
  readonly #commented: RuleForms;

  constructor(family: Family, table: TableName) {
    this.#plain = new RuleForms(family, table, false);
    this.#commented = new RuleForms(family, table, true);
  }

  /** The rule whose text begins at `start`; null if that is not known here. */
  rule(text: string, start: number, findSet: FindSet): LegacyRule | null {
    const parts = splitComment(text, start);
    if (parts === null) return null;
    const { comment, body } = parts;
    const formed = (comment === '' ? this.#plain : this.#commented).of(body, findSet);
    if (formed === null) return null;
    const { form, names } = formed;
    const { leadsTo } = form;
    return {
      form,
      texts: comment === '' ? names : [comment, ...names],
      chain: leadsTo === 'last' ? (names.at(-1) ?? null) : (leadsTo?.chain ?? null),
    };
  }
}
