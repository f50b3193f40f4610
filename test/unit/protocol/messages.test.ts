import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  FromDataplaneSchema,
  type PolicyID,
  ToDataplaneSchema,
  WorkloadEndpointStatusUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import {
  decodeFromDataplane,
  type DecodeIssue,
  encodeFromDataplane,
  encodeToDataplane,
  ToDataplaneDecoder,
} from '../../../src/protocol/messages.js';
import type { ToDataplanePayload } from '../../../src/protocol/session.js';
import { loadRecording, recordingNames, splitFrames } from '../../fixtures/recording.js';
import { wire, type WireField } from './wire.js';

/** Decodes envelopes with one decoder; skipped ones are left out. */
function decodeAll(decoder: ToDataplaneDecoder, envelopes: readonly Uint8Array[]): ToDataplanePayload[] {
  return envelopes.flatMap((bytes, sequence) => decoder.decode(bytes, sequence, 0)?.payload ?? []);
}

/** Name, kind of each policy id. */
function idsOf(ids: readonly PolicyID[]): string[] {
  return ids.map((id) => [id.kind, id.namespace, id.name].filter((part) => part !== '').join(' '));
}

const oldId = (tier: string, name: string): Uint8Array => wire([1, tier], [2, name]);

function oldHost(field: number, hostname: string, ...more: WireField[]): Uint8Array {
  return wire([field, wire([1, hostname], ...more)], [15, 7]);
}

