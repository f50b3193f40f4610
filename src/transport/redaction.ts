// Takes out of a message what must not leave the machine in a recording: secrets, file paths, and annotations of pods.
// Nothing that the dataplane acts on changes.
import { clone, create } from '@bufbuild/protobuf';
import {
  type ConfigUpdate,
  ConfigUpdateSchema,
  RawConfigSchema,
  WorkloadEndpointUpdateSchema,
} from '../protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../protocol/session.js';

const SECRET = '<redacted>';
const PATH = '<path>';

/** Parts of parameter names whose values are secrets (after Felix's lib/logrusr/sensitive.go). */
const SECRET_PARTS = /password|passwd|passphrase|token|bearer|secret|credential|authorization|cookie|private|guid/i;
/** Ends of names of inline keys and certificates. */
const SECRET_ENDS = /(key|cert|kubeconfig|kubeconfiginline)$/i;
/** Ends of names of paths. */
const PATH_ENDS = /(file|path|dir)$/i;
/** Names that only look like those above; the dataplane needs their values. */
const NEEDED = /^(RequireMTUFile)$/i;
/** The datastore and its proxy: addresses and credentials that the dataplane never uses. */
const DATASTORE = /^(etcd|typha|datastore)/i;

function redactText(name: string, value: string): string {
  if (NEEDED.test(name)) return value;
  if (PATH_ENDS.test(name)) return PATH;
  if (SECRET_PARTS.test(name) || SECRET_ENDS.test(name) || DATASTORE.test(name)) return SECRET;
  // User names and passwords in URLs.
  return value.replaceAll(/:\/\/[^/@\s]*@/g, `://${SECRET}@`);
}

function redactTexts(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, redactText(name, value)]));
}

function redactConfig(update: ConfigUpdate): ConfigUpdate {
  const sources = Object.entries(update.sourceToRawConfig).map(([number, raw]) => {
    return [number, create(RawConfigSchema, { source: raw.source, config: redactTexts(raw.config) })] as const;
  });
  return create(ConfigUpdateSchema, {
    message: update.message,
    config: redactTexts(update.config),
    sourceToRawConfig: Object.fromEntries(sources),
  });
}

/** The payload without secrets; a copy where something is taken out, the same object otherwise. */
export function redact(payload: ToDataplanePayload): ToDataplanePayload {
  if (payload.case === 'configUpdate') return { case: payload.case, value: redactConfig(payload.value) };
  if (payload.case === 'workloadEndpointUpdate') {
    const names = Object.keys(payload.value.endpoint?.annotations ?? {});
    if (names.length === 0) return payload;
    const value = clone(WorkloadEndpointUpdateSchema, payload.value);
    if (value.endpoint !== undefined)
      value.endpoint.annotations = Object.fromEntries(names.map((name) => [name, SECRET]));
    return { case: payload.case, value };
  }
  return payload;
}
