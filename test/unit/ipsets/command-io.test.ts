// Texts of ipset 7.17, read.
import { describe, expect, test } from 'vitest';
import { ToolError } from '../../../src/base/errors.js';
import { commandIpSetIo, ipsetErrorLine } from '../../../src/ipsets/command-io.js';
import { parseKernelIpSet } from '../../../src/ipsets/kernel-set.js';
import { isToolBroken } from '../../../src/ipsets/tool-failure.js';
import { FakeCommandRunner, KILLED } from '../../fakes/command-runner.js';

const listing = (header: string, members: readonly string[] = []): string =>
  [
    'Name: cali40a',
    'Type: hash:net',
    'Revision: 7',
    `Header: ${header}`,
    'Size in memory: 456',
    'References: 0',
    `Number of entries: ${members.length}`,
    'Members:',
    ...members.map((member) => member),
    '',
  ].join('\n');

describe('parseKernelIpSet', () => {
  test('reads type, family, maxelem and members', () => {
    const header = 'family inet hashsize 1024 maxelem 10 bucketsize 12 initval 0x0975d235';
    const set = parseKernelIpSet('cali40a', listing(header, ['10.0.0.0/8', '10.0.0.1']));
    expect({ ...set, members: [...set.members] }).toEqual({
      type: 'hash:net',
      family: 4,
      maxElem: 10,
      foreignOptions: [],
      members: ['10.0.0.0/8', '10.0.0.1'],
      digest: null,
    });
    // May be read again.
    expect([...set.members]).toHaveLength(2);
  });

  test('names options that are not ours', () => {
    const header =
      'family inet6 hashsize 1024 maxelem 65536 timeout 60 counters comment skbinfo forceadd bucketsize 12 initval 0xd4ee0baf';
    expect(parseKernelIpSet('cali40a', listing(header))).toMatchObject({
      family: 6,
      maxElem: 65536,
      foreignOptions: ['timeout', 'counters', 'comment', 'skbinfo', 'forceadd'],
    });
    expect(parseKernelIpSet('cali40a', listing('range 0-100'))).toMatchObject({
      family: null,
      maxElem: null,
      foreignOptions: ['range'],
    });
  });

  test.each(['', 'Name: cali40a\nType: hash:net\n', listing('family inet').replace('Type', 'Tpye')])(
    'refuses what is no listing',
    (text) => {
      expect(() => parseKernelIpSet('cali40a', text)).toThrow(/cannot be read/);
    },
  );

  test('refuses the listing of another set', () => {
    expect(() => parseKernelIpSet('cali40b', listing('family inet'))).toThrow(/cali40b/);
  });
});

describe('commandIpSetIo', () => {
  test('a missing set is null, another failure a ToolError', async () => {
    const missing = { exitCode: 1, stderr: 'ipset v7.17: The set with the given name does not exist\n' };
    const runner = new FakeCommandRunner({ ipset: () => missing });
    expect(await commandIpSetIo(runner).list('cali40a')).toBeNull();
    runner.install('ipset', () => ({ exitCode: 1, stderr: 'ipset v7.17: Kernel support protocol versions\n' }));
    await expect(commandIpSetIo(runner).list('cali40a')).rejects.toThrow(ToolError);
  });

  test('restore names the line that was refused', async () => {
    const stderr = 'ipset v7.17: Error in line 4: Hash is full, cannot add more elements\n';
    const io = commandIpSetIo(new FakeCommandRunner({ ipset: () => ({ exitCode: 1, stderr }) }));
    await expect(io.restore('add a 1.1.1.1\n')).rejects.toMatchObject({ failure: { inputLine: 4, exitCode: 1 } });
    expect(ipsetErrorLine('ipset v7.17: The set with the given name does not exist')).toBeUndefined();
  });

  test('a killed or missing tool is broken, a refusal is not', async () => {
    const outcome = async (answer: object): Promise<boolean> => {
      const io = commandIpSetIo(new FakeCommandRunner({ ipset: () => answer }));
      return io.listNames().then(
        () => false,
        (error: unknown) => isToolBroken(error),
      );
    };
    expect(await outcome(KILLED)).toBe(true);
    expect(await outcome({ exitCode: 127 })).toBe(true);
    expect(await outcome({ exitCode: 1 })).toBe(false);
    expect(isToolBroken(new Error('anything else'))).toBe(true);
  });
});
