// What the kernel holds in nf_tables, byte by byte, for comparing two ways of putting it there.
import { FLAG, forEachAttribute, MessageWriter } from '../../../src/kernel/netlink/message.js';
import type { NetlinkSocket } from '../../../src/kernel/netlink/socket.js';

/** A kind of object: the message that asks for it, and the attributes that say what it is. */
export interface DumpedObject {
  readonly get: number;
  readonly keep: readonly number[];
}

/** A line for each object of the families, in the kernel's order. */
export function dumpRuleset(
  socket: NetlinkSocket,
  objects: readonly DumpedObject[],
  families: readonly number[],
): string[] {
  const lines: string[] = [];
  for (const { get, keep } of objects) {
    for (const family of families) {
      const request = new MessageWriter()
        .begin((10 << 8) | get, FLAG.request | FLAG.dump, socket.takeSequences(1))
        .u8(family)
        .u8(0)
        .u16(0)
        .end();
      socket.dump(request.finish(), ({ payload }) => {
        const parts: string[] = [];
        forEachAttribute(payload.subarray(4), (type, value) => {
          if (keep.includes(type)) parts.push(`${type}=${value.toString('hex')}`);
        });
        lines.push(`${get} ${family} ${parts.join(' ')}`);
      });
    }
  }
  return lines;
}
