import { create, type MessageInitShape } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { DataplaneMessage } from '../../../src/managers/manager.js';
import { WireguardManager } from '../../../src/managers/network/wireguard-manager.js';
import type { DataplaneConfig } from '../../../src/model/config.js';
import {
  HostMetadataRemoveSchema,
  HostMetadataUpdateSchema,
  RouteRemoveSchema,
  RouteType,
  RouteUpdateSchema,
  WireguardEndpointRemoveSchema,
  WireguardEndpointUpdateSchema,
} from '../../../src/protocol/gen/felix/felixbackend_pb.js';
import type { WireguardPeer, WireguardPeers } from '../../../src/routes/wireguard.js';
import { testConfig } from '../../fakes/config.js';
import { MemoryRouteTable } from '../../fakes/route-table.js';

class MemoryPeers implements WireguardPeers {
  readonly family = 4;
  readonly peers = new Map<string, WireguardPeer>();
  address: string | null = null;
  publishedKey: string | null = null;
  setPeer(peer: WireguardPeer): void {
    this.peers.set(peer.publicKey, peer);
  }
  removePeer(publicKey: string): void {
    this.peers.delete(publicKey);
  }
  setDeviceAddress(address: string | null): void {
    this.address = address;
  }
  setPublishedKey(publicKey: string): void {
    this.publishedKey = publicKey;
  }
}

const keyOf = (n: number): string => Buffer.alloc(32, n).toString('base64');
const { LOCAL_WORKLOAD, REMOTE_WORKLOAD, REMOTE_HOST, REMOTE_TUNNEL } = RouteType;

const host = (n: number): DataplaneMessage => ({
  case: 'hostMetadataUpdate',
  value: create(HostMetadataUpdateSchema, { hostname: `node${n}`, ipv4Addr: `192.168.0.${n}/24` }),
});
const hostGone = (n: number): DataplaneMessage => ({
  case: 'hostMetadataRemove',
  value: create(HostMetadataRemoveSchema, { hostname: `node${n}` }),
});
const key = (n: number, publicKey = keyOf(n), interfaceIpv4Addr = ''): DataplaneMessage => ({
  case: 'wireguardEndpointUpdate',
  value: create(WireguardEndpointUpdateSchema, { hostname: `node${n}`, publicKey, interfaceIpv4Addr }),
});
const keyGone = (n: number): DataplaneMessage => ({
  case: 'wireguardEndpointRemove',
  value: create(WireguardEndpointRemoveSchema, { hostname: `node${n}` }),
});
const route = (dst: string, n: number, over: MessageInitShape<typeof RouteUpdateSchema> = {}): DataplaneMessage => ({
  case: 'routeUpdate',
  value: create(RouteUpdateSchema, { dst, dstNodeName: `node${n}`, types: REMOTE_WORKLOAD, ...over }),
});
const routeGone = (dst: string): DataplaneMessage => ({
  case: 'routeRemove',
  value: create(RouteRemoveSchema, { dst }),
});

class Node {
  readonly routes = new MemoryRouteTable(4);
  readonly peers = new MemoryPeers();
  readonly manager: WireguardManager;

  constructor(config: Partial<DataplaneConfig> = {}) {
    this.manager = new WireguardManager({
      config: testConfig({ felixHostname: 'node1', wireguardEnabled: true, ...config }),
      deviceName: 'wireguard.cali',
      routes: this.routes,
      peers: this.peers,
      log: silentLogger,
    });
  }

  send(...messages: readonly DataplaneMessage[]): this {
    for (const message of messages) this.manager.onMessage(message);
    return this;
  }

  apply(): this {
    this.manager.completeDeferredWork();
    return this;
  }

  get device(): string[] {
    return this.routes
      .of('wireguard', 'wireguard.cali')
      .map(({ dst }) => dst)
      .sort();
  }

  get thrown(): string[] {
    return this.routes
      .of('wireguard', '*NoOIF*')
      .map(({ dst, type }) => `${type} ${dst}`)
      .sort();
  }

  snapshot(): unknown {
    return {
      device: this.device,
      thrown: this.thrown,
      peers: [...this.peers.peers.values()].sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
      address: this.peers.address,
      publishedKey: this.peers.publishedKey,
    };
  }
}

