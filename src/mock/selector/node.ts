// The syntax tree of a label selector: canonical text and evaluation (calc-graph.md section 4).

/** How a comparison is written in canonical text. */
export type ComparisonOperator = '==' | '!=' | 'contains' | 'starts with' | 'ends with';
export type SetOperator = 'in' | 'not in';

/** A parsed selector. Values of sets are unique and in byte order. */
export type SelectorNode =
  | { readonly op: 'all' }
  | { readonly op: 'global' }
  | { readonly op: 'has'; readonly label: string }
  | { readonly op: ComparisonOperator; readonly label: string; readonly value: string }
  | { readonly op: SetOperator; readonly label: string; readonly values: readonly string[] }
  | { readonly op: 'not'; readonly operand: SelectorNode }
  | { readonly op: 'and' | 'or'; readonly operands: readonly SelectorNode[] };

/** Answers the value of a label, or undefined if it is absent. */
export type LabelLookup = (label: string) => string | undefined;

function quote(value: string): string {
  return value.includes('"') ? `'${value}'` : `"${value}"`;
}

/**
 * Canonical text, from which set ids are hashed: equal selectors differ at most in the order of their terms.
 * A negation gets no parentheses of its own, exactly as in Felix.
 */
export function canonicalText(node: SelectorNode): string {
  switch (node.op) {
    case 'all':
      return 'all()';
    case 'global':
      return 'global()';
    case 'has':
      return `has(${node.label})`;
    case 'in':
    case 'not in':
      return `${node.label} ${node.op} {${node.values.map(quote).join(', ')}}`;
    case 'not':
      return `!${canonicalText(node.operand)}`;
    case 'and':
      return `(${node.operands.map(canonicalText).join(' && ')})`;
    case 'or':
      return `(${node.operands.map(canonicalText).join(' || ')})`;
    default:
      return `${node.label} ${node.op} ${quote(node.value)}`;
  }
}

function compare(op: ComparisonOperator, actual: string | undefined, value: string): boolean {
  if (op === '!=') return actual !== value;
  if (actual === undefined) return false;
  switch (op) {
    case '==':
      return actual === value;
    case 'contains':
      return actual.includes(value);
    case 'starts with':
      return actual.startsWith(value);
    case 'ends with':
      return actual.endsWith(value);
  }
}

/** True if the labels match; `global()` is true everywhere. */
export function evaluate(node: SelectorNode, lookup: LabelLookup): boolean {
  switch (node.op) {
    case 'all':
    case 'global':
      return true;
    case 'has':
      return lookup(node.label) !== undefined;
    case 'in': {
      const actual = lookup(node.label);
      return actual !== undefined && node.values.includes(actual);
    }
    case 'not in': {
      const actual = lookup(node.label);
      return actual === undefined || !node.values.includes(actual);
    }
    case 'not':
      return !evaluate(node.operand, lookup);
    case 'and':
      return node.operands.every((operand) => evaluate(operand, lookup));
    case 'or':
      return node.operands.some((operand) => evaluate(operand, lookup));
    default:
      return compare(node.op, lookup(node.label), node.value);
  }
}

/** The same selector with `prefix` before every label name. */
export function withLabelPrefix(node: SelectorNode, prefix: string): SelectorNode {
  switch (node.op) {
    case 'all':
    case 'global':
      return node;
    case 'not':
      return { op: 'not', operand: withLabelPrefix(node.operand, prefix) };
    case 'and':
    case 'or':
      return { op: node.op, operands: node.operands.map((operand) => withLabelPrefix(operand, prefix)) };
    default:
      return { ...node, label: prefix + node.label };
  }
}
