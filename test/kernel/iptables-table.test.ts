// The iptables reconciler over the real tools, both variants and both families, in namespaces.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../src/base/clock.js';
import { silentLogger } from '../../src/base/logger.js';
import { systemClock } from '../../src/kernel/system-clock.js';
import type { Rule } from '../../src/model/chain.js';
import { FAMILIES, type Family, type TableName } from '../../src/model/family.js';
import { MODERN_FEATURES } from '../../src/model/features.js';
import { CommandIptablesIo } from '../../src/tables/iptables/command-io.js';
import { IptablesTable } from '../../src/tables/iptables/iptables-table.js';
import { CountingIo, runnerIn, savedRules } from './support/iptables.js';
import { createNamespace, type Namespace } from './support/namespace.js';

const VARIANTS = (['legacy', 'nft'] as const).flatMap((backend) => FAMILIES.map((family) => ({ backend, family })));
const NETS = { 4: ['10.0.0.1/32', '10.0.0.2/32', '10.0.0.3/32'], 6: ['fd00::1/128', 'fd00::2/128', 'fd00::3/128'] };

const jump = (chain: string): Rule => ({ match: [], action: { kind: 'jump', chain } });
const act = (kind: 'accept' | 'drop' | 'return' | 'reject'): Rule => ({ match: [], action: { kind } });

/** Real time that a test can push forward. */
class PushedClock implements Clock {
  pushedMs = 0;

  nowMs(): number {
    return systemClock.nowMs() + this.pushedMs;
  }

  wallMs(): number {
    return systemClock.wallMs() + this.pushedMs;
  }

  setTimer(delayMs: number, callback: () => void): ReturnType<Clock['setTimer']> {
    return systemClock.setTimer(delayMs, callback);
  }

  nextTurn(callback: () => void): void {
    systemClock.nextTurn(callback);
  }
}