describe('ToDataplaneDecoder', () => {
  it.each(recordingNames())('decode, recording %s, gives every message and encodes it back', (name) => {
    const decoder = new ToDataplaneDecoder();
    const frames = splitFrames(loadRecording(name).stream);
    frames.forEach((frame, sequence) => {
      const decoded = decoder.decode(frame, sequence, 0);
      expect(decoded?.sequence).toBe(BigInt(sequence));
      if (decoded === null) return;
      const again = decoder.decode(encodeToDataplane(decoded.payload, decoded.sequence), sequence, 0);
      expect(again).toEqual(decoded);
    });
    expect(decoder.counters).toEqual({
      frames: frames.length * 2,
      unknownPayloads: 0,
      unknownFields: 0,
      invalidMessages: 0,
      legacyMessages: 0,
    });
  });

  it('decode, payload that nobody knows, skips it with its number', () => {
    const issues: DecodeIssue[] = [];
    const decoder = new ToDataplaneDecoder({ onIssue: (issue) => issues.push(issue) });
    expect(decoder.decode(wire([99, wire([1, 'x'])], [15, 3]), 3, 40)).toBeNull();
    expect(issues).toEqual([{ sequence: 3, offset: 40, problem: 'unknown payload, field 99' }]);
    expect(decoder.counters.unknownPayloads).toBe(1);
  });

  it('decode, unknown fields at every depth, counts them and delivers the rest', () => {
    const rule = wire([1, 'deny'], [3, wire([2, 'tcp'], [90, 'x'])], [300, 1]);
    const body = wire([1, rule], [91, 1]);
    const bytes = wire([7, wire([1, wire([2, 'p'], [92, 'x'])], [2, body])], [93, 5]);
    const decoder = new ToDataplaneDecoder();
    const payload = decoder.decode(bytes, 0, 0)?.payload;
    expect(payload?.case === 'activePolicyUpdate' && payload.value.policy?.inboundRules[0]?.action).toBe('deny');
    expect(decoder.counters.unknownFields).toBe(5);
  });

  it('decode, old policy id with tier, keeps the name and takes the tier for the log prefix', () => {
    const decoder = new ToDataplaneDecoder();
    const [update, remove] = decodeAll(decoder, [
      wire([7, wire([1, oldId('security', 'security.deny-all')], [2, wire([3, 1])])]),
      wire([8, wire([1, oldId('security', 'security.deny-all')])]),
    ]);
    if (update?.case !== 'activePolicyUpdate' || remove?.case !== 'activePolicyRemove')
      throw new Error('wrong payloads');
    expect(update.value.policy).toMatchObject({ tier: 'security', untracked: true });
    expect(update.value.id).toEqual(remove.value.id);
    expect(update.value.id).toMatchObject({ name: 'security.deny-all', namespace: '', kind: '' });
    expect(decoder.counters).toMatchObject({ legacyMessages: 2, unknownFields: 0 });
  });

  it('decode, tiers with policy names, gives ids', () => {
    const tier = wire([1, 'default'], [2, 'default.a'], [2, 'ns/default.b'], [3, '0-starts-with-a-digit'], [4, 'Pass']);
    const workload = wire(
      [11, wire([1, wire([2, 'k8s'], [4, 'eth0'])], [5, wire([1, 'active'], [2, 'cali1'], [7, tier])])],
      [15, 9],
    );
    const host = wire([
      9,
      wire([1, wire([2, 'hep'])], [3, wire([1, 'eth0'], [3, tier], [6, tier], [7, tier], [8, tier])]),
    ]);
    const decoder = new ToDataplaneDecoder();
    const [workloadUpdate, hostUpdate] = decodeAll(decoder, [workload, host]);
    if (workloadUpdate?.case !== 'workloadEndpointUpdate' || hostUpdate?.case !== 'hostEndpointUpdate')
      throw new Error('wrong payloads');
    const [read] = workloadUpdate.value.endpoint?.tiers ?? [];
    expect(workloadUpdate.value.endpoint).toMatchObject({ state: 'active', name: 'cali1' });
    expect(read?.defaultAction).toBe('Pass');
    expect(idsOf(read?.ingressPolicies ?? [])).toEqual(['default.a', 'ns/default.b']);
    expect(idsOf(read?.egressPolicies ?? [])).toEqual(['0-starts-with-a-digit']);
    const { tiers, untrackedTiers, preDnatTiers, forwardTiers } = hostUpdate.value.endpoint ?? {};
    for (const list of [tiers, untrackedTiers, preDnatTiers, forwardTiers]) {
      expect(idsOf(list?.[0]?.ingressPolicies ?? [])).toEqual(['default.a', 'ns/default.b']);
    }
    expect(decoder.counters.legacyMessages).toBe(2);
  });

  it('decode, tiers with present ids in any field order, leaves them', () => {
    const ids = [
      wire([2, 'a'], [3, 'ns'], [4, 'NetworkPolicy']),
      wire([4, 'NetworkPolicy'], [2, 'b']),
      wire([3, 'ns'], [2, 'c']),
    ];
    const tier = wire([1, 'default'], ...ids.map((id): WireField => [2, id]));
    const bytes = wire([11, wire([1, wire([4, 'eth0'])], [5, wire([7, tier])])]);
    const decoder = new ToDataplaneDecoder();
    const [payload] = decodeAll(decoder, [bytes]);
    if (payload?.case !== 'workloadEndpointUpdate') throw new Error('wrong payload');
    expect(idsOf(payload.value.endpoint?.tiers[0]?.ingressPolicies ?? [])).toEqual([
      'NetworkPolicy ns a',
      'NetworkPolicy b',
      'ns c',
    ]);
    expect(decoder.counters.legacyMessages).toBe(0);
  });

  it.each([
    ['staged:default.a', 'StagedGlobalNetworkPolicy'],
    ['ns/staged:default.a', 'StagedNetworkPolicy'],
    ['ns/staged:knp.default.a', 'StagedKubernetesNetworkPolicy'],
    ['ns/default.staged:a', ''],
  ])('decode, old name %s, is of kind %j in the policy and in the tier', (name, kind) => {
    const decoder = new ToDataplaneDecoder();
    const tier = wire([1, 'default'], [2, name]);
    const [policy, endpoint] = decodeAll(decoder, [
      wire([7, wire([1, oldId('default', name)], [2, wire([3, 0])])]),
      wire([11, wire([1, wire([4, 'eth0'])], [5, wire([7, tier])])]),
    ]);
    if (policy?.case !== 'activePolicyUpdate' || endpoint?.case !== 'workloadEndpointUpdate')
      throw new Error('wrong payloads');
    expect(policy.value.id?.kind).toBe(kind);
    expect(endpoint.value.endpoint?.tiers[0]?.ingressPolicies).toEqual([policy.value.id]);
  });

  describe('old host metadata', () => {
    const hostUpdates = (envelopes: readonly Uint8Array[]): string[] =>
      decodeAll(new ToDataplaneDecoder(), envelopes).map((payload) => {
        if (payload.case === 'hostMetadataUpdate') return `${payload.value.ipv4Addr}|${payload.value.ipv6Addr}`;
        return payload.case;
      });
    const v4 = (address: string): Uint8Array => oldHost(14, 'n1', [2, address]);
    const v4Remove = oldHost(18, 'n1', [2, '10.0.0.1']);
    const v6 = (address: string): Uint8Array => oldHost(35, 'n1', [2, address]);
    const v6Remove = oldHost(36, 'n1', [2, 'fd00::1']);

    it.each<readonly [string, readonly Uint8Array[], readonly string[]]>([
      ['v4 then v6', [v4('10.0.0.1'), v6('fd00::1')], ['10.0.0.1|', '10.0.0.1|fd00::1']],
      ['v6 then v4', [v6('fd00::1'), v4('10.0.0.1')], ['|fd00::1', '10.0.0.1|fd00::1']],
      [
        'v4 changed',
        [v4('10.0.0.1'), v6('fd00::1'), v4('10.0.0.2')],
        ['10.0.0.1|', '10.0.0.1|fd00::1', '10.0.0.2|fd00::1'],
      ],
      ['v6 removed', [v4('10.0.0.1'), v6('fd00::1'), v6Remove], ['10.0.0.1|', '10.0.0.1|fd00::1', '10.0.0.1|']],
      ['v4 removed', [v4('10.0.0.1'), v6('fd00::1'), v4Remove], ['10.0.0.1|', '10.0.0.1|fd00::1', '|fd00::1']],
      [
        'both removed',
        [v6('fd00::1'), v4('10.0.0.1'), v4Remove, v6Remove],
        ['|fd00::1', '10.0.0.1|fd00::1', '|fd00::1', 'hostMetadataRemove'],
      ],
      ['joint update', [oldHost(37, 'n1', [2, '10.0.0.1'], [3, 'fd00::1'], [4, '64512'])], ['10.0.0.1|fd00::1']],
      ['joint remove', [oldHost(37, 'n1', [2, '10.0.0.1']), oldHost(38, 'n1')], ['10.0.0.1|', 'hostMetadataRemove']],
      [
        'present form only',
        [v4('10.0.0.1'), oldHost(14, 'n1', [2, '10.0.0.2']), v4Remove],
        ['10.0.0.1|', '10.0.0.2|', 'hostMetadataRemove'],
      ],
    ])('decode, %s, gives the joint form', (_, envelopes, expected) => {
      expect(hostUpdates(envelopes)).toEqual(expected);
    });
  });

  it('decode, policy without a body, is a policy without rules', () => {
    const payload = new ToDataplaneDecoder().decode(wire([7, wire([1, wire([2, 'p'])])]), 0, 0)?.payload;
    expect(payload?.case).toBe('activePolicyUpdate');
  });
});

