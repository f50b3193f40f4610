// The generation id of nf_tables, asked over whatever socket is open.
import { FLAG, MessageWriter, NFGENMSG_LENGTH } from './message.js';
import { MESSAGE, SUBSYSTEM } from './nf-numbers.js';
import { eachAttribute } from './scan.js';
import type { NetlinkSocket } from './socket.js';

const GENERATION_ID = 1;

/** The same each time: nobody looks at its sequence number. */
const QUESTION = new MessageWriter(64)
  .begin(SUBSYSTEM | MESSAGE.getGeneration, FLAG.request, 0)
  .u8(0)
  .u8(0)
  .u16(0)
  .end()
  .finish();

/**
 * Moves with every commit of anybody in this network namespace.
 * @throws NetlinkError
 */
export function askGeneration(socket: NetlinkSocket): number {
  let id = 0;
  socket.askOne('nf_tables generation', QUESTION, ({ bytes, words }, start, end) => {
    eachAttribute(words, start + NFGENMSG_LENGTH, end, (type, from) => {
      if (type === GENERATION_ID) id = bytes.readUInt32BE(from);
    });
  });
  return id;
}
