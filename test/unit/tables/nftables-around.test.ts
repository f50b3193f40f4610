// What stands around the nftables planes: flowtable, mode detection, version probe, clean-up, listing, script order.
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { CommandResult, CommandRunner } from '../../../src/kernel/command.js';
import { createOwnTablesCleanup, deleteOwnTables } from '../../../src/tables/nftables/cleanup.js';
import { CommandNftIo } from '../../../src/tables/nftables/command-io.js';
import { planFlowtable, probeFlowtable } from '../../../src/tables/nftables/flowtable.js';
import { complaint, isConflict, refusedLines } from '../../../src/tables/nftables/io.js';
import { parseTableListing } from '../../../src/tables/nftables/listing.js';
import { detectNftablesMode } from '../../../src/tables/nftables/mode.js';
import { probeNft, requireNft } from '../../../src/tables/nftables/version.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeNftKernel } from '../../fakes/nft-kernel.js';
import { chain, fillNode, jump, setUp } from './nftables-setup.js';
import { statementsOf } from '../../fakes/nft-statements.js';

function runner(result: Partial<CommandResult>): CommandRunner & { readonly argv: (readonly string[])[] } {
  const argv: (readonly string[])[] = [];
  return {
    argv,
    run: (command) => {
      argv.push(command.argv);
      return Promise.resolve({
        exitCode: 0,
        signal: null,
        stdout: '',
        stderr: '',
        timedOut: false,
        durationMs: 1,
        ...result,
      });
    },
  };
}

describe('flowtable', () => {
  const set = (...names: string[]): ReadonlySet<string> => new Set(names);

  it('adds and removes devices, and leaves out those that do not exist', () => {
    expect(planFlowtable(set('a', 'b'), set('a'), undefined)).toEqual({
      created: true,
      added: ['a'],
      removed: [],
      devices: set('a'),
      missing: ['b'],
    });
    expect(planFlowtable(set('a', 'b'), set('a', 'b', 'c', 'x'), set('a', 'c'))?.removed).toEqual(['c']);
    // A device that is gone left the flowtable by itself.
    expect(planFlowtable(set('a'), set('a'), set('a', 'gone'))).toBeUndefined();
    expect(planFlowtable(set('a'), set('a'), set('a'))).toBeUndefined();
  });

  it('is created before the rule that names it, follows its devices, and is deleted last', async () => {
    const devices = ['cali1', 'cali2'];
    const { plane, kernel, apply, operations, rules } = setUp({ listDevices: () => Promise.resolve(devices) });
    fillNode(plane);
    plane.setFlowtable(new Set(['cali1', 'cali2']));
    const filter = plane.layer('filter');
    const offload = { match: [], action: { kind: 'flow-offload', flowtable: 'calico' } } as const;
    filter.setChain(chain('cali-FORWARD', offload, jump('cali-from-wl-dispatch')));
    expect((await apply()).refused).toEqual([]);
    expect(kernel.devices('ip', 'calico', 'calico')).toEqual(['cali1', 'cali2']);
    operations.length = 0;
    plane.setFlowtable(new Set(['cali2']));
    await apply();
    expect(kernel.devices('ip', 'calico', 'calico')).toEqual(['cali2']);
    expect(operations).toEqual([{ room: 'tables', verb: 'write-flowtable', object: 'flowtable/4', count: 1 }]);
    plane.setFlowtable(null);
    filter.setChain(chain('cali-FORWARD', jump('cali-from-wl-dispatch')));
    await apply();
    expect(kernel.devices('ip', 'calico', 'calico')).toBeUndefined();
    expect(rules('filter-cali-FORWARD')).toEqual(['counter jump filter-cali-from-wl-dispatch']);
  });

  it('tries missing devices five times at five seconds, then waits for news', async () => {
    const devices = ['cali1'];
    const { plane, kernel, apply } = setUp({ refreshIntervalMs: 0, listDevices: () => Promise.resolve(devices) });
    fillNode(plane);
    plane.setFlowtable(new Set(['cali1', 'missing1']));
    for (let round = 0; round < 5; round++) expect((await apply()).rescheduleAfterMs).toBe(5_000);
    expect((await apply()).rescheduleAfterMs).toBeUndefined();
    expect(kernel.devices('ip', 'calico', 'calico')).toEqual(['cali1']);
    plane.setFlowtable(new Set(['cali1', 'missing1']));
    expect((await apply()).rescheduleAfterMs).toBe(5_000);
  });

  it('is adopted by a restart', async () => {
    const listDevices = (): Promise<string[]> => Promise.resolve(['cali1']);
    const first = setUp({ listDevices });
    fillNode(first.plane);
    first.plane.setFlowtable(new Set(['cali1']));
    await first.apply();
    const second = setUp({ kernel: first.kernel, listDevices });
    fillNode(second.plane);
    second.plane.setFlowtable(new Set(['cali1']));
    expect((await second.apply()).operations).toBe(0);
  });

  it('is probed by a check of a throw-away table', async () => {
    const kernel = new FakeNftKernel();
    expect(await probeFlowtable(kernel, 'ip', silentLogger)).toBe(true);
    kernel.refuses = (line) => (line.includes('flowtable') ? 'Could not process rule: Not supported' : undefined);
    expect(await probeFlowtable(kernel, 'ip', silentLogger)).toBe(false);
    expect(await kernel.listTables('ip')).toEqual([]);
  });
});

