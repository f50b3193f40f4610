import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { FrameSocketOptions, OpenFrameSocket } from '../../../src/interfaces/frame-socket.js';
import {
  answerArp,
  answerSolicitation,
  gratuitousArp,
  solicitedNodeMac,
  unsolicitedAdvertisement,
} from '../../../src/interfaces/neighbour-packets.js';
import { ProxyNeighbourReconciler } from '../../../src/interfaces/proxy-neighbours.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeRouteKernel } from '../../fakes/route-kernel.js';

const MAC = '02:00:00:00:00:01';
const ASKER = '02:00:00:00:00:99';
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** Who has 10.0.0.5? Tell 10.0.0.9 (02:00:00:00:00:99). */
const ARP_REQUEST = hex(
  'ffffffffffff 020000000099 0806 0001 0800 06 04 0001 020000000099 0a000009 000000000000 0a000005',
);

/** Neighbour solicitation for fd00::5 from fd00::9, or from nobody. */
function solicitation(source = 'fd000000000000000000000000000009'): Buffer {
  const target = 'fd000000000000000000000000000005';
  return hex(
    `3333ff000005 020000000099 86dd 60000000 0020 3a ff ${source} ff0200000000000000000001ff000005
     87 00 0000 00000000 ${target} 01 01 020000000099`,
  );
}

