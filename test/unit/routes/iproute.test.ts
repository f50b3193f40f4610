import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/logger.js';
import type { CommandResult, CommandRunner } from '../../../src/kernel/command.js';
import { CommandRouteKernel } from '../../../src/routes/command-kernel.js';
import { CommandConntrackCleaner } from '../../../src/routes/conntrack-cleaner.js';
import {
  classifyFailure,
  readBatchErrors,
  readJsonArrays,
  readLink,
  readRoute,
} from '../../../src/routes/iproute-read.js';
import { batchLine, isBatchableInterfaceName } from '../../../src/routes/iproute-text.js';
import type { KernelOperation } from '../../../src/routes/route-kernel.js';
import { fakeRoute } from '../../fakes/route-kernel.js';

const result = (over: Partial<CommandResult>): CommandResult => ({
  exitCode: 0,
  signal: null,
  stdout: '',
  stderr: '',
  timedOut: false,
  durationMs: 0,
  ...over,
});

const replace = (dst: string, over = {}): KernelOperation => ({
  op: 'replace-route',
  family: dst.includes(':') ? 6 : 4,
  table: 254,
  route: fakeRoute(dst, { interfaceName: 'cali1', ...over }),
});

describe('batchLine', () => {
  it.each<[KernelOperation, string]>([
    [
      replace('10.65.0.2/32', { scope: 253, priority: 1024, src: '192.168.0.1' }),
      'route replace 10.65.0.2/32 table 254 proto 3 metric 1024 scope 253 dev cali1 src 192.168.0.1',
    ],
    [
      replace('10.65.2.0/26', { gateway: '10.65.2.1', onlink: true, mtu: 1450, protocol: 80 }),
      'route replace 10.65.2.0/26 table 254 proto 80 scope 0 via 10.65.2.1 dev cali1 mtu 1450 onlink',
    ],
    [
      replace('10.65.0.0/26', { type: 'blackhole', interfaceName: null, protocol: 80 }),
      'route replace blackhole 10.65.0.0/26 table 254 proto 80 scope 0',
    ],
    [
      replace('10.66.0.0/26', {
        interfaceName: null,
        nextHops: [
          { gateway: '192.168.0.7', interfaceName: 'eth0', onlink: true },
          { gateway: '192.168.0.8', interfaceName: 'eth1', onlink: false },
        ],
      }),
      'route replace 10.66.0.0/26 table 254 proto 3 scope 0 nexthop via 192.168.0.7 dev eth0 onlink nexthop via 192.168.0.8 dev eth1',
    ],
    [
      { op: 'delete-route', family: 6, table: 1, route: fakeRoute('fd00::/64', { type: 'throw' }) },
      'route del throw fd00::/64 table 1 proto 3 metric 1024',
    ],
    [{ op: 'set-link-mac', name: 'cali1', mac: '66:00:00:00:00:01' }, 'link set dev cali1 address 66:00:00:00:00:01'],
  ])('prints %j', (operation, text) => {
    expect(batchLine(operation)).toMatchObject({ text });
  });

  it.each<[string, KernelOperation]>([
    ['a prefix that is too long', replace('10.1.1.1/33')],
    ['a prefix of the other family', { ...replace('10.1.1.0/24'), family: 6 } as KernelOperation],
    ['an address without length', replace('10.1.1.1')],
    ['a line feed in a name', replace('10.1.1.0/24', { interfaceName: 'cali1\nlink' })],
    ['a comment in a name', replace('10.1.1.0/24', { interfaceName: 'cali#1' })],
    ['a gateway of the other family', replace('10.1.1.0/24', { gateway: 'fd00::1' })],
    ['a type that is not written', replace('10.1.1.0/24', { type: 'other' })],
    ['a MAC that is not one', { op: 'set-link-mac', name: 'cali1', mac: 'ee:ee' }],
    ['a negative MTU', { op: 'set-link-mtu', name: 'cali1', mtu: -1 }],
    ['an option for a name', { op: 'set-link-up', name: '-all' }],
  ])('refuses %s', (_what, operation) => {
    expect(batchLine(operation)).toHaveProperty('invalid');
  });
});

describe('isBatchableInterfaceName', () => {
  it.each([
    ['cali1', true],
    ['vxlan-v6.calico', true],
    ['wg@1', true],
    ['sixteen-letters-', false],
    ['', false],
    ['a b', false],
    ['a/b', false],
    ['..', false],
    ['a"b', false],
  ])('judges %j', (name, expected) => {
    expect(isBatchableInterfaceName(name)).toBe(expected);
  });
});

