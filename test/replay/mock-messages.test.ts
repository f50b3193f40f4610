// The mock control plane against real streams: fed the resources of a recording step by step, it must send what the
// real calculation graph sent, message for message; only the order within a step, and of members within a set, is free.
import { describe, expect, it } from 'vitest';
import { canonical } from '../fixtures/canonical.js';
import { loadRecording, recordingNames } from '../fixtures/recording.js';
import { RecordedResources, recordedPayloads } from '../fixtures/resource-steps.js';

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
