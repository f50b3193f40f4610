// A libc whose kernel answers dumps: each request gets the datagrams that `answer` makes of it, one for each recv.
import { CONTROL, FLAG, HEADER_LENGTH, MessageWriter } from '../../src/kernel/netlink/message.js';
import type { NativeLibrary } from '../../src/kernel/netlink/library.js';
import { MUTE } from './native-library.js';

/** A message of a dump without its header. */
export type DumpedMessage = (writer: MessageWriter) => void;

/** What a dump of `type` answers, a list of messages for each datagram. */
export type DumpAnswer = (type: number, request: Buffer) => readonly (readonly DumpedMessage[])[];

/** `interruptions` of the dumps say that something was changed meanwhile. */
export function dumpingLibrary(answer: DumpAnswer, interruptions = 0): NativeLibrary {
  let queue: Buffer[] = [];
  let left = interruptions;
  return {
    ...MUTE,
    send: (_fd, data, length) => {
      const type = data.readUInt16LE(4);
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
