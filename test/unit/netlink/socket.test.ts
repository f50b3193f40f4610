// What a netlink socket asks the kernel for: no more than can be there, and never what an earlier request left.
import { describe, expect, test } from 'vitest';
import type { NativeLibrary } from '../../../src/kernel/netlink/library.js';
import { CONTROL, FLAG, MessageWriter } from '../../../src/kernel/netlink/message.js';
import { askGeneration } from '../../../src/kernel/netlink/nf-generation.js';
import { NETLINK, NetlinkSocket } from '../../../src/kernel/netlink/socket.js';
import { MUTE } from '../../fakes/native-library.js';
import { generationAnswer } from '../../fakes/netlink-dumps.js';

const GET_GENERATION = 0x0a10;
const ERESTART = 85;

/** A kernel that answers each request with the next of these lists of datagrams, and the calls that were made to it. */
function scripted(answers: readonly (readonly Buffer[])[]): {
  readonly socket: NetlinkSocket;
  readonly calls: string[];
  /** Datagrams that nobody has read yet. */
  readonly waiting: Buffer[];
} {
  const left = [...answers];
  const waiting: Buffer[] = [];
  const calls: string[] = [];
  const library: NativeLibrary = {
    ...MUTE,
    send: (_fd, data, length) => {
      calls.push((data.readUInt16LE(6) & FLAG.ack) === 0 ? 'send' : 'send, acknowledge');
      waiting.push(...(left.shift() ?? []));
      return length;
    },
    recv: (_fd, data) => {
      calls.push('recv');
      const datagram = waiting.shift();
      datagram?.copy(data);
      return datagram?.length ?? -1;
    },
  };
  return { socket: new NetlinkSocket(library, NETLINK.netfilter), calls, waiting };
}

function generation(id: number): Buffer {
  return generationAnswer(GET_GENERATION, id);
}

function acknowledgement(errno: number): Buffer {
  return new MessageWriter().begin(CONTROL.error, 0, 1).i32(-errno).u32(20).u32(0).u32(0).u32(0).end().finish();
}

const REQUEST = new MessageWriter().begin(0x0a00, 0, 1).u32(0).end().finish();

describe('askGeneration', () => {
  test('asks in two calls once it knows that nothing waits, and wants no acknowledgement', () => {
    const { socket, calls } = scripted([[generation(7)], [generation(8)]]);
    expect(askGeneration(socket)).toBe(7);
    calls.length = 0;
    expect(askGeneration(socket)).toBe(8);
    expect(calls).toEqual(['send', 'recv']);
  });

  test('fails with what the kernel says, and when it says nothing', () => {
    const { socket } = scripted([[acknowledgement(1)], [], [generation(9)]]);
    expect(() => askGeneration(socket)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(() => askGeneration(socket)).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(askGeneration(socket)).toBe(9);
  });
});

describe('NetlinkSocket.exchange', () => {
  test('is followed by a request at once if all was acknowledged', () => {
    const { socket, calls } = scripted([[acknowledgement(0)], [generation(7)]]);
    expect(socket.exchange(REQUEST, 1)).toHaveLength(1);
    calls.length = 0;
    expect(askGeneration(socket)).toBe(7);
    expect(calls).toEqual(['send', 'recv']);
  });

  test('leaves nothing of a refused batch to the next request', () => {
    const { socket } = scripted([[acknowledgement(ERESTART), acknowledgement(0)], [generation(7)]]);
    expect(socket.exchange(REQUEST, 1)).toMatchObject([{ errno: ERESTART }]);
    expect(askGeneration(socket)).toBe(7);
  });

  test('leaves nothing to the next request that came too late', () => {
    const { socket, waiting } = scripted([[], [generation(7)]]);
    expect(socket.exchange(REQUEST, 1)).toEqual([]);
    waiting.push(generation(6));
    expect(askGeneration(socket)).toBe(7);
  });
});