describe.each(VARIANTS)('IptablesTable over iptables-$backend, IPv$family', ({ backend, family }) => {
  let namespace: Namespace;
  let io: CountingIo;
  let clock: PushedClock;
  const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
  const [net1 = '', net2 = '', net3 = ''] = NETS[family];
  const from = (net: string): Rule => ({ match: [{ kind: 'source-net', net }], action: { kind: 'accept' } });

  beforeEach(async () => {
    namespace = await createNamespace('ipttable');
    io = new CountingIo(namespace, backend);
    clock = new PushedClock();
  });
  afterEach(async () => {
    await namespace.remove();
  });

  function newTable(
    options: { table?: TableName; insertMode?: 'insert' | 'append'; io?: CommandIptablesIo } = {},
  ): IptablesTable {
    return new IptablesTable({
      family,
      table: options.table ?? 'filter',
      backend,
      insertMode: options.insertMode ?? 'insert',
      refreshIntervalMs: 180_000,
      postWriteCheckIntervalMs: 5_000,
      features: MODERN_FEATURES,
      io: options.io ?? io,
      clock,
      log: silentLogger,
      onOperation: () => undefined,
    });
  }

  function program(table: IptablesTable): void {
    table.setInsertedRules('INPUT', [jump('cali-INPUT')]);
    table.setInsertedRules('FORWARD', [jump('cali-FORWARD')]);
    table.setAppendedRules('FORWARD', [
      {
        match: [{ kind: 'mark-value', value: 0x10000, mask: 0x10000 }],
        action: { kind: 'accept' },
        comments: ['Policy explicitly accepted packet.'],
      },
    ]);
    table.setChain({ name: 'cali-INPUT', rules: [act('return')] });
    table.setChain({ name: 'cali-FORWARD', rules: [jump('cali-pi-a'), act('drop')] });
    table.setChain({ name: 'cali-pi-a', rules: [from(net1), from(net2)] });
  }

  const rules = async (table: TableName = 'filter'): Promise<Record<string, string[]>> => {
    const chains = await savedRules(namespace, backend, family, table);
    for (const lines of Object.values(chains)) {
      for (const [index, line] of lines.entries()) {
        // Save prints the comment after addresses and interfaces; the mark of our rules goes to the front.
        lines[index] = line.replace(/^(.*?)-m comment --comment "cali:[A-Za-z0-9_-]{16}" ?/, '# $1').trim();
      }
    }
    return chains;
  };
  const programmed = {
    INPUT: ['# -j cali-INPUT'],
    FORWARD: [
      '# -j cali-FORWARD',
      '# -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT',
    ],
    OUTPUT: [],
    'cali-INPUT': ['# -j RETURN'],
    'cali-FORWARD': ['# -j cali-pi-a', '# -j DROP'],
    'cali-pi-a': [`# -s ${net1} -j ACCEPT`, `# -s ${net2} -j ACCEPT`],
  };

  it('programs an empty namespace, and writes nothing on a restart: counters go on', async () => {
    const first = newTable();
    program(first);
    await first.apply();
    expect(await rules()).toEqual(programmed);
    await namespace.run(['bash', '-c', `echo x > /dev/udp/${family === 4 ? '127.0.0.1' : '::1'}/9`]);
    const before = await savedRules(namespace, backend, family, 'filter', { counters: true });
    expect(before['cali-INPUT']?.[0]).toMatch(/^\[[1-9]/);
    const second = newTable();
    program(second);
    const result = await second.apply();
    expect(result).toMatchObject({ operations: 0, refused: [] });
    expect(io.scripts).toHaveLength(1);
    expect(await savedRules(namespace, backend, family, 'filter', { counters: true })).toEqual(before);
  });

  it('changes one chain with one small script and no read', async () => {
    const table = newTable();
    program(table);
    await table.apply();
    table.setChain({ name: 'cali-pi-a', rules: [from(net1), from(net3)] });
    await table.apply();
    table.setChain({ name: 'cali-FORWARD', rules: [act('drop')] });
    await table.apply();
    expect(io.saves).toBe(1);
    const now: Record<string, string[]> = { ...programmed, 'cali-FORWARD': ['# -j DROP'] };
    delete now['cali-pi-a'];
    expect(await rules()).toEqual(now);
  });

  it('updates in place what a former run left, and removes what it does not want', async () => {
    const first = newTable();
    program(first);
    first.setInsertedRules('OUTPUT', [jump('cali-OUTPUT')]);
    first.setChain({ name: 'cali-OUTPUT', rules: [act('return')] });
    await first.apply();
    const second = newTable();
    program(second);
    second.setChain({ name: 'cali-pi-a', rules: [from(net2)] });
    second.setChain({ name: 'cali-INPUT', rules: [act('return'), act('accept'), act('drop')] });
    await second.apply();
    expect(await rules()).toEqual({
      ...programmed,
      'cali-pi-a': [`# -s ${net2} -j ACCEPT`],
      'cali-INPUT': ['# -j RETURN', '# -j ACCEPT', '# -j DROP'],
    });
  });

  it.each(['insert', 'append'] as const)('keeps foreign rules byte for byte in %s mode', async (insertMode) => {
    await namespace.shell(`
      ${tool} -N KUBE-FORWARD
      ${tool} -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment 'kubernetes: "a" rule' -j ACCEPT
      ${tool} -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
      ${tool} -A FORWARD -s ${net3} -p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset
      ${tool} -P OUTPUT DROP
    `);
    const before = await savedRules(namespace, backend, family, 'filter');
    const table = newTable({ insertMode });
    program(table);
    await table.apply();
    const after = await rules();
    const [inserted = '', appended = ''] = programmed.FORWARD;
    const foreign = before['FORWARD'] ?? [];
    expect(after['FORWARD']).toEqual(
      insertMode === 'insert' ? [inserted, ...foreign, appended] : [...foreign, inserted, appended],
    );
    expect(after['KUBE-FORWARD']).toEqual(before['KUBE-FORWARD']);
    table.setInsertedRules('FORWARD', []);
    table.setAppendedRules('FORWARD', []);
    table.setInsertedRules('INPUT', []);
    await table.apply();
    expect(await savedRules(namespace, backend, family, 'filter')).toEqual(before);
  });

  it.each([
    ['a hook rule was deleted', 'TOOL -D INPUT 1'],
    ['a base chain was flushed', 'TOOL -F FORWARD'],
    ['a chain of ours was flushed', 'TOOL -F cali-FORWARD'],
    ['a chain of ours was deleted', 'TOOL -F cali-FORWARD; TOOL -F cali-pi-a; TOOL -X cali-pi-a'],
    ['all was flushed and deleted', 'TOOL -F; TOOL -X'],
  ])('repairs at the check after the write: %s', async (_what, script) => {
    const table = newTable();
    program(table);
    await table.apply();
    await namespace.shell(script.replaceAll('TOOL', tool));
    clock.pushedMs += 5_000;
    await table.apply();
    expect(await rules()).toEqual(programmed);
    expect(io.scripts).toHaveLength(2);
  });

  it('goes back above a foreign rule that was put on top', async () => {
    const table = newTable();
    program(table);
    await table.apply();
    await namespace.run([tool, '-I', 'FORWARD', '-s', net3, '-j', 'ACCEPT']);
    clock.pushedMs += 5_000;
    await table.apply();
    const [inserted = '', appended = ''] = programmed.FORWARD;
    expect((await rules())['FORWARD']).toEqual([inserted, `-s ${net3} -j ACCEPT`, appended]);
  });

  it('gets a change in although a chain that it needs is gone', async () => {
    const table = newTable();
    program(table);
    await table.apply();
    await namespace.shell(`${tool} -F cali-FORWARD; ${tool} -F cali-pi-a; ${tool} -X cali-pi-a`);
    table.setChain({ name: 'cali-FORWARD', rules: [jump('cali-pi-a'), act('return')] });
    await table.apply();
    expect(await rules()).toEqual({ ...programmed, 'cali-FORWARD': ['# -j cali-pi-a', '# -j RETURN'] });
  });

  it('closes the chain whose set does not exist, and opens it when it does', async () => {
    const set = `cali${family}0s:x`;
    const table = newTable();
    program(table);
    table.setChain({
      name: 'cali-pi-a',
      rules: [{ match: [{ kind: 'source-set', set }], action: { kind: 'accept' } }],
    });
    const result = await table.apply();
    expect(result.refused).toMatchObject([{ family, kind: 'chain', object: 'cali-pi-a' }]);
    expect(result.refused[0]?.reason).toMatch(/Set .* doesn't exist/);
    expect(await rules()).toEqual({ ...programmed, 'cali-pi-a': ['# -j DROP'] });
    await namespace.run(['ipset', 'create', set, 'hash:net', 'family', family === 4 ? 'inet' : 'inet6']);
    clock.pushedMs += 180_000;
    expect((await table.apply()).refused).toEqual([]);
    expect((await rules())['cali-pi-a']).toEqual([`# -m set --match-set ${set} src -j ACCEPT`]);
  });

  it('closes the chain with a rule that only the kernel refuses (REJECT in raw)', async () => {
    const table = newTable({ table: 'raw' });
    table.setInsertedRules('PREROUTING', [jump('cali-PREROUTING')]);
    table.setChain({ name: 'cali-PREROUTING', rules: [jump('cali-a'), jump('cali-fh-b')] });
    table.setChain({ name: 'cali-a', rules: [from(net1)] });
    table.setChain({ name: 'cali-fh-b', rules: [from(net1), act('reject')] });
    const result = await table.apply();
    expect(result.refused.map(({ object }) => object)).toEqual(['cali-fh-b']);
    expect(await rules('raw')).toEqual({
      PREROUTING: ['# -j cali-PREROUTING'],
      OUTPUT: [],
      'cali-PREROUTING': ['# -j cali-a', '# -j cali-fh-b'],
      'cali-a': [`# -s ${net1} -j ACCEPT`],
      'cali-fh-b': ['# -j DROP'],
    });
  });

  it('empties a stale chain that a foreign rule still goes to', async () => {
    await namespace.shell(`
      ${tool} -N cali-old; ${tool} -A cali-old -j ACCEPT
      ${tool} -N OTHER; ${tool} -A OTHER -g cali-old
    `);
    const table = newTable();
    program(table);
    await table.apply();
    expect(await rules()).toEqual({ ...programmed, 'cali-old': [], OTHER: ['-g cali-old'] });
  });

  it('is fatal, with the tool and its words, when there is no such tool', async () => {
    const runner = runnerIn(namespace);
    const broken = new CommandIptablesIo({
      runner: {
        run: (command) => runner.run({ ...command, argv: [`no-${command.argv[0]}`, ...command.argv.slice(1)] }),
      },
      backend,
      restoreSupportsLock: true,
      lockProbeIntervalMs: 50,
    });
    const table = newTable({ io: broken });
    program(table);
    await expect(table.apply()).rejects.toMatchObject({ kind: 'tool', failure: { exitCode: 127 } });
  });
});

describe('IptablesTable while another program holds the xtables lock', () => {
  const lockFile = join(tmpdir(), `fdp-xtables-${process.pid}.lock`);
  let namespace: Namespace;
  beforeEach(async () => {
    namespace = await createNamespace('iptlock');
  });
  afterEach(async () => {
    await namespace.remove();
    await rm(lockFile, { force: true });
  });

  it('waits for it and then writes', async () => {
    const runner = runnerIn(namespace);
    // A lock of its own: the machine's lock belongs to everybody on it.
    const io = new CommandIptablesIo({
      runner: {
        run: (command) => runner.run({ ...command, argv: ['env', `XTABLES_LOCKFILE=${lockFile}`, ...command.argv] }),
      },
      backend: 'legacy',
      restoreSupportsLock: true,
      lockProbeIntervalMs: 50,
    });
    const family: Family = 4;
    const table = new IptablesTable({
      family,
      table: 'filter',
      backend: 'legacy',
      insertMode: 'insert',
      refreshIntervalMs: 0,
      postWriteCheckIntervalMs: 5_000,
      features: MODERN_FEATURES,
      io,
      clock: systemClock,
      log: silentLogger,
      onOperation: () => undefined,
    });
    table.setInsertedRules('INPUT', [act('accept')]);
    const holder = spawn('flock', [lockFile, 'sh', '-c', 'echo held; cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    let applied = false;
    const apply = table.apply().then((result) => {
      applied = true;
      return result;
    });
    // The table is read without the lock; the write then has to wait.
    for (let tries = 0; tries < 3; tries++) await namespace.run(['iptables-legacy-save', '-t', 'filter']);
    expect(applied).toBe(false);
    holder.stdin.end();
    expect(await apply).toMatchObject({ operations: 1, refused: [] });
    expect((await savedRules(namespace, 'legacy', family, 'filter'))['INPUT']).toHaveLength(1);
  });
});