describe('decodeFromDataplane', () => {
  it('encoded payload, comes back with its sequence number', () => {
    const value = create(WorkloadEndpointStatusUpdateSchema, { id: { endpointId: 'eth0' }, status: { status: 'up' } });
    const bytes = encodeFromDataplane({ case: 'workloadEndpointStatusUpdate', value }, 41n);
    const decoded = decodeFromDataplane(bytes, 0, 0);
    expect(decoded?.sequence).toBe(41n);
    expect(decoded?.payload.case).toBe('workloadEndpointStatusUpdate');
  });

  it.each([
    ['as it came', wire([2, 'a'], [4, 'NetworkPolicy'])],
    ['with a policy that was lifted to its kind', wire([2, 'staged:a'])],
    ['with a policy known by its name', new TextEncoder().encode('default.a')],
  ])('encoded status, hands the endpoint back %s, unknown fields too', (_name, id) => {
    const endpoint = wire([2, 'cali1'], [1, 'active'], [7, wire([1, 'default'], [2, id])], [93, 'x']);
    const bytes = wire([11, wire([1, wire([2, 'k8s'], [4, 'eth0'])], [5, endpoint])]);
    const payload = new ToDataplaneDecoder().decode(bytes, 0, 0)?.payload;
    if (payload?.case !== 'workloadEndpointUpdate') throw new Error('wrong payload');
    const { value } = payload;
    const update = create(WorkloadEndpointStatusUpdateSchema, {
      ...(value.id === undefined ? {} : { id: value.id }),
      ...(value.endpoint === undefined ? {} : { endpoint: value.endpoint }),
      status: { status: 'up' },
    });
    const status = { case: 'workloadEndpointStatusUpdate', value: update } as const;
    const envelope = create(FromDataplaneSchema, { sequenceNumber: 5n, payload: status });
    const sent = fromBinary(FromDataplaneSchema, encodeFromDataplane(status, 5n));
    expect(sent).toEqual(fromBinary(FromDataplaneSchema, toBinary(FromDataplaneSchema, envelope)));
    expect(sent.payload.case === 'workloadEndpointStatusUpdate' && sent.payload.value.endpoint?.$unknown).toHaveLength(
      1,
    );
  });

  it.each([
    ['id and status', [1, wire([2, 'k8s'], [3, 'ns/pod ü'], [4, 'eth0'])], 'up'],
    ['empty texts', [1, wire([4, 'eth0'])], ''],
    ['long texts', [1, wire([3, 'ü'.repeat(100)], [4, 'e'.repeat(20_000)])], 'up'],
    ['unknown fields of the id', [1, wire([2, 'k8s'], [4, 'eth0'], [77, 'x'])], 'error'],
  ] as const)('encoded status, is to the byte what the schema says: %s', (_name, id, status) => {
    const bytes = wire([11, wire([...id], [5, wire([1, 'active'], [2, 'cali1'])])]);
    const payload = new ToDataplaneDecoder().decode(bytes, 0, 0)?.payload;
    if (payload?.case !== 'workloadEndpointUpdate') throw new Error('wrong payload');
    const value = create(WorkloadEndpointStatusUpdateSchema, { status: { status } });
    if (payload.value.id !== undefined) value.id = payload.value.id;
    if (payload.value.endpoint !== undefined) value.endpoint = payload.value.endpoint;
    const update = { case: 'workloadEndpointStatusUpdate', value } as const;
    for (const sequenceNumber of [0n, 3n, 70_000n, 1n << 40n]) {
      const whole = create(FromDataplaneSchema, { sequenceNumber, payload: update });
      expect(encodeFromDataplane(update, sequenceNumber)).toEqual(toBinary(FromDataplaneSchema, whole));
    }
  });

  it('no payload, is skipped', () => {
    const bytes = toBinary(FromDataplaneSchema, create(FromDataplaneSchema, { sequenceNumber: 1n }));
    expect(decodeFromDataplane(bytes, 0, 0)).toBeNull();
    expect(toBinary(ToDataplaneSchema, create(ToDataplaneSchema))).toHaveLength(0);
  });
});