describe('detectNftablesMode', () => {
  const never = { listChains: () => Promise.reject(new Error('nft is not there')) };

  it('does not ask when the mode is set', async () => {
    expect((await detectNftablesMode(never, 'Enabled')).backend).toBe('nftables');
    expect((await detectNftablesMode(never, 'Disabled')).backend).toBe('iptables');
  });

  it('takes an nft that cannot be asked for iptables, and says why', async () => {
    const decision = await detectNftablesMode(never, 'Auto');
    expect(decision.backend).toBe('iptables');
    expect(decision.reasons.join()).toContain('nft is not there');
    expect(decision.isCertain).toBe(false);
    const found = {
      listChains: (family: string) => (family === 'ip6' ? Promise.resolve(['services']) : never.listChains()),
    };
    expect(await detectNftablesMode(found, 'Auto')).toMatchObject({ backend: 'nftables', isCertain: true });
  });

  it('finds kube-proxy in either family', async () => {
    const io = { listChains: (family: string) => Promise.resolve(family === 'ip6' ? ['services'] : []) };
    expect((await detectNftablesMode(io, 'Auto')).backend).toBe('nftables');
  });
});

describe('probeNft', () => {
  it.each([
    ['nftables v1.0.6 (Lester Gooch #5)', null],
    ['nftables v1.0.1 (x)', null],
    ['nftables v1.1 (x)', null],
    ['nftables v1.0.0 (x)', 'too old'],
    ['nftables v0.9.9 (x)', 'too old'],
    ['nonsense', 'cannot be used'],
  ])('%j: %j', async (stdout, problem) => {
    const probe = await probeNft(runner({ stdout }));
    if (problem === null) expect(probe.problem).toBeNull();
    else expect(probe.problem).toContain(problem);
  });

  it('tells of an nft that hangs or is missing', async () => {
    expect((await probeNft(runner({ exitCode: null, timedOut: true }))).problem).toContain('does not answer');
    await expect(requireNft(runner({ exitCode: 127, stderr: 'nft could not be started' }))).rejects.toThrow(
      /needs nft.*install/u,
    );
  });
});

describe('createOwnTablesCleanup', () => {
  it('deletes our tables, keeps all others, and asks again at its interval only if something changed', async () => {
    const kernel = new FakeNftKernel();
    kernel.tellsGeneration = true;
    kernel.foreign('add table ip calico\nadd table ip6 calico\nadd table arp calico-arp\nadd table ip theirs');
    const clock = new FakeClock();
    const options = { io: kernel, refreshIntervalMs: 0, clock, log: silentLogger, onOperation: () => undefined };
    const cleanup = createOwnTablesCleanup(options);
    expect((await cleanup.apply()).operations).toBe(2);
    expect(await kernel.listTables('ip')).toEqual(['theirs']);
    expect(await kernel.listTables('arp')).toEqual(['calico-arp']);
    const transactions = kernel.transactions.length;
    clock.skip(180_000);
    expect((await cleanup.apply()).operations).toBe(0);
    expect(kernel.transactions.length).toBe(transactions);
    kernel.foreign('add table ip calico');
    expect((await cleanup.apply()).operations).toBe(0);
    clock.skip(180_000);
    expect((await cleanup.apply()).operations).toBe(1);
  });

  it('reports what cannot be deleted, and goes on with the other family', async () => {
    const kernel = new FakeNftKernel();
    kernel.foreign('add table ip calico\nadd table ip6 calico');
    kernel.refuses = (line) => (line === 'delete table ip calico' ? 'Device or resource busy' : undefined);
    const result = await deleteOwnTables(kernel, () => undefined);
    expect(result.operations).toBe(1);
    expect(result.failures.join()).toContain('table ip calico');
  });
});

