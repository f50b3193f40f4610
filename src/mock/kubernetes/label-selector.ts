// Kubernetes label selectors as Calico selectors (calc-graph.md section 16).
import { type Decoded, listOf, map, mapOf, object, oneOf, text } from '../schema/decoder.js';
import { parseSelectorNode, SelectorError } from '../selector/parser.js';

const requirement = map(
  object({
    key: text('a label'),
    operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'),
    values: listOf(text('a value')),
  }),
  (value, cursor) => {
    const listed = value.operator === 'In' || value.operator === 'NotIn';
    if (listed !== value.values.length > 0) {
      cursor
        .at('values')
        .reject(listed ? 'must name at least one value' : 'must be empty with Exists and DoesNotExist');
    }
    return value;
  },
);

const fields = object({ matchLabels: mapOf(text('a value')), matchExpressions: listOf(requirement) });

/** A label selector as read. */
export type LabelSelector = Decoded<typeof fields>;

/** The terms of a label selector, in Felix's order: labels by name, then expressions as written. */
export function selectorTerms(selector: LabelSelector): string[] {
  const labels = [...selector.matchLabels]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key} == '${value}'`);
  const expressions = selector.matchExpressions.map(({ key, operator, values }) => {
    switch (operator) {
      case 'In':
        return `${key} in { '${values.join("', '")}' }`;
      case 'NotIn':
        return `${key} not in { '${values.join("', '")}' }`;
      case 'Exists':
        return `has(${key})`;
      case 'DoesNotExist':
        return `! has(${key})`;
    }
  });
  return [...labels, ...expressions];
}

/** Reads a label selector whose keys and values can be written in Calico's selector language. */
export const labelSelector = map(fields, (value, cursor) => {
  try {
    parseSelectorNode(selectorTerms(value).join(' && '));
    return value;
  } catch (error) {
    if (error instanceof SelectorError) return cursor.reject(error.message);
    throw error;
  }
});

/** Selector for the pods of a label selector; undefined means all pods. */
export function podSelectorText(selector: LabelSelector | undefined): string {
  return ["projectcalico.org/orchestrator == 'k8s'", ...(selector === undefined ? [] : selectorTerms(selector))].join(
    ' && ',
  );
}

/** Selector for namespaces: empty if not given, which means the policy's own namespace. */
export function namespaceSelectorText(selector: LabelSelector | undefined): string {
  if (selector === undefined) return '';
  const terms = selectorTerms(selector);
  return terms.length === 0 ? 'all()' : terms.join(' && ');
}
