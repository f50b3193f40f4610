// What a resource kind is to the mock: how to read it and which graph entries it stands for.
import type { GraphEntry } from '../graph/entries.js';
import type { ResourceDocument } from '../documents.js';
import type { ApiFamily, ResourceProblem, ResourceRef } from '../outcome.js';
import {
  Cursor,
  type Decoded,
  type DecodedFields,
  decodeDocument,
  type Decoder,
  mapOf,
  openObject,
  optional,
  text,
} from '../schema/decoder.js';
import { resourceName } from '../schema/scalars.js';

/** What the conversion of a resource may depend on besides the resource itself. */
export interface ConversionContext {
  /** Name of the node that the driver runs on. */
  readonly hostname: string;
  /** First entry of the parameter InterfacePrefix. */
  readonly interfacePrefix: string;
}

/** A valid resource as it is kept. */
export interface Resource {
  readonly ref: ResourceRef;
  /** Things in it that are valid but leave it without effect. */
  readonly warnings: readonly ResourceProblem[];
  /** Graph entries, each with a key of its own. Pure: the same context gives the same entries. */
  convert(context: ConversionContext): readonly GraphEntry[];
}

/** A kind of the registry. */
export interface ResourceKind {
  readonly api: ApiFamily;
  readonly kind: string;
  readonly namespaced: boolean;
  read(document: ResourceDocument): Resource | { readonly problems: readonly ResourceProblem[] };
}

/** What is read of `metadata`. */
export const metadata = openObject({
  name: optional(resourceName),
  namespace: optional(resourceName),
  labels: mapOf(text()),
  annotations: mapOf(text()),
  uid: optional(text()),
  creationTimestamp: optional(text('a time')),
  deletionTimestamp: optional(text('a time')),
});
export type Metadata = Decoded<typeof metadata>;

/** A resource of one kind, read. `namespace` is `default` for namespaced kinds that name none, empty for others. */
export interface Read<F> {
  readonly name: string;
  readonly namespace: string;
  readonly metadata: Metadata;
  readonly body: F;
}

/** A remark on one field, named by its path below the resource: `spec.ports`. */
export interface Fault {
  readonly field: string;
  readonly message: string;
}

interface KindDefinition<F extends Readonly<Record<string, Decoder<unknown>>>> {
  readonly api: ApiFamily;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Decoders of the fields beside apiVersion, kind and metadata. */
  readonly fields: F;
  /** The name that a resource must have, where it follows from its content. */
  readonly nameOf?: (body: DecodedFields<F>) => string;
  /** Faults of the resource as a whole. */
  readonly check?: (read: Read<DecodedFields<F>>) => readonly Fault[];
  /** Reasons why the resource, though valid, will have no effect. */
  readonly warn?: (read: Read<DecodedFields<F>>) => readonly Fault[];
  readonly convert: (read: Read<DecodedFields<F>>, context: ConversionContext) => readonly GraphEntry[];
}

function locate(root: Cursor, field: string): Cursor {
  return field.split('.').reduce((at, key) => at.at(key), root);
}

/** Makes a kind of a table of its fields and a conversion. */
export function defineKind<F extends Readonly<Record<string, Decoder<unknown>>>>(
  definition: KindDefinition<F>,
): ResourceKind {
  const body = openObject(definition.fields);
  const known = new Set(['apiVersion', 'kind', 'metadata', 'status', ...Object.keys(definition.fields)]);
  const decoder: Decoder<Read<DecodedFields<F>>> = (cursor) => {
    const unknown = definition.api === 'calico' ? cursor.keys().filter((key) => !known.has(key)) : [];
    for (const key of unknown) cursor.at(key).note(`unknown field; allowed: ${[...known].sort().join(', ')}`);
    const headRead = cursor.at('metadata').attempt(metadata);
    const bodyRead = cursor.attempt(body);
    if (headRead === undefined || bodyRead === undefined) return cursor.giveUp();
    const wanted = definition.nameOf?.(bodyRead.value);
    const given = headRead.value.name ?? wanted;
    if (given === undefined) return cursor.at('metadata').at('name').reject('is required');
    if (wanted !== undefined && given !== wanted)
      cursor.at('metadata').at('name').reject(`must be ${wanted}, which follows from the spec`);
    const read: Read<DecodedFields<F>> = {
      name: given,
      namespace: definition.namespaced ? (headRead.value.namespace ?? 'default') : '',
      metadata: headRead.value,
      body: bodyRead.value,
    };
    for (const fault of definition.check?.(read) ?? []) locate(cursor, fault.field).note(fault.message);
    return read;
  };
  return {
    api: definition.api,
    kind: definition.kind,
    namespaced: definition.namespaced,
    read: (document) => {
      const outcome = decodeDocument(document, decoder);
      if ('problems' in outcome) return outcome;
      const { api, kind } = definition;
      const { namespace, name } = outcome.value;
      const warnings: ResourceProblem[] = [];
      const root = new Cursor(document, warnings, document.node, '');
      for (const fault of definition.warn?.(outcome.value) ?? []) locate(root, fault.field).note(fault.message);
      return {
        ref: { api, kind, namespace, name },
        warnings,
        convert: (context) => definition.convert(outcome.value, context),
      };
    },
  };
}
