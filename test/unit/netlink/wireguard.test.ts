import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NetlinkError } from '../../../src/base/errors.js';
import { genericAttributes, type GenericRequest, writeGenericRequest } from '../../../src/kernel/netlink/genetlink.js';
import { errnoName } from '../../../src/kernel/netlink/errno.js';
import type { NativeLibrary } from '../../../src/kernel/netlink/library.js';
import { MessageWriter, parseMessages } from '../../../src/kernel/netlink/message.js';
import {
  changeDeviceRequests,
  decodeEndpoint,
  encodeEndpoint,
  generatePrivateKey,
  WireguardDeviceReader,
  type WireguardPeerMessage,
} from '../../../src/kernel/netlink/wireguard.js';
import { NetlinkWireguard } from '../../../src/routes/netlink-wireguard.js';
import { MUTE } from '../../fakes/native-library.js';

const FAMILY = 0x1c;
const keyOf = (byte: number): string => Buffer.alloc(32, byte).toString('base64');
const hex = (text: string): string => text.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, '');

function bytesOf(request: GenericRequest): Buffer {
  const writer = new MessageWriter();
  writeGenericRequest(writer, request, 0x4, 7);
  return Buffer.from(writer.finish());
}

/** What a dump would answer: the attributes of a device have the same layout in both directions. */
function decode(requests: readonly GenericRequest[]) {
  const reader = new WireguardDeviceReader();
  for (const request of requests) {
    for (const message of parseMessages(bytesOf(request))) reader.read(genericAttributes(message));
  }
  return reader.finish();
}

