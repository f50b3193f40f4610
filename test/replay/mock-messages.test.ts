// The mock control plane against real streams: fed the resources of a recording step by step, it must send what the
// real calculation graph sent, message for message; only the order within a step, and of members within a set, is free.
import { create, fromBinary, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { isMap, isSeq, LineCounter, type Node as YamlNode, parseAllDocuments } from 'yaml';
import { silentLogger } from '../../src/base/logger.js';
import { MockControlPlane } from '../../src/mock/control-plane.js';
import { documentOf, type ResourceDocument } from '../../src/mock/documents.js';
import { findKind } from '../../src/mock/resources/registry.js';
import { ToDataplaneSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../../src/protocol/session.js';
import { loadRecording, type Recording, recordingNames, splitFrames } from '../fixtures/recording.js';

interface Step {
  readonly name: string;
  readonly apply: readonly ResourceDocument[];
  readonly remove: readonly ResourceDocument[];
}

function readSteps(text: string): Step[] {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines });
  return [...parsed].map((document) => {
    const root = document.contents;
    if (!isMap(root)) throw new Error('a step must be a map');
    const items = (field: string): ResourceDocument[] => {
      const list: unknown = root.get(field, true);
      const nodes = isSeq(list) ? (list.items as YamlNode[]) : [];
      return nodes.map((node) => ({ file: 'resources.yaml', node, document, lines }));
    };
    return { name: String(root.get('step')), apply: items('apply'), remove: items('delete') };
  });
}

/** Environment of the recorder's Felix, the same for all recordings. */
const ENVIRONMENT = {
  dataplanedriver: '/usr/local/bin/felix-dataplane',
  datastoretype: 'etcdv3',
  etcdendpoints: 'http://127.0.0.1:2379',
  healthenabled: 'false',
  logfilepath: 'none',
  logseverityscreen: 'warning',
  usagereportingenabled: 'false',
  useinternaldataplanedriver: 'false',
};

/** A message as text in which only what has an order keeps it. */
function canonical(payload: ToDataplanePayload): string {
  const json = toJson(ToDataplaneSchema, create(ToDataplaneSchema, { payload }), { useProtoFieldName: true });
  const sort = (value: unknown, key: string): unknown => {
    if (Array.isArray(value)) {
      const items = value.map((item) => sort(item, ''));
      return ['members', 'added_members', 'removed_members'].includes(key) ? items.sort() : items;
    }
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, item]) => [name, sort(item, name)]),
    );
  };
  return JSON.stringify(sort(json, ''));
}

function recordedPayloads(recording: Recording): ToDataplanePayload[] {
  return splitFrames(recording.stream).map((frame) => {
    const { payload } = fromBinary(ToDataplaneSchema, frame);
    if (payload.case === undefined) throw new Error('a frame without payload');
    return payload;
  });
}

/** ClusterGUID is random, made by the datastore when it was initialised; it is in no resource of the recording. */
function clusterInformation(recording: Recording): ResourceDocument {
  const first = recordedPayloads(recording)[0];
  const clusterGUID = first?.case === 'configUpdate' ? first.value.config.ClusterGUID : undefined;
  return documentOf(
    {
      apiVersion: 'projectcalico.org/v3',
      kind: 'ClusterInformation',
      metadata: { name: 'default' },
      spec: { clusterGUID },
    },
    'datastore',
  );
}

/**
 * Writes that Felix had not flushed when the next one came (its flushes are 10 ms apart), read from the order of the
 * streams: such pairs end in one flush, so that an endpoint that both touch is sent once.
 */
const NOT_FLUSHED_AFTER: ReadonlySet<string> = new Set([
  'ip-sets shrink node1-k8s-pod13-eth0',
  'policy-groups policies g03',
  'policy-groups policies g07',
  'policy-groups policies g10',
]);

interface Written {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: Readonly<Record<string, unknown>>;
}

function written(document: ResourceDocument): Written {
  return document.node.toJS(document.document) as Written;
}

/** Calico's client disables an IP pool and waits before it deletes it: one write more than the recording names. */
function writesBeforeDelete(last: Written | undefined): ResourceDocument[] {
  if (last?.kind !== 'IPPool' || last.spec?.disabled === true) return [];
  return [documentOf({ ...last, spec: { ...last.spec, disabled: true } }, 'client')];
}

function apply(mock: MockControlPlane, documents: readonly ResourceDocument[]): void {
  const outcome = mock.apply(documents);
  expect(outcome.problems).toEqual([]);
}

function remove(mock: MockControlPlane, document: ResourceDocument): void {
  const { kind, metadata } = written(document);
  const found = findKind(kind, undefined);
  if (found === undefined) throw new Error(`unknown kind ${kind}`);
  const namespace = found.namespaced ? (metadata.namespace ?? 'default') : '';
  expect(mock.delete({ api: found.api, kind, namespace, name: metadata.name })).toBe(true);
}

describe.each(recordingNames())('MockControlPlane replaying %s', (name) => {
  const recording = loadRecording(name);
  const recorded = recordedPayloads(recording);
  const steps = readSteps(recording.resources);
  const config = { ...ENVIRONMENT, ...recording.steps.config };
  const mock = new MockControlPlane({ hostname: 'node1', config, log: silentLogger });
  const applied = new Map<string, Written>();

  it.each(steps.map((step, index) => [step.name, index] as const))('%s: sends what Felix sent', (_, index) => {
    const step = steps[index] as Step;
    const from = index === 0 ? 0 : (recording.steps.steps[index - 1]?.frames ?? 0);
    const wanted = recorded.slice(from, recording.steps.steps[index]?.frames).map(canonical).sort();
    const sent: ToDataplanePayload[] = [];
    const flush = (last: ResourceDocument): void => {
      const skipped = index === 0 || NOT_FLUSHED_AFTER.has(`${name} ${step.name} ${written(last).metadata.name}`);
      if (!skipped) sent.push(...mock.flush());
    };
    if (index === 0) apply(mock, [clusterInformation(recording)]);
    for (const document of step.apply) {
      const resource = written(document);
      applied.set(`${resource.kind} ${resource.metadata.name}`, resource);
      apply(mock, [document]);
      flush(document);
    }
    for (const document of step.remove) {
      const { kind, metadata } = written(document);
      for (const before of writesBeforeDelete(applied.get(`${kind} ${metadata.name}`))) {
        apply(mock, [before]);
        flush(before);
      }
      remove(mock, document);
      flush(document);
    }
    if (index === 0) sent.push(...mock.flush());
    expect(sent.map(canonical).sort()).toEqual(wanted);
  });
});
