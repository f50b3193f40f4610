// A kernel that takes requests and says nothing: that must not pass for success.
import { describe, expect, it } from 'vitest';
import { netlinkIpSetIo } from '../../../src/ipsets/netlink-io.js';
import { isToolBroken } from '../../../src/ipsets/tool-failure.js';
import { IpsetNetlink } from '../../../src/kernel/netlink/ipset.js';
import { NfTablesNetlink } from '../../../src/kernel/netlink/nf-tables.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { MUTE } from '../../fakes/native-library.js';

describe('netlink without an acknowledgement', () => {
  it.each([64, 1024 * 1024])('fails a transaction of nf_tables of %i bytes', async (length) => {
    const bytes = Buffer.alloc(length);
    bytes.writeUInt32LE(length);
    await expect(new NfTablesNetlink(MUTE).commit({ bytes, messages: 1 })).rejects.toMatchObject({ code: 'EIO' });
  });

  it('fails a change of an IP set, and blames the tool instead of the set', async () => {
    const failure: unknown = await netlinkIpSetIo(new IpsetNetlink(MUTE), systemClock)
      .restore('flush cali40s:a\n')
      .catch((error: unknown) => error);
    expect(String(failure)).toContain('no acknowledgement');
    expect(isToolBroken(failure)).toBe(true);
  });
});