describe('changeDeviceRequests', () => {
  it('lays out WG_CMD_SET_DEVICE as linux/wireguard.h says', () => {
    const [request, ...rest] = changeDeviceRequests(FAMILY, {
      deviceName: 'wg0',
      privateKey: Buffer.alloc(32, 0x40),
      listenPort: 51820,
      mark: 0x200000,
      peers: [
        { op: 'remove', publicKey: keyOf(0xbb) },
        {
          op: 'set',
          peer: {
            publicKey: keyOf(0xaa),
            endpoint: { address: '192.168.0.2', port: 51820 },
            allowedIps: ['10.65.1.0/26', 'fd00::/64'],
            keepaliveMs: 25_000,
          },
        },
      ],
    });
    expect(rest).toEqual([]);
    expect(bytesOf(request as GenericRequest).toString('hex')).toBe(
      hex(`
        18010000 1c00 0500 07000000 00000000   # nlmsghdr: 280 bytes, family, REQUEST|ACK, sequence, port
        01 01 0000                             # genlmsghdr: WG_CMD_SET_DEVICE, version 1
        0800 0200 77673000                     # WGDEVICE_A_IFNAME "wg0"
        2400 0300 ${'40'.repeat(32)}           # WGDEVICE_A_PRIVATE_KEY
        0600 0600 6cca 0000                    # WGDEVICE_A_LISTEN_PORT, host order
        0800 0700 00002000                     # WGDEVICE_A_FWMARK
        c800 0880                              # WGDEVICE_A_PEERS, nested
          3000 0080                            #   first peer
            2400 0100 ${'bb'.repeat(32)}       #     WGPEER_A_PUBLIC_KEY
            0800 0300 01000000                 #     WGPEER_A_FLAGS: REMOVE_ME
          9400 0080                            #   second peer
            2400 0100 ${'aa'.repeat(32)}
            0800 0300 02000000                 #     WGPEER_A_FLAGS: REPLACE_ALLOWEDIPS
            1400 0400 0200 ca6c c0a80002 0000000000000000   # WGPEER_A_ENDPOINT: sockaddr_in, port in network order
            0600 0500 1900 0000                #     WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, seconds
            4800 0980                          #     WGPEER_A_ALLOWEDIPS, nested
              1c00 0080
                0600 0100 0200 0000            #       WGALLOWEDIP_A_FAMILY: AF_INET
                0800 0200 0a410100             #       WGALLOWEDIP_A_IPADDR
                0500 0300 1a 000000            #       WGALLOWEDIP_A_CIDR_MASK
              2800 0080
                0600 0100 0a00 0000            #       AF_INET6
                1400 0200 fd000000000000000000000000000000
                0500 0300 40 000000`),
    );
  });

  it('splits many peers and one large peer over messages that lose and repeat nothing', () => {
    const peer = fc.record({
      byte: fc.integer({ min: 1, max: 255 }),
      endpoint: fc.constantFrom('10.0.0.1', 'fd00::1'),
      prefixes: fc.uniqueArray(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 }),
      keepalive: fc.integer({ min: 0, max: 65_535 }),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(peer, { maxLength: 12, selector: ({ byte }) => byte }),
        fc.integer({ min: 1, max: 4096 }),
        (peers, bytesPerMessage) => {
          const wanted: WireguardPeerMessage[] = peers.map(({ byte, endpoint, prefixes, keepalive }) => ({
            publicKey: keyOf(byte),
            endpoint: { address: endpoint, port: 51820 },
            allowedIps: prefixes.map((number) => `10.${number >> 8}.${number & 255}.0/24`),
            keepaliveMs: keepalive * 1000,
          }));
          const change = {
            deviceName: 'wg0',
            listenPort: 1,
            mark: 2,
            peers: wanted.map((one) => ({ op: 'set', peer: one }) as const),
          };
          const requests = changeDeviceRequests(FAMILY, change, bytesPerMessage);
          expect(decode(requests)).toEqual({ publicKey: '', listenPort: 1, mark: 2, peers: wanted });
          // A message holds at least one prefix, whatever the limit.
          for (const request of requests) expect(bytesOf(request).length).toBeLessThan(bytesPerMessage + 300);
        },
      ),
    );
  });

  it('keeps even ten thousand prefixes of one peer within 16-bit lengths', () => {
    const allowedIps = Array.from({ length: 10_000 }, (_, at) => `fd00:${at.toString(16)}::/64`);
    const peer = { publicKey: keyOf(1), endpoint: null, allowedIps, keepaliveMs: 0 };
    const requests = changeDeviceRequests(FAMILY, { deviceName: 'wg0', peers: [{ op: 'set', peer }] });
    for (const request of requests) expect(bytesOf(request).length).toBeLessThan(0xffff);
    expect(decode(requests)?.peers[0]?.allowedIps).toHaveLength(10_000);
  });

  it.each([
    ['a short key', { publicKey: 'AAAA', endpoint: null, allowedIps: [], keepaliveMs: 0 }],
    ['a bad prefix', { publicKey: keyOf(1), endpoint: null, allowedIps: ['10.0.0.0/40'], keepaliveMs: 0 }],
    ['a bad endpoint', { publicKey: keyOf(1), endpoint: { address: 'x', port: 1 }, allowedIps: [], keepaliveMs: 0 }],
    ['a bad port', { publicKey: keyOf(1), endpoint: { address: '::1', port: 65536 }, allowedIps: [], keepaliveMs: 0 }],
  ])('refuses %s before anything is written', (_what, peer) => {
    expect(() => changeDeviceRequests(FAMILY, { deviceName: 'wg0', peers: [{ op: 'set', peer }] })).toThrow(
      NetlinkError,
    );
  });
});

describe('encodeEndpoint and decodeEndpoint', () => {
  it('write and read sockaddr_in6 with 28 bytes', () => {
    const bytes = encodeEndpoint('fd00::2', 51821);
    expect(bytes.toString('hex')).toBe(hex('0a00 ca6d 00000000 fd000000000000000000000000000002 00000000'));
    expect(decodeEndpoint(bytes)).toEqual({ address: 'fd00::2', port: 51821 });
  });

  it('give null for cut bytes and other families', () => {
    expect(decodeEndpoint(encodeEndpoint('fd00::2', 1).subarray(0, 20))).toBeNull();
    expect(decodeEndpoint(Buffer.alloc(10))).toBeNull();
    expect(decodeEndpoint(Buffer.alloc(28, 1))).toBeNull();
  });
});

