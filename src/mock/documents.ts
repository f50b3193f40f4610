// Turns YAML text into resource documents that remember where every field stands; the way into the mock's resources.
import {
  Document,
  isMap,
  isSeq,
  LineCounter,
  type Node as YamlNode,
  parseAllDocuments,
  Scalar,
  type ParsedNode,
} from 'yaml';
import type { ResourceProblem } from './outcome.js';

/** One resource as written: a node of a YAML document, with what is needed to name its lines. */
export interface ResourceDocument {
  /** Name of the file, for messages. */
  readonly file: string;
  readonly node: YamlNode;
  /** The document of which `node` is a part; needed to follow aliases. */
  readonly document: Document<YamlNode, boolean>;
  /** Absent for values that never were text. */
  readonly lines?: LineCounter;
}

function expandLists(entry: ResourceDocument): ResourceDocument[] {
  if (!isMap(entry.node)) return [entry];
  const kind: unknown = entry.node.get('kind');
  const items: unknown = entry.node.get('items', true);
  if (typeof kind !== 'string' || !kind.endsWith('List') || !isSeq(items)) return [entry];
  return (items.items as ParsedNode[]).flatMap((node) => expandLists({ ...entry, node }));
}

/**
 * Splits YAML text (or JSON, which is YAML) into resources; `List` kinds are unfolded, empty documents left out. A
 * document with a syntax error becomes a problem with its line, the others are returned all the same.
 */
export function parseDocuments(
  text: string,
  file: string,
): { readonly documents: ResourceDocument[]; readonly problems: ResourceProblem[] } {
  const documents: ResourceDocument[] = [];
  const problems: ResourceProblem[] = [];
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  if (!Array.isArray(parsed)) return { documents, problems };
  for (const document of parsed) {
    for (const error of document.errors) {
      problems.push({
        file,
        line: lines.linePos(error.pos[0]).line,
        field: '',
        message: `not valid YAML: ${error.message}`,
      });
    }
    if (document.errors.length > 0 || document.contents === null) continue;
    documents.push(...expandLists({ file, node: document.contents, document, lines }));
  }
  return { documents, problems };
}

/** A resource that is already a JavaScript value, for instance the body of an HTTP request; it has no lines. */
export function documentOf(value: unknown, file: string): ResourceDocument {
  const document = new Document<YamlNode, boolean>(value);
  return { file, node: document.contents ?? new Scalar(null), document };
}
