import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Batch, MessageQueue } from '../../../src/protocol/coalesce.js';
import {
  ActivePolicyRemoveSchema,
  ActivePolicyUpdateSchema,
  ConfigUpdateSchema,
  EncapsulationSchema,
  InSyncSchema,
  IPSetDeltaUpdateSchema,
  IPSetRemoveSchema,
  IPSetUpdate_IPSetType,
  IPSetUpdateSchema,
  RouteRemoveSchema,
  RouteUpdateSchema,
  WorkloadEndpointRemoveSchema,
  WorkloadEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { ToDataplaneDecoder } from '../../../src/protocol/messages.js';
import type { ToDataplanePayload } from '../../../src/protocol/session.js';
import { loadRecording, recordingNames, splitFrames } from '../../fixtures/recording.js';
import { ReferenceStore } from './reference-store.js';

const setUpdate = (id: string, members: string[], type = IPSetUpdate_IPSetType.NET): ToDataplanePayload => ({
  case: 'ipsetUpdate',
  value: create(IPSetUpdateSchema, { id, members, type }),
});
const setDelta = (id: string, addedMembers: string[], removedMembers: string[]): ToDataplanePayload => ({
  case: 'ipsetDeltaUpdate',
  value: create(IPSetDeltaUpdateSchema, { id, addedMembers, removedMembers }),
});
const setRemove = (id: string): ToDataplanePayload => ({
  case: 'ipsetRemove',
  value: create(IPSetRemoveSchema, { id }),
});
const policyUpdate = (name: string, sets: string[]): ToDataplanePayload => ({
  case: 'activePolicyUpdate',
  value: create(ActivePolicyUpdateSchema, { id: { name }, policy: { inboundRules: [{ srcIpSetIds: sets }] } }),
});
const policyRemove = (name: string): ToDataplanePayload => ({
  case: 'activePolicyRemove',
  value: create(ActivePolicyRemoveSchema, { id: { name } }),
});
const endpointUpdate = (endpointId: string, policies: string[]): ToDataplanePayload => ({
  case: 'workloadEndpointUpdate',
  value: create(WorkloadEndpointUpdateSchema, {
    id: { endpointId },
    endpoint: {
      name: `cali${endpointId}`,
      tiers: [{ name: 'default', ingressPolicies: policies.map((name) => ({ name })) }],
    },
  }),
});
const endpointRemove = (endpointId: string): ToDataplanePayload => ({
  case: 'workloadEndpointRemove',
  value: create(WorkloadEndpointRemoveSchema, { id: { endpointId } }),
});
const routeUpdate = (dst: string, dstNodeName: string): ToDataplanePayload => ({
  case: 'routeUpdate',
  value: create(RouteUpdateSchema, { dst, dstNodeName }),
});
const routeRemove = (dst: string): ToDataplanePayload => ({
  case: 'routeRemove',
  value: create(RouteRemoveSchema, { dst }),
});
const inSync: ToDataplanePayload = { case: 'inSync', value: create(InSyncSchema) };

function batchOf(messages: readonly ToDataplanePayload[]): Batch {
  const queue = new MessageQueue();
  for (const message of messages) queue.add(message, 10);
  return queue.take();
}

/** Applies messages through queues cut at the given places, and returns the store. */
function applyInBatches(messages: readonly ToDataplanePayload[], isCut: (index: number) => boolean): ReferenceStore {
  const store = new ReferenceStore();
  const queue = new MessageQueue();
  messages.forEach((message, index) => {
    queue.add(message, 10);
    if (isCut(index)) store.applyAll(queue.take().messages);
  });
  store.applyAll(queue.take().messages);
  return store;
}

const name = fc.constantFrom('a', 'b', 'c');
const members = fc.subarray(['10.0.0.1/32', '10.0.0.2/32', '10.0.0.3/32', 'fd00::1/128']);
const anyMessage: fc.Arbitrary<ToDataplanePayload> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.tuple(name, members, fc.constantFrom(0, 1, 2)).map(([id, list, type]) => setUpdate(id, list, type)),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(name, members, members).map(([id, added, removed]) => setDelta(id, added, removed)),
  },
  { weight: 1, arbitrary: name.map(setRemove) },
  { weight: 1, arbitrary: fc.tuple(name, members).map(([id, sets]) => policyUpdate(id, sets)) },
  { weight: 1, arbitrary: name.map(policyRemove) },
  { weight: 1, arbitrary: fc.tuple(name, members).map(([id, policies]) => endpointUpdate(id, policies)) },
  { weight: 1, arbitrary: name.map(endpointRemove) },
  { weight: 1, arbitrary: fc.tuple(name, name).map(([dst, node]) => routeUpdate(dst, node)) },
  { weight: 1, arbitrary: name.map(routeRemove) },
);