describe('readJsonArrays', () => {
  it('reads one array for each line of a batch, empty ones too', () => {
    expect(readJsonArrays('[{"a":1}]\n[]\n[{"b":"] ["}]\n')).toEqual([[{ a: 1 }], [], [{ b: '] [' }]]);
    expect(readJsonArrays('')).toEqual([]);
    expect(() => readJsonArrays('[{')).toThrow(SyntaxError);
  });
});

describe('readRoute', () => {
  it('names the default destination by family and reads a gateway of the other family', () => {
    expect(readRoute({ dst: 'default', type: '1' }, 6, null)?.dst).toBe('::/0');
    const route = readRoute({ dst: 'default', type: '1', via: { family: 'inet6', host: 'fe80::1' } }, 4, 'eth0');
    expect(route).toMatchObject({ dst: '0.0.0.0/0', gateway: 'fe80::1', interfaceName: 'eth0' });
  });

  it('takes no interface from an IPv6 blackhole, which names lo', () => {
    expect(readRoute({ dst: 'fd00::/64', type: '6', dev: 'lo', metric: 1024 }, 6, null)).toMatchObject({
      type: 'blackhole',
      interfaceName: null,
      priority: 1024,
    });
  });
});

describe('readLink', () => {
  it.each([
    [['UP', 'LOWER_UP'], true, true],
    [['NO-CARRIER', 'UP'], true, false],
    [[], false, false],
  ])('of flags %j', (flags, isUp, isRunning) => {
    expect(readLink({ ifname: 'eth0', ifindex: 2, flags, mtu: 1500 })).toMatchObject({ isUp, isRunning });
  });

  it('leaves entries without name or index out', () => {
    expect(readLink({})).toBeNull();
  });
});

describe('classifyFailure', () => {
  it.each([
    ['Cannot find device "cali9"', 'interface-missing'],
    ['RTNETLINK answers: No such device', 'interface-missing'],
    ['Error: Device for nexthop is not up.', 'interface-down'],
    ['RTNETLINK answers: Network is down', 'interface-down'],
    ['RTNETLINK answers: File exists', 'exists'],
    ['Error: ipv4: Address already assigned.', 'exists'],
    ['RTNETLINK answers: No such process', 'missing'],
    ['RTNETLINK answers: No such file or directory', 'missing'],
    ['Error: ipv4: Address not found.', 'missing'],
    ['Error: Cannot delete qdisc with handle of zero.', 'missing'],
    ['Error: Unknown device type.', 'unsupported'],
    ['Error: Nexthop has invalid gateway.', 'other'],
    ['', 'other'],
  ])('of %j', (message, reason) => {
    expect(classifyFailure(message).reason).toBe(reason);
  });
});

describe('readBatchErrors', () => {
  it('gives each line the text before its mark, and keeps the rest', () => {
    const text = 'RTNETLINK answers: No such process\nCommand failed -:1\nA\nB\nCommand failed -:4\nlast words\n';
    const { byLine, rest } = readBatchErrors(text);
    expect([...byLine]).toEqual([
      [0, 'RTNETLINK answers: No such process'],
      [3, 'A; B'],
    ]);
    expect(rest).toBe('last words');
  });
});