describe('WireguardManager', () => {
  it('makes a node with address and key a peer, and routes its prefixes to the device', () => {
    const node = new Node().send(host(2), route('10.65.2.0/26', 2)).apply();
    expect(node.thrown).toEqual(['throw 10.65.2.0/26']);
    node.send(key(2)).apply();
    expect(node.device).toEqual(['10.65.2.0/26']);
    expect(node.thrown).toEqual([]);
    expect([...node.peers.peers.values()]).toEqual([
      { publicKey: keyOf(2), endpoint: '192.168.0.2', allowedIps: ['10.65.2.0/26'] },
    ]);
    node.send(keyGone(2)).apply();
    expect(node.peers.peers.size).toBe(0);
    expect(node.thrown).toEqual(['throw 10.65.2.0/26']);
  });

  it('gives two nodes with one key nothing, and the last one left its place back', () => {
    const node = new Node().send(host(2), host(3), key(2), route('10.65.2.0/26', 2), route('10.65.3.0/26', 3)).apply();
    node.send(key(3, keyOf(2))).apply();
    expect(node.peers.peers.size).toBe(0);
    expect(node.device).toEqual([]);
    node.send(key(2, keyOf(9))).apply();
    expect([...node.peers.peers.values()].map(({ endpoint }) => endpoint).sort()).toEqual([
      '192.168.0.2',
      '192.168.0.3',
    ]);
    expect(node.device).toEqual(['10.65.2.0/26', '10.65.3.0/26']);
  });

  it('throws its own blocks, and its own addresses that no block covers', () => {
    const node = new Node().send(
      route('10.65.1.0/26', 1, { types: LOCAL_WORKLOAD }),
      route('10.65.1.5/32', 1, { types: LOCAL_WORKLOAD }),
      route('10.66.0.5/32', 1, { types: LOCAL_WORKLOAD }),
    );
    expect(node.apply().thrown).toEqual(['throw 10.65.1.0/26', 'throw 10.66.0.5/32']);
    node.send(routeGone('10.65.1.0/26')).apply();
    expect(node.thrown).toEqual(['throw 10.65.1.5/32', 'throw 10.66.0.5/32']);
  });

  it('moves a prefix between nodes within one batch', () => {
    const node = new Node().send(host(2), host(3), key(2), key(3), route('10.65.2.5/32', 2)).apply();
    node.send(route('10.65.2.5/32', 3)).apply();
    expect(node.device).toEqual(['10.65.2.5/32']);
    expect(node.peers.peers.get(keyOf(2))?.allowedIps).toEqual([]);
    expect(node.peers.peers.get(keyOf(3))?.allowedIps).toEqual(['10.65.2.5/32']);
  });

  it('takes remote hosts in only with host encryption, tunnel addresses always', () => {
    const messages = [
      host(2),
      key(2),
      route('192.168.0.2/32', 2, { types: REMOTE_HOST }),
      route('10.65.2.1/32', 2, { types: REMOTE_TUNNEL }),
    ];
    expect(new Node().send(...messages).apply().device).toEqual(['10.65.2.1/32']);
    const encrypting = new Node({ wireguardHostEncryptionEnabled: true }).send(...messages).apply();
    expect(encrypting.device).toEqual(['10.65.2.1/32', '192.168.0.2/32']);
  });

  it('gives the device its own address, with host encryption the node address failing that', () => {
    expect(new Node().send(host(1), key(1, keyOf(1), '10.65.1.9')).peers).toMatchObject({
      address: '10.65.1.9',
      publishedKey: keyOf(1),
    });
    expect(new Node().send(host(1)).peers.address).toBeNull();
    const encrypting = new Node({ wireguardHostEncryptionEnabled: true }).send(host(1));
    expect(encrypting.peers.address).toBe('192.168.0.1');
    expect(encrypting.send(key(1, keyOf(1), '10.65.1.9')).peers.address).toBe('10.65.1.9');
  });

  it('takes a malformed key for none', () => {
    const node = new Node().send(host(2), route('10.65.2.0/26', 2), key(2, 'nonsense')).apply();
    expect(node.peers.peers.size).toBe(0);
    expect(node.thrown).toEqual(['throw 10.65.2.0/26']);
  });

  it('forgets a node of which nothing is left', () => {
    const node = new Node().send(host(2), key(2), route('10.65.2.0/26', 2)).apply();
    node.send(routeGone('10.65.2.0/26'), keyGone(2), hostGone(2)).apply();
    expect(node.snapshot()).toEqual({ device: [], thrown: [], peers: [], address: null, publishedKey: null });
  });

  it('wants the same whatever the batching, with keys that are swapped and shared', () => {
    const step = fc.oneof(
      fc.integer({ min: 2, max: 4 }).map(host),
      fc.integer({ min: 2, max: 4 }).map(hostGone),
      fc.integer({ min: 2, max: 4 }).map(keyGone),
      fc.tuple(fc.integer({ min: 2, max: 4 }), fc.integer({ min: 5, max: 7 })).map(([n, k]) => key(n, keyOf(k))),
      fc
        .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 5 }))
        .map(([n, net]) => route(`10.65.${net}.0/26`, n, { types: n === 1 ? LOCAL_WORKLOAD : REMOTE_WORKLOAD })),
      fc.integer({ min: 0, max: 5 }).map((net) => routeGone(`10.65.${net}.0/26`)),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 40 }), (steps) => {
        const batched = new Node();
        const eager = new Node();
        for (const [message, apply] of steps) {
          batched.send(message);
          eager.send(message).apply();
          if (apply) batched.apply();
        }
        expect(batched.apply().snapshot()).toEqual(eager.apply().snapshot());
      }),
    );
  });
});