describe('MessageQueue', () => {
  it('take, any messages and any cuts, leaves a store as the raw messages do', () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 40 }), fc.infiniteStream(fc.boolean()), (messages, cuts) => {
        const raw = new ReferenceStore();
        raw.applyAll(messages);
        const merged = applyInBatches(messages, () => cuts.next().value === true);
        expect(merged.dump()).toEqual(raw.dump());
      }),
      { numRuns: 500 },
    );
  });

  it('take, legal stream and any cuts, never breaks a reference', () => {
    // A world of sets, policies that name sets and endpoints that name policies; each step is one flush of Felix's order.
    const world = fc.record({
      sets: fc.subarray(['s1', 's2', 's3']),
      policies: fc.subarray(['p1', 'p2', 'p3']),
      endpoints: fc.subarray(['e1', 'e2']),
    });
    fc.assert(
      fc.property(fc.array(world, { minLength: 1, maxLength: 8 }), fc.infiniteStream(fc.boolean()), (worlds, cuts) => {
        const messages: ToDataplanePayload[] = [];
        let before: (typeof worlds)[number] = { sets: [], policies: [], endpoints: [] };
        for (const after of worlds) {
          const gone = (kind: keyof typeof after): string[] => before[kind].filter((id) => !after[kind].includes(id));
          messages.push(
            ...after.sets.map((id) => setUpdate(id, ['10.0.0.0/8'])),
            ...after.policies.map((id) => policyUpdate(id, after.sets)),
            ...after.endpoints.map((id) => endpointUpdate(id, after.policies)),
            ...gone('endpoints').map(endpointRemove),
            ...gone('policies').map(policyRemove),
            ...gone('sets').map(setRemove),
          );
          before = after;
        }
        const store = new ReferenceStore();
        const queue = new MessageQueue();
        for (const message of messages) {
          queue.add(message, 10);
          if (cuts.next().value === true) continue;
          for (const one of queue.take().messages) {
            store.apply(one);
            expect(store.danglingReferences()).toEqual([]);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it.each(recordingNames())('take, recording %s in one batch, leaves a store as the raw messages do', (recording) => {
    const decoder = new ToDataplaneDecoder();
    const messages = splitFrames(loadRecording(recording).stream).flatMap((frame, sequence) => {
      const decoded = decoder.decode(frame, sequence, 0);
      return decoded === null ? [] : [decoded.payload];
    });
    const raw = new ReferenceStore();
    raw.applyAll(messages);
    expect(applyInBatches(messages, () => false).dump()).toEqual(raw.dump());
  });

  it('take, everything at once, gives the order of one flush with in-sync last', () => {
    const { messages } = batchOf([
      inSync,
      endpointRemove('gone'),
      endpointUpdate('a', ['p']),
      setRemove('old'),
      policyRemove('old'),
      policyUpdate('p', ['s']),
      setDelta('known', ['10.0.0.1'], []),
      setUpdate('s', []),
      { case: 'encapsulation', value: create(EncapsulationSchema) },
      { case: 'configUpdate', value: create(ConfigUpdateSchema) },
    ]);
    expect(messages.map((message) => message.case)).toEqual([
      'configUpdate',
      'ipsetUpdate',
      'ipsetDeltaUpdate',
      'activePolicyUpdate',
      'workloadEndpointUpdate',
      'workloadEndpointRemove',
      'activePolicyRemove',
      'ipsetRemove',
      'encapsulation',
      'inSync',
    ]);
  });

  it('take, remove then add of one key, gives the add alone', () => {
    const { messages, mergedAway } = batchOf([endpointRemove('a'), endpointUpdate('a', ['p'])]);
    expect(messages).toEqual([endpointUpdate('a', ['p'])]);
    expect(mergedAway).toBe(1);
  });

  it('take, add then remove of one key, gives the remove alone', () => {
    expect(batchOf([setUpdate('s', ['10.0.0.1']), setRemove('s')]).messages).toEqual([setRemove('s')]);
  });

  it('take, deltas that cancel out, still name the member: the last word counts', () => {
    expect(batchOf([setDelta('s', ['10.0.0.1'], []), setDelta('s', [], ['10.0.0.1'])]).messages).toEqual([
      setDelta('s', [], ['10.0.0.1']),
    ]);
  });

  it('take, ids that would collide when joined, stay apart', () => {
    const one = create(ActivePolicyRemoveSchema, { id: { kind: 'a', namespace: 'b', name: '' } });
    const other = create(ActivePolicyRemoveSchema, { id: { kind: 'a', namespace: '', name: 'b' } });
    const cases = [one, other].map((value): ToDataplanePayload => ({ case: 'activePolicyRemove', value }));
    expect(batchOf(cases).messages).toHaveLength(2);
  });

  it('isFull, bytes above the bound, until taken; replaced messages stop counting', () => {
    const queue = new MessageQueue({ maxBytes: 100 });
    for (let round = 0; round < 50; round += 1) queue.add(endpointUpdate('a', []), 90);
    expect([queue.isFull, queue.pendingBytes, queue.depth]).toEqual([false, 90, 1]);
    queue.add(endpointUpdate('b', []), 20);
    expect(queue.isFull).toBe(true);
    queue.take();
    expect([queue.isFull, queue.pendingBytes, queue.isEmpty]).toEqual([false, 0, true]);
  });

  it('isFull, endless deltas of the same members, never', () => {
    const queue = new MessageQueue({ maxBytes: 1000 });
    for (let round = 0; round < 1000; round += 1) queue.add(setDelta('s', ['10.0.0.1/32'], ['10.0.0.2/32']), 40);
    expect(queue.isFull).toBe(false);
    for (let round = 0; round < 1000; round += 1)
      queue.add(setDelta('s', [`10.0.${round >> 8}.${round & 255}/32`], []), 20);
    expect(queue.isFull).toBe(true);
  });
});