describe('CommandRouteKernel over a fake tool', () => {
  function create(answer: (stdin: string, argv: readonly string[]) => Partial<CommandResult>) {
    const calls: string[] = [];
    const runner: CommandRunner = {
      run: ({ argv, stdin = '' }) => {
        calls.push(stdin);
        return Promise.resolve(result(answer(stdin, argv)));
      },
    };
    return { calls, kernel: new CommandRouteKernel({ runner, logger: silentLogger }) };
  }

  it('halves a batch that ended early until the culprit stands alone', async () => {
    const { kernel, calls } = create((stdin) =>
      stdin.includes('10.0.0.3/32') ? { exitCode: 2, stderr: 'RTNETLINK answers: Invalid argument\n' } : {},
    );
    const results = await kernel.apply(['1', '2', '3', '4'].map((n) => replace(`10.0.0.${n}/32`)));
    expect(results.map((failure) => failure?.message ?? null)).toEqual([
      null,
      null,
      'RTNETLINK answers: Invalid argument',
      null,
    ]);
    expect(calls).toHaveLength(5);
  });

  it.each([
    ['was killed', { exitCode: null, signal: 'SIGKILL' }],
    ['ran out of time', { exitCode: null, signal: 'SIGKILL', timedOut: true }],
    ['could not be started', { exitCode: 127, stderr: 'ip could not be started' }],
  ])('fails every operation of a tool that %s, once', async (_what, answer) => {
    const { kernel, calls } = create(() => answer);
    const results = await kernel.apply([replace('10.0.0.1/32'), replace('10.0.0.2/32')]);
    expect(results.map((failure) => failure?.reason)).toEqual(['other', 'other']);
    expect(calls).toHaveLength(1);
  });

  it('takes an interrupted dump again', async () => {
    let runs = 0;
    const { kernel } = create(() =>
      ++runs < 3
        ? { stdout: '[]', stderr: 'Dump was interrupted and may be inconsistent.\n' }
        : { stdout: '[{"dst":"10.0.0.0/8","type":"1","dev":"eth0"}]' },
    );
    expect(await kernel.listRoutes(4, 254)).toHaveLength(1);
  });

  it.each([
    ['fails', { exitCode: 1, stderr: 'Cannot open netlink socket: Permission denied' }],
    ['prints no JSON', { stdout: 'Object "x" is unknown' }],
  ])('rejects when a list %s', async (_what, answer) => {
    const { kernel } = create(() => answer);
    await expect(kernel.listRoutes(4, 254)).rejects.toMatchObject({ kind: 'tool' });
  });

  it('changes the process with the tool, and keeps the order', async () => {
    const tools: string[] = [];
    const { kernel } = create((stdin, argv) => {
      tools.push(`${argv[0]} ${stdin.trim().split('\n').length}`);
      return {};
    });
    await kernel.apply([
      { op: 'set-link-up', name: 'vxlan.calico' },
      { op: 'replace-fdb', entry: { interfaceName: 'vxlan.calico', mac: '66:00:00:00:00:02', remote: '192.168.0.2' } },
      { op: 'add-ingress', interfaceName: 'cali1' },
      replace('10.0.0.1/32'),
      replace('10.0.0.2/32'),
    ]);
    expect(tools).toEqual(['ip 1', 'bridge 1', 'tc 1', 'ip 2']);
  });
});

describe('CommandConntrackCleaner', () => {
  function create(answer: (argv: readonly string[]) => Partial<CommandResult>) {
    const argvs: string[] = [];
    const runner: CommandRunner = {
      run: async ({ argv }) => {
        argvs.push(argv.slice(2).join(' '));
        await Promise.resolve();
        return result(answer(argv));
      },
    };
    const cleaner = new CommandConntrackCleaner({ runner, logger: silentLogger, observe: () => undefined });
    return { argvs, cleaner };
  }

  it('removes both directions, and takes no entries for success', async () => {
    const { argvs, cleaner } = create((argv) =>
      argv.includes('--reply-src')
        ? { exitCode: 1, stderr: 'conntrack v1.4.7: 0 flow entries have been deleted.' }
        : {},
    );
    await cleaner.clean(6, 'fd00::2');
    expect(argvs).toEqual(['ipv6 --delete --orig-src fd00::2', 'ipv6 --delete --reply-src fd00::2']);
  });

  it('tries each direction four times', async () => {
    const { argvs, cleaner } = create(() => ({ exitCode: 1, stderr: 'Operation failed' }));
    await cleaner.clean(4, '10.0.0.2');
    expect(argvs).toHaveLength(8);
  });

  it('runs a few at a time, and all in the end', async () => {
    let running = 0;
    let most = 0;
    const runner: CommandRunner = {
      run: async () => {
        running += 1;
        most = Math.max(most, running);
        for (let turn = 0; turn < 5; turn++) await Promise.resolve();
        running -= 1;
        return result({});
      },
    };
    const cleaned: string[] = [];
    const observe = ({ object }: { object: string }): void => void cleaned.push(object);
    const cleaner = new CommandConntrackCleaner({ runner, logger: silentLogger, observe });
    await Promise.all(Array.from({ length: 20 }, (_, n) => cleaner.clean(4, `10.0.0.${n}`)));
    expect(most).toBe(4);
    expect(cleaned).toHaveLength(20);
  });

  it('never hands anything but an address to the tool, and survives a runner that is gone', async () => {
    const { argvs, cleaner } = create(() => ({}));
    await cleaner.clean(4, '--flush');
    expect(argvs).toEqual([]);
    const gone = new CommandConntrackCleaner({
      runner: { run: () => Promise.reject(new Error('broker is gone')) },
      logger: silentLogger,
      observe: () => undefined,
    });
    await gone.clean(4, '10.0.0.1');
  });
});
