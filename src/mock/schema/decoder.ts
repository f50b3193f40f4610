// Combinators that read a YAML node into a typed value and note every fault with its line and path. Resource kinds are
// written as one expression of these; nothing here knows Calico.
import { isAlias, isMap, isScalar, isSeq, type Node as YamlNode, type YAMLMap, type YAMLSeq } from 'yaml';
import { errorMessage } from '../../base/errors.js';
import type { ResourceDocument } from '../documents.js';
import type { ResourceProblem } from '../outcome.js';

/** Thrown when a value cannot be read, after its problem was noted; never leaves `decodeDocument`. */
class Rejected extends Error {}

/** A place in a document. `node` is undefined where the field is absent or null. */
export class Cursor {
  readonly node: YamlNode | undefined;
  readonly path: string;
  readonly #document: ResourceDocument;
  readonly #problems: ResourceProblem[];
  readonly #line: number | undefined;

  constructor(
    document: ResourceDocument,
    problems: ResourceProblem[],
    node: YamlNode | undefined,
    path: string,
    parentLine?: number,
  ) {
    this.#document = document;
    this.#problems = problems;
    const target = isAlias(node) ? node.resolve(document.document) : node;
    this.node = target === undefined || (isScalar(target) && target.value === null) ? undefined : target;
    this.path = path;
    const start = node?.range?.[0];
    this.#line = start === undefined || document.lines === undefined ? parentLine : document.lines.linePos(start).line;
  }

  /** The place below this one. */
  child(node: YamlNode | undefined, step: string): Cursor {
    const path = step.startsWith('[') || this.path === '' ? this.path + step : `${this.path}.${step}`;
    return new Cursor(this.#document, this.#problems, node, path, this.#line);
  }

  /** Field names of the map that stands here. */
  keys(): string[] {
    return this.requireMap().items.map((pair) => (isScalar(pair.key) ? String(pair.key.value) : ''));
  }

  /** The place of a field of the map that stands here, for faults found after reading. */
  at(key: string): Cursor {
    const node = isMap(this.node) ? (this.node.get(key, true) as YamlNode | undefined) : undefined;
    return this.child(node, key);
  }

  /** Notes a problem here, or at the field `step` below. */
  note(message: string, step?: Cursor): void {
    const at = step ?? this;
    this.#problems.push({
      file: this.#document.file,
      ...(at.#line === undefined ? {} : { line: at.#line }),
      field: at.path,
      message,
    });
  }

  /** Notes a problem here and gives this value up. */
  reject(message: string): never {
    this.note(message);
    throw new Rejected(message);
  }

  /** Runs a decoder; a fault inside leaves undefined, so that its siblings are read too. */
  attempt<T>(decoder: Decoder<T>): { readonly value: T } | undefined {
    try {
      return { value: decoder(this) };
    } catch (error) {
      if (error instanceof Rejected) return undefined;
      throw error;
    }
  }

  /** Gives this value up after problems below it were noted. */
  giveUp(): never {
    throw new Rejected(this.path);
  }

  /** The map that stands here; rejects anything else. */
  requireMap(): YAMLMap {
    if (this.node === undefined) return this.reject('is required');
    return isMap(this.node) ? this.node : this.reject(`must be a map, not ${this.describe()}`);
  }

  /** The list that stands here; rejects anything else. */
  requireList(): YAMLSeq {
    if (this.node === undefined) return this.reject('is required');
    return isSeq(this.node) ? this.node : this.reject(`must be a list, not ${this.describe()}`);
  }

  /** The single value that stands here, undefined for a list or map; rejects absence. */
  requireScalar(): unknown {
    if (this.node === undefined) return this.reject('is required');
    return isScalar(this.node) ? this.node.value : undefined;
  }