describe('WireguardDeviceReader', () => {
  it('takes any bytes without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const reader = new WireguardDeviceReader();
        reader.read(Buffer.from(bytes));
        expect(reader.finish()).not.toBeNull();
      }),
    );
  });

  it('reads bytes and handshake of each peer, and null before the first handshake', () => {
    // WGPEER_A_PUBLIC_KEY, LAST_HANDSHAKE_TIME (seconds and nanoseconds), RX_BYTES, TX_BYTES of linux/wireguard.h.
    const u64 = (...values: bigint[]): Buffer => {
      const bytes = Buffer.alloc(8 * values.length);
      for (const [index, value] of values.entries()) bytes.writeBigUInt64LE(value, 8 * index);
      return bytes;
    };
    const writer = new MessageWriter().begin(FAMILY, 0, 1);
    const start = writer.length;
    writer.nested(8, (list) => {
      list.nested(0, (peer) =>
        peer
          .attribute(1, Buffer.alloc(32, 0xaa))
          .attribute(4, encodeEndpoint('192.168.0.2', 51820))
          .attribute(6, u64(1_795_000_000n, 5n))
          .attribute(7, u64(1_500n))
          .attribute(8, u64(2n ** 40n)),
      );
      list.nested(0, (peer) => peer.attribute(1, Buffer.alloc(32, 0xbb)).attribute(6, u64(0n, 0n)));
    });
    const reader = new WireguardDeviceReader();
    reader.read(Buffer.from(writer.end().finish()).subarray(start));
    expect(reader.traffic()).toEqual([
      {
        publicKey: keyOf(0xaa),
        endpoint: { address: '192.168.0.2', port: 51820 },
        receivedBytes: 1_500n,
        sentBytes: 2n ** 40n,
        lastHandshake: 1_795_000_000n,
      },
      { publicKey: keyOf(0xbb), endpoint: null, receivedBytes: 0n, sentBytes: 0n, lastHandshake: null },
    ]);
  });

  it('says null when no message came', () => {
    expect(new WireguardDeviceReader().finish()).toBeNull();
  });
});

describe('generatePrivateKey', () => {
  it('clamps as Curve25519 wants', () => {
    const key = generatePrivateKey();
    expect([key.length, (key[0] ?? 0) & 7, (key[31] ?? 0) & 0xc0]).toEqual([32, 0, 0x40]);
  });
});

/** A kernel that answers every request with one error number. */
function answering(errno: number): { readonly library: NativeLibrary; readonly sent: Buffer[] } {
  const sent: Buffer[] = [];
  let waiting: Buffer | null = null;
  const library: NativeLibrary = {
    ...MUTE,
    send: (_fd, data, length) => {
      sent.push(Buffer.from(data));
      waiting = Buffer.alloc(36);
      waiting.writeUInt32LE(36, 0);
      waiting.writeUInt16LE(2, 4);
      data.copy(waiting, 8, 8, 12);
      waiting.writeInt32LE(-errno, 16);
      return length;
    },
    sendInThread: () => Promise.reject(new Error('not used')),
    writePieces: () => -1,
    writePiecesInThread: () => Promise.reject(new Error('not used')),
    recv: (_fd, data) => {
      if (waiting === null) return -1;
      const length = waiting.copy(data);
      waiting = null;
      return length;
    },
  };
  return { library, sent };
}

describe('NetlinkWireguard', () => {
  it('says unsupported, and what to do, when the kernel has no such family', async () => {
    const { library, sent } = answering(2);
    const control = new NetlinkWireguard(library);
    const unsupported = { code: 'EOPNOTSUPP', message: expect.stringContaining('load the module wireguard') as string };
    await expect(control.read('wg0')).rejects.toMatchObject(unsupported);
    await expect(control.configure('wg0', [{ op: 'generate-key' }])).rejects.toMatchObject(unsupported);
    // CTRL_CMD_GETFAMILY, version 2, CTRL_ATTR_FAMILY_NAME; asked again each time, as the module may be loaded later.
    expect(sent.map((bytes) => bytes.subarray(16).toString('hex'))).toEqual(
      Array(2).fill(hex('03 02 0000 0e00 0200 776972656775617264 00 0000')),
    );
    await control.configure('wg0', []);
    expect(sent).toHaveLength(2);
  });

  it('passes other errors on by name', async () => {
    await expect(new NetlinkWireguard(answering(1).library).read('wg0')).rejects.toMatchObject({ code: 'EPERM' });
  });
});

describe('errnoName', () => {
  it('names what netlink answers with, and numbers the rest', () => {
    expect([errnoName(2), errnoName(105), errnoName(4102)]).toEqual(['ENOENT', 'ENOBUFS', 'errno 4102']);
  });
});