describe('CommandNftIo', () => {
  it('lists one table only, never the ruleset', async () => {
    const nft = runner({ stdout: '{"nftables": []}' });
    const io = new CommandNftIo({ runner: nft });
    await io.listTable('ip', 'calico');
    await io.listTables('ip6');
    await io.listChains('ip', 'kube-proxy');
    expect(nft.argv).toEqual([
      ['nft', '-j', 'list', 'table', 'ip', 'calico'],
      ['nft', '-j', 'list', 'tables', 'ip6'],
      ['nft', '-j', 'list', 'chains', 'ip'],
    ]);
  });

  it('takes "no such file" for no table, and nothing else', async () => {
    const missing = runner({ exitCode: 1, stderr: 'Error: No such file or directory\nlist table ip calico\n' });
    expect(await new CommandNftIo({ runner: missing }).listTable('ip', 'calico')).toBeNull();
    for (const result of [
      { exitCode: 1, stderr: 'Error: Operation not permitted' },
      { exitCode: null, signal: 'SIGKILL' },
      { exitCode: 0, stdout: '{' },
    ]) {
      await expect(new CommandNftIo({ runner: runner(result) }).listTable('ip', 'calico')).rejects.toThrow();
    }
  });

  it('names the refused statement', async () => {
    const stderr = '/dev/stdin:2:5-9: Error: syntax error, unexpected string\nadd foo\n';
    const io = new CommandNftIo({ runner: runner({ exitCode: 1, stderr }) });
    const error: unknown = await io
      .transaction(statementsOf('add table ip a\nadd foo ip a\n'))
      .catch((reason: unknown) => reason);
    expect(String(error)).toContain('statement: add foo ip a');
    expect(refusedLines(error)).toEqual([2]);
    expect(complaint(error)).toBe('syntax error, unexpected string');
  });

  it.each([
    ['Error: Could not process rule: Cannot allocate memory', 1, false],
    ['Error: cache initialization failed: Interrupted system call', 1, true],
    ['Error: Could not process rule: Operation not permitted', 1, false],
  ])('blames no statement for %j', async (text, exitCode, conflict) => {
    const io = new CommandNftIo({ runner: runner({ exitCode, stderr: `/dev/stdin:1:1-2: ${text}\n` }) });
    const error: unknown = await io.transaction(statementsOf('x\n')).catch((reason: unknown) => reason);
    expect(refusedLines(error)).toEqual([]);
    expect(isConflict(error)).toBe(conflict);
  });
});

describe('parseTableListing', () => {
  const listing = (...objects: unknown[]): string =>
    JSON.stringify({ nftables: [{ metainfo: {} }, { table: { family: 'ip', name: 'calico' } }, ...objects] });

  it('reads every form of element', () => {
    const elem = [
      '::1.2.3.4',
      { prefix: { addr: '10.0.0.0', len: 8 } },
      { range: ['10.0.0.1', '10.0.0.5'] },
      { concat: ['10.0.0.1', 6, 80] },
      { concat: ['10.0.0.1', 'udp', 53] },
      { elem: { val: '10.9.9.9', timeout: 5 } },
    ];
    const table = parseTableListing(
      listing({ set: { name: 's', type: ['ipv4_addr', 'inet_proto'], flags: ['timeout', 'interval'], elem } }),
    );
    expect(table?.sets.get('s')).toEqual({
      type: 'ipv4_addr . inet_proto',
      flags: 'interval,timeout',
      elements: [
        '::102:304',
        '10.0.0.0/8',
        '10.0.0.1-10.0.0.5',
        '10.0.0.1 . tcp . 80',
        '10.0.0.1 . udp . 53',
        '10.9.9.9',
      ],
    });
  });

  it('reads maps, chains, rules without comment and flowtables, and passes over what it does not know', () => {
    const table = parseTableListing(
      listing(
        { chain: { name: 'c', type: 'filter', hook: 'input', prio: -5, policy: 'drop' } },
        { rule: { chain: 'c', comment: 'cali:x;' } },
        { rule: { chain: 'c' } },
        {
          map: {
            name: 'm',
            type: 'ifname',
            map: 'verdict',
            elem: [
              ['cali1', { goto: { target: 't' } }],
              ['x', { drop: null }],
            ],
          },
        },
        { map: { name: 'n', type: 'ifname', map: 'mark' } },
        { flowtable: { name: 'f', dev: 'eth0' } },
        { counter: { name: 'k' } },
        { synproxy: null },
      ),
    );
    expect(table?.chains.get('c')).toEqual({
      base: { type: 'filter', hook: 'input', priority: -5, policy: 'drop' },
      tags: '2:x,',
    });
    expect([...(table?.maps.get('m')?.elements ?? [])]).toEqual([
      ['cali1', 't'],
      ['x', '{"drop":null}'],
    ]);
    expect(table?.maps.get('n')?.flags).toBe('to mark');
    expect(table?.flowtables.get('f')).toEqual(new Set(['eth0']));
  });

  it('is null without the table, and rejects what is no listing', () => {
    expect(parseTableListing('{"nftables": []}')).toBeNull();
    expect(() => parseTableListing('{}')).toThrow(/nftables/u);
    expect(() => parseTableListing('<')).toThrow(/no JSON/u);
  });
});
