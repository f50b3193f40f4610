import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { FrameSocketOptions } from '../../../src/interfaces/frame-socket.js';
import { createAnnouncementCapture } from '../../../src/managers/network/announcement-capture.js';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { HashRing } from '../../../src/managers/network/hash-ring.js';
import { ProxyNeighbourManager } from '../../../src/managers/network/proxy-neighbour-manager.js';
import {
  HostMetadataUpdateSchema,
  IPAMPoolUpdateSchema,
  type IPAMPoolSchema,
  LiveMigrationRole,
  ServiceRemoveSchema,
  ServiceUpdateSchema,
  WorkloadEndpointRemoveSchema,
  type WorkloadEndpointSchema,
  WorkloadEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import { workloadId } from '../../fakes/messages.js';

function createManager(family: 4 | 6 = 4) {
  let addresses: string[] = [];
  let calls = 0;
  const manager = new ProxyNeighbourManager({
    hostname: 'node1',
    neighbours: {
      family,
      setAddresses: (set) => {
        addresses = [...set].sort();
        calls += 1;
      },
    },
    log: silentLogger,
  });
  const send = (...messages: readonly DataplaneMessage[]): string[] => {
    for (const message of messages) manager.onMessage(message);
    manager.completeDeferredWork();
    return addresses;
  };
  return { send, calls: () => calls };
}

const pool = (cidr: string, over: MessageInitShape<typeof IPAMPoolSchema> = {}): DataplaneMessage => ({
  case: 'ipamPoolUpdate',
  value: create(IPAMPoolUpdateSchema, { id: cidr, pool: { cidr, ...over } }),
});
const pod = (name: string, endpoint: MessageInitShape<typeof WorkloadEndpointSchema>): DataplaneMessage => ({
  case: 'workloadEndpointUpdate',
  value: create(WorkloadEndpointUpdateSchema, { id: workloadId(name), endpoint }),
});
const node = (hostname: string): DataplaneMessage => ({
  case: 'hostMetadataUpdate',
  value: create(HostMetadataUpdateSchema, { hostname, ipv4Addr: '192.168.0.1' }),
});
const service = (loadbalancerIngressIps: string[], type = 'LoadBalancer'): DataplaneMessage => ({
  case: 'serviceUpdate',
  value: create(ServiceUpdateSchema, { namespace: 'default', name: 'web', type, loadbalancerIngressIps }),
});

describe('ProxyNeighbourManager', () => {
  it('answers for its pods in pools without encapsulation', () => {
    const { send } = createManager();
    expect(send(pool('10.65.0.0/16'), pod('default/a', { ipv4Nets: ['10.65.0.2/32', '10.66.0.2/32'] }))).toEqual([
      '10.65.0.2',
    ]);
    expect(send(pool('10.66.0.0/16', { ipipMode: 'Always' }))).toEqual(['10.65.0.2']);
    expect(send(pool('10.66.0.0/16', { ipipMode: 'Never', vxlanMode: 'Never' }))).toEqual(['10.65.0.2', '10.66.0.2']);
    const gone = create(WorkloadEndpointRemoveSchema, { id: workloadId('default/a') });
    expect(send({ case: 'workloadEndpointRemove', value: gone })).toEqual([]);
  });

  it('leaves a machine that moves away to its new node', () => {
    const { send } = createManager();
    const nets = { ipv4Nets: ['10.65.0.2/32'] };
    expect(send(pool('10.65.0.0/16'), pod('default/a', nets))).toEqual(['10.65.0.2']);
    expect(send(pod('default/a', { ...nets, liveMigrationRole: LiveMigrationRole.SOURCE }))).toEqual([]);
    expect(send(pod('default/a', { ...nets, liveMigrationRole: LiveMigrationRole.TARGET }))).toEqual(['10.65.0.2']);
  });

  it('answers for the load balancer addresses that the ring gives it', () => {
    const { send } = createManager();
    const addresses = Array.from({ length: 20 }, (_, index) => `10.65.1.${index}`);
    const ring = new HashRing();
    for (const name of ['node1', 'node2', 'node3']) ring.add(name);
    const ours = addresses.filter((address) => ring.ownerOf(address) === 'node1').sort();
    expect(ours.length).toBeGreaterThan(0);
    const messages = [pool('10.65.0.0/16'), node('node1'), node('node2'), node('node3')];
    expect(send(...messages, service([...addresses, 'fd00::1', 'nonsense']))).toEqual(ours);
    expect(send(service(addresses, 'ClusterIP'))).toEqual([]);
    send(service(addresses));
    const remove = create(ServiceRemoveSchema, { namespace: 'default', name: 'web' });
    expect(send({ case: 'serviceRemove', value: remove })).toEqual([]);
  });

  it('hands nothing over when nothing of its concern changed', () => {
    const { send, calls } = createManager(6);
    send(pool('fd00::/64'), pod('default/a', { ipv6Nets: ['fd00::2/128'] }));
    const before = calls();
    send(node('node9'), service(['10.0.0.1']));
    expect(calls()).toBe(before);
  });
});

describe('createAnnouncementCapture', () => {
  it('tells of an announcement until it is stopped', () => {
    const opened: FrameSocketOptions[] = [];
    let closes = 0;
    let told = 0;
    const start = createAnnouncementCapture((options) => {
      opened.push(options);
      return { mac: '', send: () => undefined, setMulticast: () => undefined, close: () => void (closes += 1) };
    });
    const capture = start('cali1', () => void (told += 1));
    const rarp = Buffer.alloc(60);
    rarp.writeUInt16BE(0x8035, 12);
    opened[0]?.onFrame(Buffer.alloc(60));
    opened[0]?.onFrame(rarp);
    expect(told).toBe(1);
    capture.stop();
    opened[0]?.onFrame(rarp);
    opened[0]?.onError('gone');
    expect([told, closes]).toEqual([1, 1]);
  });
});