  /** What stands here as plain JavaScript; undefined if nothing does. */
  plain(): unknown {
    if (this.node === undefined) return undefined;
    try {
      return this.node.toJS(this.#document.document) as unknown;
    } catch (error) {
      return this.reject(`cannot be read: ${errorMessage(error)}`);
    }
  }

  /** True for an unquoted number. */
  isNumber(): boolean {
    return isScalar(this.node) && typeof this.node.value === 'number';
  }

  /** What stands here, for messages: `"abc"`, `12`, `a list`. */
  describe(): string {
    if (this.node === undefined) return 'nothing';
    if (isScalar(this.node)) return JSON.stringify(this.node.value) ?? 'nothing';
    return isSeq(this.node) ? 'a list' : 'a map';
  }
}

/** Reads the value at a cursor, or notes what is wrong and rejects. */
export type Decoder<T> = (cursor: Cursor) => T;
/** The type that a decoder reads. */
export type Decoded<D> = D extends Decoder<infer T> ? T : never;
type Fields = Readonly<Record<string, Decoder<unknown>>>;
/** The object type of a table of field decoders. */
export type DecodedFields<F extends Fields> = { readonly [K in keyof F]: Decoded<F[K]> };

/** Absent and null are undefined. */
export function optional<T>(decoder: Decoder<T>): Decoder<T | undefined> {
  return (cursor) => (cursor.node === undefined ? undefined : decoder(cursor));
}

/** Absent and null are `value`. */
export function defaulted<T>(decoder: Decoder<T>, value: T): Decoder<T> {
  return (cursor) => (cursor.node === undefined ? value : decoder(cursor));
}

function readFields<F extends Fields>(cursor: Cursor, fields: F, open: boolean): DecodedFields<F> {
  const written = cursor.requireMap();
  const nodes = new Map<string, YamlNode>();
  let sound = true;
  for (const pair of written.items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const value = pair.value as YamlNode | null;
    if (Object.hasOwn(fields, key)) {
      if (value !== null) nodes.set(key, value);
    } else if (!open) {
      cursor.note(
        `unknown field; allowed: ${Object.keys(fields).sort().join(', ')}`,
        cursor.child(pair.key as YamlNode, key),
      );
      sound = false;
    }
  }
  const result: Record<string, unknown> = {};
  for (const [key, decoder] of Object.entries(fields)) {
    const read = cursor.child(nodes.get(key), key).attempt(decoder);
    if (read === undefined) sound = false;
    else result[key] = read.value;
  }
  if (!sound) cursor.giveUp();
  return result as DecodedFields<F>;
}

/** A map with these fields and no others. */
export function object<F extends Fields>(fields: F): Decoder<DecodedFields<F>> {
  return (cursor) => readFields(cursor, fields, false);
}

/** A map of which only these fields are read; others are ignored. */
export function openObject<F extends Fields>(fields: F): Decoder<DecodedFields<F>> {
  return (cursor) => readFields(cursor, fields, true);
}

/** A list; every faulty item is noted. */
export function list<T>(item: Decoder<T>): Decoder<readonly T[]> {
  return (cursor) => {
    const read = cursor
      .requireList()
      .items.map((node, index) => cursor.child(node as YamlNode, `[${index}]`).attempt(item));
    const values = read.flatMap((entry) => (entry === undefined ? [] : [entry.value]));
    if (values.length < read.length) cursor.giveUp();
    return values;
  };
}

/** A list that may be absent: then it is empty. */
export function listOf<T>(item: Decoder<T>): Decoder<readonly T[]> {
  return defaulted(list(item), []);
}

/** A map from text to value, in the order written. Absent: empty. */
export function mapOf<T>(item: Decoder<T>): Decoder<ReadonlyMap<string, T>> {
  return (cursor) => {
    const result = new Map<string, T>();
    if (cursor.node === undefined) return result;
    let sound = true;
    for (const pair of cursor.requireMap().items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : '';
      const read = cursor.child(pair.value as YamlNode, key).attempt(item);
      if (read === undefined) sound = false;
      else result.set(key, read.value);
    }
    if (!sound) cursor.giveUp();
    return result;
  };
}

/** Any text. `what` says what is wanted, for messages: `a name`. */
export function text(what = 'a text'): Decoder<string> {
  return (cursor) => {
    const value = cursor.requireScalar();
    return typeof value === 'string' ? value : cursor.reject(`must be ${what}, not ${cursor.describe()}`);
  };
}

/** true or false. */
export const bool: Decoder<boolean> = (cursor) => {
  const value = cursor.requireScalar();
  return typeof value === 'boolean' ? value : cursor.reject(`must be true or false, not ${cursor.describe()}`);
};

/** A number, whole or not. */
export const number: Decoder<number> = (cursor) => {
  const value = cursor.requireScalar();
  return typeof value === 'number' && Number.isFinite(value)
    ? value
    : cursor.reject(`must be a number, not ${cursor.describe()}`);
};

/** A whole number within bounds, both inclusive. */
export function integer(min: number, max: number): Decoder<number> {
  return (cursor) => {
    const value = number(cursor);
    if (!Number.isInteger(value) || value < min || value > max) {
      cursor.reject(`must be a whole number from ${min} to ${max}, not ${value}`);
    }
    return value;
  };
}

/** One of these texts, exactly. */
export function oneOf<const T extends string>(...allowed: readonly T[]): Decoder<T> {
  return (cursor) => {
    const value = text(`one of ${allowed.join(', ')}`)(cursor);
    const found = allowed.find((candidate) => candidate === value);
    return found ?? cursor.reject(`must be one of ${allowed.join(', ')}, not ${JSON.stringify(value)}`);
  };
}

/** A text or number that `parse` makes sense of; `undefined` from it means invalid, `what` says what is wanted. */
export function parsed<T>(what: string, parse: (value: string) => T | undefined): Decoder<T> {
  return (cursor) => {
    const value = cursor.requireScalar();
    const found = typeof value === 'string' || typeof value === 'number' ? parse(String(value)) : undefined;
    return found ?? cursor.reject(`must be ${what}, not ${cursor.describe()}`);
  };
}

/** Any value at all, as plain JavaScript. */
export const anything: Decoder<unknown> = (cursor) => cursor.plain();

/** The value that `decoder` reads, changed by `change`; `change` may reject at the cursor. */
export function map<T, U>(decoder: Decoder<T>, change: (value: T, cursor: Cursor) => U): Decoder<U> {
  return (cursor) => change(decoder(cursor), cursor);
}

/** Reads a whole document: its value, or all its problems in order of their lines. */
export function decodeDocument<T>(
  document: ResourceDocument,
  decoder: Decoder<T>,
): { readonly value: T } | { readonly problems: readonly ResourceProblem[] } {
  const problems: ResourceProblem[] = [];
  const read = new Cursor(document, problems, document.node, '').attempt(decoder);
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
  return read === undefined || problems.length > 0 ? { problems } : read;
}