/** One's complement sum of an IPv6 packet's pseudo header and payload; 0xffff when the checksum is right. */
function checksumOf(frame: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(frame.length - 54, 0);
  pseudo[7] = 58;
  const data = Buffer.concat([frame.subarray(22, 54), pseudo, frame.subarray(54)]);
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += data.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

const wants = (address: string): boolean => address === '10.0.0.5' || address === 'fd00::5';

describe('answerArp', () => {
  it('answers a request for a wanted address to the asker', () => {
    expect(answerArp(ARP_REQUEST, MAC, wants)?.toString('hex')).toBe(
      hex('020000000099 020000000001 0806 0001 0800 06 04 0002 020000000001 0a000005 020000000099 0a000009').toString(
        'hex',
      ),
    );
  });

  it('is silent on other addresses, replies, its own requests, cut and foreign frames', () => {
    const reply = Buffer.from(ARP_REQUEST);
    reply[21] = 2;
    expect(answerArp(ARP_REQUEST, MAC, () => false)).toBeNull();
    expect(answerArp(reply, MAC, wants)).toBeNull();
    expect(answerArp(ARP_REQUEST, ASKER, wants)).toBeNull();
    expect(answerArp(ARP_REQUEST.subarray(0, 41), MAC, wants)).toBeNull();
    expect(answerArp(solicitation(), MAC, wants)).toBeNull();
    expect(answerArp(gratuitousArp('10.0.0.5', MAC), MAC, wants)).toBeNull();
  });
});

describe('answerSolicitation', () => {
  it('answers a wanted address to the asker, solicited and overriding', () => {
    const answer = answerSolicitation(solicitation(), MAC, 'fe80::1', wants) ?? Buffer.alloc(0);
    expect(answer.subarray(0, 14).toString('hex')).toBe('02000000009902000000000186dd');
    expect(answer.subarray(22, 54).toString('hex')).toBe(
      'fe800000000000000000000000000001fd000000000000000000000000000009',
    );
    expect(answer[21]).toBe(255);
    expect(answer.subarray(54, 55).toString('hex') + answer.subarray(58).toString('hex')).toBe(
      '8860000000fd0000000000000000000000000000050201020000000001',
    );
    expect(checksumOf(answer)).toBe(0xffff);
  });

  it('answers a probe for duplicates to all nodes, not as solicited', () => {
    const answer = answerSolicitation(solicitation('0'.repeat(32)), MAC, 'fe80::1', wants) ?? Buffer.alloc(0);
    expect(answer.subarray(0, 6).toString('hex')).toBe('333300000001');
    expect(answer.subarray(38, 54).toString('hex')).toBe('ff020000000000000000000000000001');
    expect(answer[58]).toBe(0x20);
    expect(checksumOf(answer)).toBe(0xffff);
  });

  it('is silent on other addresses, its own frames, forwarded and cut ones', () => {
    const forwarded = solicitation();
    forwarded[21] = 254;
    expect(answerSolicitation(solicitation(), MAC, 'fe80::1', () => false)).toBeNull();
    expect(answerSolicitation(solicitation(), ASKER, 'fe80::1', wants)).toBeNull();
    expect(answerSolicitation(forwarded, MAC, 'fe80::1', wants)).toBeNull();
    expect(answerSolicitation(solicitation().subarray(0, 70), MAC, 'fe80::1', wants)).toBeNull();
    expect(answerSolicitation(ARP_REQUEST, MAC, 'fe80::1', wants)).toBeNull();
  });
});

describe('solicitedNodeMac', () => {
  it('ends in the last three bytes of the address', () => {
    expect(solicitedNodeMac('2001:db8::ff12:a')).toBe('33:33:ff:12:00:0a');
  });
});

function setUp(family: 4 | 6 = 4, options: { canOpen?: boolean; noSockets?: boolean; down?: string } = {}) {
  const kernel = new FakeRouteKernel();
  const address = (interfaceName: string, text: string, length: number): void => {
    kernel.addresses.push({ interfaceName, family: text.includes(':') ? 6 : 4, address: text, length, scope: 0 });
  };
  address('eth0', '10.0.0.1', 24);
  address('eth0', 'fd00::1', 64);
  address('eth0', 'fe80::1', 64);
  address('cali1', '10.0.0.2', 24);
  const clock = new FakeClock();
  const sockets: { options: FrameSocketOptions; sent: Buffer[]; groups: string[]; closed: boolean }[] = [];
  let canOpen = options.canOpen ?? true;
  let wakes = 0;
  const openSocket: OpenFrameSocket = (socketOptions) => {
    if (!canOpen) throw new Error('not permitted');
    if (socketOptions.interfaceName === options.down) throw new Error('network is down');
    const socket = { options: socketOptions, sent: [] as Buffer[], groups: [] as string[], closed: false };
    sockets.push(socket);
    return {
      mac: MAC,
      send: (frame) => void socket.sent.push(frame),
      setMulticast: (macs) => void (socket.groups = [...macs]),
      close: () => void (socket.closed = true),
    };
  };
  const responders = new ProxyNeighbourReconciler({
    family,
    kernel,
    openSocket: options.noSockets === true ? null : openSocket,
    workloadPrefixes: ['cali'],
    refreshIntervalMs: 120_000,
    clock,
    wake: () => void (wakes += 1),
    logger: silentLogger,
  });
  return { kernel, clock, sockets, responders, wakes: () => wakes, allow: () => void (canOpen = true) };
}

describe('ProxyNeighbourReconciler', () => {
  it('announces and answers on the interfaces whose subnet has the address', async () => {
    const { responders, sockets } = setUp();
    responders.setAddresses(new Set(['10.0.0.5', '10.9.0.5']));
    await responders.apply();
    expect(sockets.map(({ options }) => [options.interfaceName, options.etherTypes])).toEqual([['eth0', [0x0806]]]);
    expect(sockets[0]?.sent).toEqual([gratuitousArp('10.0.0.5', MAC)]);
    sockets[0]?.options.onFrame(ARP_REQUEST);
    expect(sockets[0]?.sent).toHaveLength(2);
    responders.setAddresses(new Set(['10.0.0.6']));
    await responders.apply();
    sockets[0]?.options.onFrame(ARP_REQUEST);
    expect(sockets[0]?.sent).toHaveLength(3);
    responders.setAddresses(new Set());
    await responders.apply();
    expect(sockets[0]?.closed).toBe(true);
  });

  it('joins the groups of IPv6 addresses and speaks with its link-local address', async () => {
    const { responders, sockets } = setUp(6);
    responders.setAddresses(new Set(['fd00::5']));
    await responders.apply();
    expect(sockets[0]?.groups).toEqual(['33:33:ff:00:00:05']);
    expect(sockets[0]?.sent).toEqual([unsolicitedAdvertisement('fd00::5', MAC, 'fe80::1')]);
  });

  it('announces again at every refresh, and looks again when addresses change', async () => {
    const { responders, sockets, clock, kernel } = setUp();
    responders.setAddresses(new Set(['10.0.0.5']));
    await responders.apply();
    await clock.advance(240_000);
    expect(sockets[0]?.sent).toHaveLength(3);
    kernel.lists.length = 0;
    await responders.apply();
    responders.onInterfaceAddresses({ name: 'cali1', addresses: new Set() });
    await responders.apply();
    expect(kernel.lists).toEqual([]);
    kernel.addresses.length = 0;
    responders.onInterfaceAddresses({ name: 'eth0', addresses: new Set() });
    await responders.apply();
    expect(sockets[0]?.closed).toBe(true);
  });

  it('announces all addresses of an interface again when it comes up, and of no other', async () => {
    const { responders, sockets } = setUp();
    responders.setAddresses(new Set(['10.0.0.5', '10.0.0.6']));
    await responders.apply();
    const announced = [gratuitousArp('10.0.0.5', MAC), gratuitousArp('10.0.0.6', MAC)];
    expect(sockets[0]?.sent).toEqual(announced);
    responders.onInterfaceState({ name: 'eth0', state: 'down', ifindex: 2 });
    responders.onInterfaceState({ name: 'eth1', state: 'up', ifindex: 3 });
    expect(sockets[0]?.sent).toEqual(announced);
    responders.onInterfaceState({ name: 'eth0', state: 'up', ifindex: 2 });
    expect(sockets[0]?.sent).toEqual([...announced, ...announced]);
  });

  it('opens another socket after one was lost, and retries one that cannot be opened', async () => {
    const { responders, sockets, wakes, allow } = setUp(4, { canOpen: false });
    responders.setAddresses(new Set(['10.0.0.5']));
    expect((await responders.apply()).rescheduleAfterMs).toBe(1_000);
    allow();
    await responders.apply();
    sockets[0]?.options.onError('network is down');
    expect(wakes()).toBe(1);
    await responders.apply();
    expect(sockets.map(({ closed }) => closed)).toEqual([true, false]);
    responders.stop();
    expect(sockets[1]?.closed).toBe(true);
  });

  it('serves the other interfaces while one is down', async () => {
    const { responders, sockets, kernel } = setUp(4, { down: 'eth0' });
    kernel.addresses.push({ interfaceName: 'eth1', family: 4, address: '10.0.0.3', length: 24, scope: 0 });
    responders.setAddresses(new Set(['10.0.0.5']));
    expect((await responders.apply()).rescheduleAfterMs).toBe(1_000);
    expect(sockets.map(({ options }) => options.interfaceName)).toEqual(['eth1']);
  });

  it('does nothing without raw sockets', async () => {
    const { responders, kernel } = setUp(4, { noSockets: true });
    responders.setAddresses(new Set(['10.0.0.5']));
    expect(await responders.apply()).toEqual({ refused: [], operations: 0 });
    expect(kernel.lists).toEqual([]);
  });
});
