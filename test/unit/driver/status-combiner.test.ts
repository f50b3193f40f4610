import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { StatusCombiner } from '../../../src/driver/status-combiner.js';
import {
  HostEndpointIDSchema,
  WorkloadEndpointIDSchema,
  WorkloadEndpointSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';

const POD = create(WorkloadEndpointIDSchema, { orchestratorId: 'k8s', workloadId: 'default/pod1', endpointId: 'eth0' });
const ENDPOINT = create(WorkloadEndpointSchema, { name: 'cali1', state: 'active' });
const HOST = create(HostEndpointIDSchema, { endpointId: 'h1' });

function statuses(combiner: StatusCombiner): string[] {
  return combiner.drain().messages.map((payload) => {
    if (payload.case === 'workloadEndpointStatusUpdate' || payload.case === 'hostEndpointStatusUpdate') {
      return `${payload.case} ${payload.value.status?.status ?? ''}`;
    }
    return payload.case;
  });
}

describe('StatusCombiner', () => {
  test.each([
    ['up', 'up', 'up'],
    ['up', 'down', 'down'],
    ['down', 'up', 'down'],
    ['error', 'down', 'error'],
    ['up', 'error', 'error'],
  ] as const)('a workload that is %s in v4 and %s in v6 is %s', (v4, v6, combined) => {
    const combiner = new StatusCombiner();
    combiner.setWorkloadStatus(4, POD, v4, ENDPOINT);
    combiner.setWorkloadStatus(6, POD, v6, ENDPOINT);
    expect(statuses(combiner)).toEqual([`workloadEndpointStatusUpdate ${combined}`]);
  });

  test('drain reports a status again only when it was set again, even to the same value', () => {
    const combiner = new StatusCombiner();
    combiner.setWorkloadStatus(4, POD, 'up', ENDPOINT);
    combiner.drain();
    expect(statuses(combiner)).toEqual([]);
    combiner.setWorkloadStatus(4, POD, 'up', ENDPOINT);
    expect(statuses(combiner)).toEqual(['workloadEndpointStatusUpdate up']);
  });

  test('an endpoint is removed when it is gone in all families, and the message names it once', () => {
    const combiner = new StatusCombiner();
    combiner.setWorkloadStatus(4, POD, 'up', ENDPOINT);
    combiner.setWorkloadStatus(6, POD, 'up', ENDPOINT);
    combiner.drain();
    combiner.setWorkloadStatus(4, POD, null, null);
    expect(statuses(combiner)).toEqual(['workloadEndpointStatusUpdate up']);
    combiner.setWorkloadStatus(6, POD, null, null);
    expect(statuses(combiner)).toEqual(['workloadEndpointStatusRemove']);
    expect(statuses(combiner)).toEqual([]);
  });

  test('an endpoint that goes without having had a status is removed all the same, once', () => {
    const combiner = new StatusCombiner();
    for (const family of [4, 6] as const) {
      combiner.setWorkloadStatus(family, POD, null, null);
      combiner.setHostStatus(family, HOST, null);
    }
    expect(statuses(combiner)).toEqual(['workloadEndpointStatusRemove', 'hostEndpointStatusRemove']);
    expect(statuses(combiner)).toEqual([]);
  });

  test('a workload update carries the endpoint, which the status file reader needs', () => {
    const combiner = new StatusCombiner();
    combiner.setWorkloadStatus(4, POD, 'up', ENDPOINT);
    const { messages, workloads } = combiner.drain();
    const payload = messages[0];
    expect(payload?.case === 'workloadEndpointStatusUpdate' && payload.value.endpoint?.name).toBe('cali1');
    expect(workloads).toEqual([{ id: POD, status: 'up', endpoint: ENDPOINT }]);
  });

  test('host endpoints and wireguard keys: a key is sent once per value, also an empty one', () => {
    const combiner = new StatusCombiner();
    combiner.setHostStatus(4, HOST, 'error');
    combiner.setWireguardKey(4, '');
    combiner.setWireguardKey(4, '');
    expect(statuses(combiner)).toEqual(['hostEndpointStatusUpdate error', 'wireguardStatusUpdate']);
    combiner.setWireguardKey(4, '');
    expect(statuses(combiner)).toEqual([]);
  });
});
