// The mock control plane against real streams: fed the resources of a recording step by step, it must send what the
// real calculation graph sent, message for message; only the order within a step, and of members within a set, is free.
import { create, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { ToDataplaneSchema } from '../../src/protocol/gen/felix/felixbackend_pb.js';
import type { ToDataplanePayload } from '../../src/protocol/session.js';
import { loadRecording, recordingNames } from '../fixtures/recording.js';
import { RecordedResources, recordedPayloads } from '../fixtures/resource-steps.js';

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

describe.each(recordingNames())('MockControlPlane replaying %s', (name) => {
  const recording = loadRecording(name);
  const recorded = recordedPayloads(recording);
  const resources = new RecordedResources(recording);

  it.each(resources.stepNames.map((step, index) => [step, index] as const))('%s: sends what Felix sent', (_, index) => {
    const from = index === 0 ? 0 : (recording.steps.steps[index - 1]?.frames ?? 0);
    const wanted = recorded.slice(from, recording.steps.steps[index]?.frames).map(canonical).sort();
    expect(resources.play(index).map(canonical).sort()).toEqual(wanted);
  });
});
