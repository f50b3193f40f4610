// Co-processes with fixture programs in the tools' places, and the texts of the drivers.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { Broker } from '../../../src/kernel/broker.js';
import type { Command, CommandResult } from '../../../src/kernel/command.js';
import { CoprocessHost } from '../../../src/kernel/coprocess-host.js';
import { ipsetRestoreDriver, lastSetName } from '../../../src/kernel/coprocess-ipset.js';
import { iptablesRestoreDriver } from '../../../src/kernel/coprocess-iptables.js';
import { nftDriver } from '../../../src/kernel/coprocess-nft.js';
import { CoprocessRunner, coprocessTool } from '../../../src/kernel/coprocess-runner.js';
import { FakeCommandRunner } from '../../fakes/command-runner.js';

const bin = (name: string): string => fileURLToPath(new URL(`../../fixtures/bin/${name}`, import.meta.url));

describe('CoprocessHost', () => {
  let host: CoprocessHost;
  let folder: string;
  let file: string;

  beforeEach(async () => {
    host = new CoprocessHost();
    folder = await mkdtemp(join(tmpdir(), 'fdp-coprocess-'));
    file = join(folder, 'out');
  });

  afterEach(async () => {
    host.end();
    await rm(folder, { recursive: true });
  });

  const send = (stdin: string, timeoutMs = 10_000): Promise<CommandResult> =>
    host.transact('iptables-restore', { argv: [bin('echo-restore'), file], stdin, timeoutMs });
  /** `pid text` of every line that was carried out. */
  const done = async (): Promise<[string, string][]> =>
    (await readFile(file, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]);

  test('one process does many transactions, in the order of the calls', async () => {
    const results = await Promise.all(['a\n', 'b\n', 'c'].map((text) => send(text)));
    expect(results.map((result) => result.exitCode)).toEqual([0, 0, 0]);
    const lines = await done();
    expect(lines.map(([, text]) => text)).toEqual(['a', 'b', 'c']);
    expect(new Set(lines.map(([pid]) => pid)).size).toBe(1);
  });

  test('an error has the line of its own transaction, and the next one a new process', async () => {
    await send('a\nb\n');
    await send('c\n');
    expect(await send('d\nbad\n')).toMatchObject({ exitCode: 1, stderr: 'line 2 failed\n' });
    expect(await send('e\n')).toMatchObject({ exitCode: 0 });
    expect(await send('bad\n')).toMatchObject({ exitCode: 1, stderr: 'line 1 failed\n' });
    const lines = await done();
    expect(lines.map(([, text]) => text)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(new Set(lines.map(([pid]) => pid)).size).toBe(2);
  });

  test('a tool that dies gives its signal, one that hangs is killed by its time limit', async () => {
    expect(await send('die\n')).toMatchObject({ exitCode: null, signal: 'SIGKILL', timedOut: false });
    expect(await send('hang\n', 200)).toMatchObject({ exitCode: null, signal: 'SIGKILL', timedOut: true });
    expect(await send('after\n')).toMatchObject({ exitCode: 0 });
  });

  test('a missing tool, or one that ends at once, cannot be kept open', async () => {
    const missing = await host.transact('iptables-restore', { argv: ['/nowhere/tool'], stdin: 'a\n' });
    expect(missing).toMatchObject({ exitCode: 127 });
    expect(missing.stderr).toContain('cannot be kept open');
    const deaf = await host.transact('iptables-restore', { argv: [bin('deaf')], stdin: 'a\n' });
    expect(deaf).toMatchObject({ exitCode: 127 });
    expect(deaf.stderr).toContain('no, thanks');
  });

  test('a tool without an answer to its last line ends the wait by the limit', async () => {
    const command = { argv: [bin('mute')], stdin: 'add a 10.0.0.1\n', timeoutMs: 200 };
    expect(await host.transact('ipset-restore', command)).toMatchObject({ exitCode: null, timedOut: true });
  });
});

describe('drivers', () => {
  test.each([
    ['iptables-restore v1.8.9 (legacy): unknown option "--x"\nError occurred at line: 12\n', 'at line: 2\n'],
    ['iptables-restore: line 13 failed\n', 'line 3 failed\n'],
    ['iptables-nft-restore: line 11 failed: No chain/target/match by that name.\n', 'line 1 failed: No'],
    ['iptables-nft-restore v1.8.9 (nf_tables): \nline 14: RULE_APPEND failed (Invalid argument)\n', '\nline 4: RULE'],
  ])('iptables: %j', (text, expected) => {
    expect(iptablesRestoreDriver.frame('x\n', 1).normalise(text, 10)).toContain(expected);
  });

  test('ipset: line numbers, acknowledgement and what was said before it', () => {
    const frame = ipsetRestoreDriver.frame('add a 10.0.0.1', 1);
    expect(frame.input).toBe('add a 10.0.0.1\nlist a -terse\n');
    const listing = 'Name: a\nType: hash:ip\nReferences: 0\nNumber of entries: 12\n';
    expect(frame.isAcknowledged(listing.slice(0, -1))).toBe(false);
    expect(frame.isAcknowledged(`Warning\n${listing}`)).toBe(true);
    expect(frame.body(`Warning\n${listing}`)).toBe('Warning\n');
    expect(frame.normalise('ipset v7.17: Error in line 7: Hash is full', 5)).toBe(
      'ipset v7.17: Error in line 2: Hash is full',
    );
  });

  test.each([
    ['create a hash:ip\nadd b 1.1.1.1\n', 'b'],
    ['swap t a', 'a'],
    ['add b 1.1.1.1\ndestroy a\n', null],
    ['create a hash:ip family inet\n', 'a'],
    ['\n', null],
  ])('lastSetName of %j is %s', (script, name) => {
    expect(lastSetName(script)).toBe(name);
  });

  test('nft: the file of the statements is called as in a fresh process, and goes', async () => {
    expect(nftDriver.processArgv(['ip', 'netns', 'exec', 'x', 'nft', '-f', '-'])).toEqual([
      ...['ip', 'netns', 'exec', 'x', 'nft', '-i'],
    ]);
    const frame = nftDriver.frame('add table ip t\n', 1);
    const file = /^include "(.*)"\n/.exec(frame.input)?.[1] ?? '';
    expect(await readFile(file, 'utf8')).toBe('add table ip t\n');
    const said = `In file included from <cmdline>:1:1-22:\n${file}:2:1-5: Error: syntax error\n`;
    expect(nftDriver.isRefusal(frame.normalise(said, 0))).toBe(true);
    expect(frame.normalise(said, 0)).toBe('/dev/stdin:2:1-5: Error: syntax error\n');
    frame.dispose();
    await expect(readFile(file)).rejects.toThrow('ENOENT');
    expect(nftDriver.isRefusal('')).toBe(false);
  });
});

describe('CoprocessRunner', () => {
  const RESTORE: Command = { argv: ['iptables-nft-restore', '--noflush', '--verbose'], stdin: '*filter\nCOMMIT\n' };

  test.each([
    [RESTORE, 'iptables-restore'],
    [
      { ...RESTORE, argv: ['/usr/sbin/ip6tables-restore', '--noflush', '--verbose', '--wait', '10'] },
      'iptables-restore',
    ],
    [{ ...RESTORE, argv: ['iptables-restore'] }, null],
    [{ argv: ['iptables-nft-save', '-t', 'filter'] }, null],
    [{ argv: ['ipset', '-exist', 'restore'], stdin: 'add a 1.1.1.1\n' }, 'ipset-restore'],
    [{ argv: ['ipset', '-exist', 'restore'], stdin: 'destroy a\n' }, null],
    [{ argv: ['ipset', '-exist', 'restore'], stdin: 'add a 10.100.100.100\n'.repeat(4_000) }, null],
    [{ argv: ['ipset', 'restore'], stdin: 'add a 1.1.1.1\n' }, null],
    [{ argv: ['nft', '-f', '-'], stdin: 'add table ip t\n' }, 'nft'],
    [{ argv: ['nft', '-c', '-f', '-'], stdin: 'add table ip t\n' }, null],
    [{ argv: ['nft', '-f', '-'], stdin: '' }, null],
  ] as const)('coprocessTool(%s) is %s', (command, tool) => {
    expect(coprocessTool(command)).toBe(tool);
  });

  /** A broker whose transactions have the given answers, one after the other. */
  function fakeBroker(...answers: Partial<CommandResult>[]): { broker: Broker; spawned: FakeCommandRunner } {
    const spawned = new FakeCommandRunner({ 'iptables-nft-restore': () => ({ stdout: 'spawned' }) });
    const result = { exitCode: 0, signal: null, stdout: 'kept', stderr: '', timedOut: false, durationMs: 1 };
    const broker: Broker = {
      run: (command) => spawned.run(command),
      transaction: () => Promise.resolve({ ...result, ...answers.shift() }),
      close: () => Promise.resolve(),
    };
    return { broker, spawned };
  }

  test('a tool that cannot be kept open is spawned, this time and from then on', async () => {
    const { broker } = fakeBroker({ exitCode: 127, stderr: 'stdbuf: not found' }, {});
    const runner = new CoprocessRunner(broker, silentLogger);
    expect((await runner.run(RESTORE)).stdout).toBe('spawned');
    expect((await runner.run(RESTORE)).stdout).toBe('spawned');
  });

  test('a first transaction without an acknowledgement is reported, and later ones are spawned', async () => {
    const { broker } = fakeBroker({ exitCode: null, signal: 'SIGKILL', timedOut: true }, {});
    const runner = new CoprocessRunner(broker, silentLogger);
    expect(await runner.run(RESTORE)).toMatchObject({ exitCode: null, timedOut: true });
    expect((await runner.run(RESTORE)).stdout).toBe('spawned');
  });

  test('a tool that worked before stays, also after a death and a refusal', async () => {
    const { broker, spawned } = fakeBroker({}, { exitCode: null, signal: 'SIGKILL' }, { exitCode: 1 }, {});
    const runner = new CoprocessRunner(broker, silentLogger);
    const codes: (number | null)[] = [];
    for (let count = 0; count < 4; count++) codes.push((await runner.run(RESTORE)).exitCode);
    expect(codes).toEqual([0, null, 1, 0]);
    expect(spawned.calls).toEqual([]);
  });
});
