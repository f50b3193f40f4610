// The generation id of nf_tables, asked over whatever socket is open.
import { FLAG, MessageWriter, parseAttributes } from './message.js';
import { MESSAGE, SUBSYSTEM } from './nf-numbers.js';
import { type NetlinkSocket, throwFailure } from './socket.js';

const GENERATION_ID = 1;

/**
 * Moves with every commit of anybody in this network namespace.
 * @throws NetlinkError
 */
export function askGeneration(socket: NetlinkSocket): number {
  const writer = new MessageWriter(64)
    .begin(SUBSYSTEM | MESSAGE.getGeneration, FLAG.request | FLAG.ack, socket.takeSequences(1))
    .u8(0)
    .u8(0)
    .u16(0)
    .end();
  let id = 0;
  const acks = socket.exchange(writer.finish(), 1, (message) => {
    if ((message.type & 0xff) !== MESSAGE.newGeneration) return;
    id = parseAttributes(message.payload.subarray(4)).get(GENERATION_ID)?.readUInt32BE(0) ?? 0;
  });
  throwFailure('nf_tables generation', acks);
  return id;
}
