// Long restores by netlink hand the event loop back.
import { expect, test } from 'vitest';
import { SLICE_MS } from '../../../src/base/time-slices.js';
import { netlinkIpSetIo } from '../../../src/ipsets/netlink-io.js';
import { IpsetNetlink } from '../../../src/kernel/netlink/ipset.js';
import { CONTROL } from '../../../src/kernel/netlink/message.js';
import { MUTE } from '../../fakes/native-library.js';
import { countTurns, WorkClock } from '../../fakes/slices.js';

const HEADER_BYTES = 16;

/** A kernel that says yes to everything. */
function agreeing(): { library: typeof MUTE; requests: number } {
  const kernel = { requests: 0, library: MUTE };
  let unanswered = 0;
  kernel.library = {
    ...MUTE,
    send: (_fd, _data, length) => {
      kernel.requests += 1;
      unanswered += 1;
      return length;
    },
    recv: (_fd, data) => {
      if (unanswered === 0) return -1;
      unanswered -= 1;
      // struct nlmsgerr: errno 0 and the header of the request.
      const length = 2 * HEADER_BYTES + 4;
      data.fill(0, 0, length);
      data.writeUInt32LE(length, 0);
      data.writeUInt16LE(CONTROL.error, 4);
      return length;
    },
  };
  return kernel;
}

test('netlinkIpSetIo.restore, many sets and one large set, pauses after each slice', async () => {
  const kernel = agreeing();
  const clock = new WorkClock(1);
  const io = netlinkIpSetIo(new IpsetNetlink(kernel.library), clock);
  const lines: string[] = [];
  for (let set = 0; set < 400; set++) {
    lines.push(`create s${set} hash:net family inet maxelem 10`, `add s${set} 10.0.0.0/8`);
  }
  lines.push('create large hash:ip family inet maxelem 100000');
  for (let member = 0; member < 40_000; member++) lines.push(`add large 10.1.${member >>> 8}.${member & 255}`);
  const counter = countTurns();
  await io.restore(`${lines.join('\n')}\n`);
  counter.stop();
  const runs = 400 + 40;
  expect(clock.pauses).toBeGreaterThanOrEqual(Math.floor(runs / (SLICE_MS + 1)));
  expect(counter.turns).toBeGreaterThanOrEqual(clock.pauses);
  // Two questions for the newest revision of a type.
  expect(kernel.requests).toBe(2 + 401 + runs);
});
