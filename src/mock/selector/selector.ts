// A selector with its canonical text and set id, and the textual operations by which Felix combines selectors.
import { sha224 } from '../../base/digest.js';
import { canonicalText, evaluate, type LabelLookup, type SelectorNode, withLabelPrefix } from './node.js';
import { parseSelectorNode } from './parser.js';

/** Prefix that the labels of a namespace get in its profile. */
export const NAMESPACE_PREFIX = 'pcns.';
/** Prefix that the labels of a service account get in its profile. */
export const SERVICE_ACCOUNT_PREFIX = 'pcsa.';

/** `prefix:` and the SHA-224 of `prefix:content` as unpadded base64url; 38 characters after the colon. */
export function uniqueId(prefix: string, content: string): string {
  return `${prefix}:${sha224(`${prefix}:${content}`).toString('base64url')}`;
}

/** An immutable parsed selector. */
export class Selector {
  readonly root: SelectorNode;
  /** Canonical text, e.g. `(role == "client" && app != "x")`. */
  readonly text: string;
  #id: string | undefined;

  constructor(root: SelectorNode) {
    this.root = root;
    this.text = canonicalText(root);
  }

  /** Id of the set of everything that matches: `s:5y5I3V…`. */
  get id(): string {
    this.#id ??= uniqueId('s', this.text);
    return this.#id;
  }

  matches(lookup: LabelLookup): boolean {
    return evaluate(this.root, lookup);
  }
}

/** Parses a selector; an empty text is `all()`. Throws SelectorError. */
export function parseSelector(text: string): Selector {
  return new Selector(parseSelectorNode(text));
}

/** The canonical text with `prefix` before every label name. Throws SelectorError. */
export function attachLabelPrefix(text: string, prefix: string): string {
  return canonicalText(withLabelPrefix(parseSelectorNode(text), prefix));
}
