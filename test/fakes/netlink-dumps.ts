// A libc whose kernel answers dumps: each request gets the datagrams that `answer` makes of it, one for each recv.
import { CONTROL, FLAG, HEADER_LENGTH, MessageWriter } from '../../src/kernel/netlink/message.js';
import type { NativeLibrary } from '../../src/kernel/netlink/library.js';
import { MUTE } from './native-library.js';

/** A message of a dump without its header. */
export type DumpedMessage = (writer: MessageWriter) => void;

/** What a dump of `type` answers, a list of messages for each datagram. */
export type DumpAnswer = (type: number, request: Buffer) => readonly (readonly DumpedMessage[])[];

/** The generation id of a kernel where nobody commits. */
const STILL = 7;
const NEW_GENERATION = 15;
const GENERATION_ID = 1;

/** `interruptions` of the dumps say that something was changed meanwhile; `generation` is what the kernel says of itself. */
export function dumpingLibrary(answer: DumpAnswer, interruptions = 0, generation = (): number => STILL): NativeLibrary {
  let queue: Buffer[] = [];
  let left = interruptions;
  return {
    ...MUTE,
    send: (_fd, data, length) => {
      const type = data.readUInt16LE(4);
      if ((data.readUInt16LE(6) & FLAG.dump) === 0) {
        queue = [generationAnswer(type, generation())];
        return length;
      }
      const flags = FLAG.multi | (left > 0 ? FLAG.dumpInterrupted : 0);
      left = Math.max(0, left - 1);
      queue = answer(type, data.subarray(HEADER_LENGTH, length)).map((messages) => {
        const writer = new MessageWriter();
        for (const write of messages) {
          writer.begin(type - 1, flags, 1);
          write(writer);
          writer.end();
        }
        return Buffer.from(writer.finish());
      });
      queue.push(Buffer.from(new MessageWriter().begin(CONTROL.done, flags, 1).u32(0).end().finish()));
      return length;
    },
    recv: (_fd, data) => {
      const datagram = queue.shift();
      datagram?.copy(data);
      return datagram?.length ?? -1;
    },
  };
}

/** What a request of `type` for the generation id is answered with. */
export function generationAnswer(type: number, id: number): Buffer {
  const writer = new MessageWriter()
    .begin((type & ~0xff) | NEW_GENERATION, 0, 1)
    .u8(0)
    .u8(0)
    .u16(0);
  return Buffer.from(writer.attributeU32Be(GENERATION_ID, id).end().finish());
}
