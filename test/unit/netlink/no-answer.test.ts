// A kernel that takes requests and says nothing: that must not pass for success.
import { describe, expect, it } from 'vitest';
import { netlinkIpSetIo } from '../../../src/ipsets/netlink-io.js';
import { isToolBroken } from '../../../src/ipsets/tool-failure.js';
import { IpsetNetlink } from '../../../src/kernel/netlink/ipset.js';
import type { NativeLibrary } from '../../../src/kernel/netlink/library.js';
import { NfTablesNetlink } from '../../../src/kernel/netlink/nf-tables.js';

const EAGAIN = 11;

const MUTE: NativeLibrary = {
  socket: () => 3,
  bind: () => 0,
  connect: () => -1,
  send: (_fd, _data, length) => length,
  sendInThread: (_fd, _data, length) => Promise.resolve(length),
  recv: () => -1,
  getsockopt: () => -1,
  getsockoptInThread: () => Promise.resolve(-1),
  setsockopt: () => 0,
  close: () => 0,
  getsockname: () => -1,
  ifNameToIndex: () => 0,
  attachFilter: () => -1,
  errno: () => EAGAIN,
  poll: () => ({ stop: () => undefined }),
};

describe('netlink without an acknowledgement', () => {
  it.each([64, 1024 * 1024])('fails a transaction of nf_tables of %i bytes', async (length) => {
    const build = (): { bytes: Buffer; nextSequence: number } => ({ bytes: Buffer.alloc(length), nextSequence: 2 });
    await expect(new NfTablesNetlink(MUTE).commit(build)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('fails a change of an IP set, and blames the tool instead of the set', async () => {
    const failure: unknown = await netlinkIpSetIo(new IpsetNetlink(MUTE))
      .restore('flush cali40s:a\n')
      .catch((error: unknown) => error);
    expect(String(failure)).toContain('no acknowledgement');
    expect(isToolBroken(failure)).toBe(true);
  });
});
