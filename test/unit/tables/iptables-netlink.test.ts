// Which scripts are written by netlink, and what happens when the kernel, or the socket, says no. That the bytes are
// those of the tool is seen in test/kernel/iptables-compile.test.ts.
import { describe, expect, test } from 'vitest';
import { NetlinkError, ToolError } from '../../../src/base/errors.js';
import {
  ADDRESS_TYPES,
  addressTypeMatch,
  commentMatch,
  multiportMatch,
  setMatch,
} from '../../../src/kernel/netlink/xt-structs.js';
import { FLAG, parseMessages } from '../../../src/kernel/netlink/message.js';
import type { Batch, PiecedBatch } from '../../../src/kernel/netlink/nf-tables.js';
import type { Family } from '../../../src/model/family.js';
import { CommitLedger } from '../../../src/tables/commit-ledger.js';
import { type CompatRule, compatRuleBytes, joinCompatBatches } from '../../../src/kernel/netlink/compat-batch.js';
import { encodeExpressions } from '../../../src/kernel/netlink/nf-expressions.js';
import { compileRule } from '../../../src/tables/iptables/rule-compiler.js';
import { FormCache, RuleForms } from '../../../src/tables/iptables/rule-forms.js';
import { readsOurForms } from '../../../src/tables/iptables/known-forms.js';
import { NetlinkIptablesIo } from '../../../src/tables/iptables/netlink-io.js';
import {
  type CompiledRestore,
  compileRestore,
  type SharedRules,
} from '../../../src/tables/iptables/restore-compiler.js';
import { silentLogger } from '../../../src/base/logger.js';
import { systemClock } from '../../../src/kernel/system-clock.js';
import { FakeCommandRunner } from '../../fakes/command-runner.js';

const SETS = new Map([
  ['cali40four', { index: 1, family: 4 as const }],
  ['cali60six', { index: 2, family: 6 as const }],
]);

function script(...lines: readonly string[]): string {
  return ['*filter', ':cali-a - -', ...lines, 'COMMIT', ''].join('\n');
}

async function isCompiled(text: string, family: Family = 4): Promise<boolean> {
  const findSet = (name: string) => SETS.get(name) ?? null;
  return (await compileRestore({ family, script: text, shared: new Map(), findSet, slices: null })) !== null;
}

describe('compileRestore', () => {
  test('takes rules of ours', async () => {
    expect(await isCompiled(script('-A cali-a -m comment --comment "cali:x" -p tcp --jump DROP'))).toBe(true);
    expect(await isCompiled(script('-A cali-a -m set --match-set cali40four src --jump DROP'))).toBe(true);
  });

  test.each([
    ['a jump to what may be an extension', '-A cali-a --jump KUBE-FORWARD'],
    ['a target that is not known', '-A cali-a --jump TPROXY'],
    ['a word too many', '-A cali-a --jump ACCEPT --frob'],
    ['a second protocol', '-A cali-a -p tcp -p udp'],
    ['a protocol without a number here', '-A cali-a -p frob'],
    ['a name of an object', '-A cali-a -p constructor'],
    ['ports without a protocol', '-A cali-a -m multiport --destination-ports 80'],
    ['ports of any other protocol', '-A cali-a ! -p tcp -m multiport --destination-ports 80'],
    ['a port for SCTP', '-A cali-a -p sctp --dport 80'],
    ['a port behind a multiport match', '-A cali-a -p tcp -m multiport --source-ports 1 --dport 80'],
    ['sixteen ports', `-A cali-a -p tcp -m multiport --source-ports ${Array(16).fill('1').join(',')}`],
    ['a range the wrong way round', '-A cali-a -p tcp -m multiport --source-ports 2:1'],
    ['an octal number', '-A cali-a -p tcp --dport 010'],
    ['the whole mask', '-A cali-a -m mark --mark 0x1/0xffffffff'],
    ['a set that is not there', '-A cali-a -m set --match-set cali40none src'],
    ['a set of the other family', '-A cali-a -m set --match-set cali60six src'],
    ['an address of the other family', '-A cali-a --source fd00::1'],
    ['no address at all', '-A cali-a ! --source 0.0.0.0/0'],
    ['an interface that has a long name', '-A cali-a --in-interface abcdefghijklmnop'],
    ['every interface', '-A cali-a --in-interface +'],
    ['a comment that is too long', `-A cali-a -m comment --comment "${'x'.repeat(256)}"`],
    ['an escape', '-A cali-a -m comment --comment "a\\b"'],
    ['a rate that the tool rounds', '-A cali-a -m limit --limit 3000/sec'],
    ['a long prefix', `-A cali-a --jump LOG --log-prefix "${'x'.repeat(30)}" --log-level 5`],
    ['a chain with a long name', `-A cali-${'x'.repeat(24)} --jump DROP`],
    ['a chain with an unusual name', ':cali-fä - -'],
    ['the end of a chain with an unusual name', '--delete-chain cali-fä'],
    ['the end of two chains', '--delete-chain cali-a cali-b'],
    ['a chain of others', '-A KUBE-FORWARD --jump DROP'],
    ['a hook of another table', '-A PREROUTING --jump cali-a'],
    ['a deletion by value', '-D FORWARD --jump cali-a'],
    ['a replacement', '-R cali-a 1 --jump DROP'],
    ['an insertion by number', '-I cali-a 2 --jump DROP'],
    ['a policy', ':INPUT DROP [0:0]'],
    ['a second table inside the first', '*nat'],
  ])('leaves %s to the tool, with all of its script', async (_what, line) => {
    expect(await isCompiled(script('-A cali-a --jump DROP', line))).toBe(false);
  });

  test('leaves to the tool what it refuses and the kernel would take', async () => {
    expect(await isCompiled('*nat\n:cali-a - -\n-A cali-a --jump DROP\nCOMMIT\n')).toBe(false);
    expect(await isCompiled('*filter\n:cali-a - -\n')).toBe(false);
    expect(await isCompiled('*filter\n:cali-a - -\nCOMMIT')).toBe(false);
    expect(await isCompiled('*security\nCOMMIT\n')).toBe(false);
    expect(await isCompiled('')).toBe(false);
  });
});

describe('RuleForms', () => {
  const others = [...SETS].map(([name, { index }]) => [name, { index: 0x1200 + index, family: 4 as const }] as const);
  const sets = new Map([...SETS, ...others.map(([name, set]) => [`${name}-2`, set] as const)]);
  const place = { family: 4 as const, table: 'filter' as const, findSet: (name: string) => sets.get(name) ?? null };

  function compiled(body: string, comment: string): string | null {
    const rule = compileRule(place, body);
    if (rule === null) return null;
    const comments = comment === '' ? [] : [encodeExpressions([commentMatch(comment)])];
    const parts = [encodeExpressions(rule.before), ...comments, encodeExpressions(rule.after)];
    return compatRuleBytes(parts, rule.protocol).toString('hex');
  }

  function filled({ bytes, places }: CompatRule, texts: readonly string[]): string {
    const copy = Buffer.from(bytes);
    expect(texts).toHaveLength(places.length);
    for (const [index, at] of places.entries()) copy.write(texts[index] ?? '', at, 'latin1');
    return copy.toString('hex');
  }

  // Rules of one form come one after the other: the second is made of what the first left.
  const BODIES = [
    '--in-interface cali1 --goto cali-fw-cali1',
    '--in-interface cali2 --goto cali-fw-cali2',
    '--out-interface cali3 --goto cali-fw-cali3',
    '--out-interface a --goto cali-t',
    '--out-interface abcdefghijklmno --goto cali-23456789012345678901234',
    '--in-interface cali+ --goto cali-fw',
    '--in-interface cali1 --jump cali-fw-cali1',
    '--in-interface cali2 --jump cali-fw-cali2',
    '--jump cali-pi-one',
    '--jump cali-pi-two',
    '--goto cali-pi-two',
    '-m mark --mark 0/0x20000 --jump cali-pi-one',
    '-m mark --mark 0/0x20000 --jump cali-pi-two',
    '-p tcp -m set --match-set cali40four src --jump ACCEPT',
    '-p tcp -m set --match-set cali40four-2 src --jump ACCEPT',
    '-p tcp -m set --match-set cali40four src -m set ! --match-set cali40four-2 dst --jump ACCEPT',
    '-p tcp -m set --match-set cali40four-2 src -m set ! --match-set cali40four dst --jump ACCEPT',
    '-m set --match-set cali40four src --jump cali-pi-one',
    '-m set --match-set cali40four-2 src --jump cali-pi-one',
    '-m comment --comment "a --match-set cali40four src" --jump DROP',
    '-m comment --comment "a --match-set cali40four-2 src" --jump DROP',
    '-m comment --comment "a --match-set cali40four src" -m set --match-set cali40four-2 src --jump DROP',
    '-m comment --comment "a --jump cali-a"',
    '--jump DROP',
    '',
  ];

  test.each([['cali:0123456789abcdef'], ['x'], ['']])(
    'with the comment "%s" they are what the compiler makes',
    (comment) => {
      const forms = new RuleForms(place.family, place.table, comment !== '');
      for (const body of [...BODIES, ...BODIES.toReversed()]) {
        const rule = forms.of(body, place.findSet);
        expect(rule, body).not.toBeNull();
        if (rule === null) continue;
        expect(filled(rule.form, comment === '' ? rule.names : [comment, ...rule.names]), body).toBe(
          compiled(body, comment),
        );
      }
    },
  );

  test('rules that differ in names only share one form', () => {
    const forms = new RuleForms(place.family, place.table, true);
    const formOf = (body: string): CompatRule | undefined => forms.of(body, place.findSet)?.form;
    expect(formOf(BODIES[0] ?? '')).toBe(formOf(BODIES[1] ?? ''));
    expect(formOf('--jump cali-pi-one')).toBe(formOf('--jump cali-pi-two'));
    expect(formOf(BODIES[13] ?? '')).toBe(formOf(BODIES[14] ?? ''));
  });

  test.each([
    '--in-interface abcdefghijklmnop --goto cali-fw',
    '--in-interface cali1 --goto cali-234567890123456789012345',
    '--in-interface cali1 --goto KUBE-FORWARD',
    '--in-interface cali1 --goto cali-fw ',
    '--in-interface cali1 --goto cali-fä',
    '--jump cali-f"',
    '-m set --match-set cali60six src --jump DROP',
    '-m set --match-set cali40none src --jump DROP',
    '-m set --match-set cali40four',
  ])('%s has none', (body) => {
    expect(new RuleForms(place.family, place.table, true).of(body, place.findSet)).toBeNull();
  });
});

describe('FormCache', () => {
  test('has forms of each family and table', () => {
    const cache = new FormCache();
    expect(cache.of(4, 'filter')).toBe(cache.of(4, 'filter'));
    expect(cache.of(6, 'filter').commented).not.toBe(cache.of(4, 'filter').commented);
    expect(cache.of(4, 'nat').commented).not.toBe(cache.of(4, 'filter').commented);
  });
});

describe('compiled rules', () => {
  test('have the numbers that sets have now', async () => {
    const texts = [
      '-m set --match-set cali40a src --jump DROP',
      '-m set --match-set cali40a src -m set --match-set cali40b dst --jump DROP',
      '-m set --match-set cali40a src --jump cali-b',
    ];
    const bytesFor = async (index: number): Promise<Buffer> => {
      const compiled = await compileRestore({
        family: 4,
        script: script(...texts.map((text) => `-A cali-a ${text}`)),
        shared: new Map(),
        findSet: (name) => ({ index: index + (name.endsWith('b') ? 1 : 0), family: 4 }),
        slices: null,
      });
      return Buffer.concat(joinCompatBatches(compiled?.batches ?? []).bytes);
    };
    const before = await bytesFor(0x1111);
    const after = await bytesFor(0x2222);
    const count = (bytes: Buffer, hex: string): number => bytes.toString('hex').split(hex).length - 1;
    // Number, dimensions, flags.
    expect([count(before, '11110102'), count(before, '12110100')]).toEqual([3, 1]);
    expect([count(after, '22220102'), count(after, '23220100')]).toEqual([3, 1]);
    expect(count(after, '11110102') + count(after, '12110100')).toBe(0);
  });
});

describe('rules that both families share', () => {
  const lines = (chain: string, ...bodies: readonly string[]): string[] =>
    bodies.map((body, index) => `-A ${chain} -m comment --comment "cali:${chain}-${index}" ${body}`);
  const SAME = ['-p 17 -m multiport --destination-ports 4789 --jump DROP', '--jump cali-a', '--jump RETURN'];
  const many = lines(
    'cali-many',
    ...Array.from({ length: 400 }, (_, index) => `--in-interface c${index} --goto cali-a`),
  );
  const four = script(
    ...lines('cali-same', ...SAME),
    ...lines('cali-reject', ...SAME, '--jump REJECT'),
    ...lines('cali-set', '-m set --match-set cali40four src --jump DROP', ...SAME),
    ...lines('cali-other', ...SAME),
    ...many,
    ...lines('cali-header', '-p 43 --jump DROP'),
    '-A FORWARD --jump cali-a',
    '-A cali-last --jump cali-a',
  );
  const six = four
    .replace('cali40four', 'cali60six')
    .replace('cali-other-1" --jump', 'cali-other-1" --goto')
    .replace(/-A cali-header.*\n/, '');

  function compile(family: Family, shared: SharedRules, text: string): Promise<CompiledRestore | null> {
    const findSet = (name: string) => SETS.get(name) ?? null;
    return compileRestore({ family, script: text, shared, findSet, slices: null });
  }

  const bytesOf = (compiled: CompiledRestore | null): string =>
    Buffer.concat(joinCompatBatches(compiled?.batches ?? []).bytes).toString('hex');

  test('are left by IPv4, and are for IPv6 what it would have made', async () => {
    const shared: SharedRules = new Map();
    expect(await compile(4, shared, four)).not.toBeNull();
    const left = shared.get('filter');
    expect([...(left?.keys() ?? [])]).toEqual(['cali-same', 'cali-other', 'cali-last']);
    const taken: string[] = [];
    const get = left?.get.bind(left);
    if (left !== undefined && get !== undefined) {
      left.get = (chain) => {
        taken.push(chain);
        return get(chain);
      };
    }
    const own = bytesOf(await compile(6, new Map(), six));
    expect(own).not.toBe(bytesOf(null));
    expect(bytesOf(await compile(6, shared, six))).toBe(own);
    expect(taken).toEqual(['cali-same', 'cali-reject', 'cali-set', 'cali-other', 'cali-many', 'FORWARD', 'cali-last']);
  });

  test('are not taken any more when the memory of IPv4’s was given back', async () => {
    const shared: SharedRules = new Map();
    const compiled = await compile(4, shared, four);
    for (const batch of compiled?.batches ?? []) batch.release();
    await compile(4, new Map(), script(...lines('cali-x', '--jump DROP')));
    expect(bytesOf(await compile(6, shared, six))).toBe(bytesOf(await compile(6, new Map(), six)));
  });
});

describe('structs of extensions', () => {
  test.each([
    [
      'multiport',
      multiportMatch(
        'destination',
        [
          [80, 80],
          [443, 445],
        ],
        true,
      ).info,
      '01035000bb01bd01',
    ],
    ['set', setMatch(258, ['src', 'dst'], true).info, '02010203'],
    ['addrtype', addressTypeMatch('source', ADDRESS_TYPES.get('LOCAL') ?? 0, true, true).info, '0400000009000000'],
  ])('%s', (_name, info, start) => {
    expect(info.subarray(0, start.length / 2).toString('hex')).toBe(start);
  });

  test('multiport marks the first port of a range', () => {
    const { info } = multiportMatch(
      'source',
      [
        [80, 80],
        [443, 445],
      ],
      true,
    );
    expect(info.subarray(32).toString('hex')).toBe('00010000000000000000000000000001');
  });
});

type Commit = (bytes: Buffer) => void;

/** A native form whose kernel is `commit`, and what its tool was given. */
function ioOver(commit: Commit): {
  io: NetlinkIptablesIo;
  byTool: string[];
  commits: number[];
  sets: Map<string, number>;
} {
  const byTool: string[] = [];
  const commits: number[] = [];
  const sets = new Map([['cali40four', 1]]);
  const netlink = {
    commit: async ({ bytes, messages }: Batch | PiecedBatch): Promise<void> => {
      commits.push(messages);
      // Memory of what was sent is used again.
      const sent = Buffer.isBuffer(bytes) ? Buffer.from(bytes) : Buffer.concat(bytes);
      await Promise.resolve(sent).then(commit);
    },
  };
  const io = new NetlinkIptablesIo({
    netlink: { 4: netlink, 6: netlink, short: netlink },
    sets: {
      find: (name) => {
        const index = sets.get(name);
        return index === undefined ? null : { index, family: 4 };
      },
    },
    tool: {
      epoch: () => 5,
      isAsKnown: () => Promise.resolve(true),
      save: (family, table) => Promise.resolve(`${table}/${family}`),
      readTags: () => Promise.resolve(null),
      restore: (_family, text) => {
        byTool.push(text);
        return Promise.resolve();
      },
    },
    clock: systemClock,
    allWait: () => new Promise((resolve) => process.nextTick(resolve)),
    ledger: new CommitLedger(() => 1),
  });
  return { io, byTool, commits, sets };
}

const DROP = script('-A cali-a --jump DROP');

describe('NetlinkIptablesIo', () => {
  test('sends what it knows and leaves the rest, and all reading, to the tool', async () => {
    const { io, byTool, commits } = ioOver(() => undefined);
    await io.restore(4, DROP);
    // Begin, table, chain, flush, rule, end.
    expect(commits).toEqual([6]);
    expect(byTool).toEqual([]);
    const unknown = script('-D FORWARD --jump cali-a');
    await io.restore(6, unknown);
    expect(byTool).toEqual([unknown]);
    expect(await io.save(6, 'nat')).toBe('nat/6');
    expect(io.epoch()).toBe(5);
  });

  test('sends short scripts that come before all wait as one batch, with all of their transactions', async () => {
    const sent: Buffer[] = [];
    const { io, byTool, commits } = ioOver((bytes) => sent.push(bytes));
    const rules = 600;
    const drops = `*filter\n:cali-a - -\n${'-A cali-a --jump DROP\n'.repeat(rules)}COMMIT\n`;
    const deletion = '*filter\n:cali-b - -\n--delete-chain cali-b\nCOMMIT\n';
    const later = Promise.resolve().then(() => io.restore(6, drops));
    await Promise.all([io.restore(4, drops + deletion), later]);
    expect(byTool).toEqual([]);
    expect(commits).toEqual([2 * rules + 12]);
    const [messages = []] = sent.map((bytes) => parseMessages(bytes));
    const kinds = messages.map(({ type, payload }) => `${type & 0xff}/${payload[0]}`);
    expect(kinds.filter((kind, index) => kind !== kinds[index - 1])).toEqual([
      '16/0',
      ...['0/2', '3/2', '8/2', '6/2', '0/2', '3/2', '8/2', '5/2'],
      ...['0/10', '3/10', '8/10', '6/10', '17/0'],
    ]);
    const answers = messages.filter(({ flags }) => (flags & FLAG.ack) !== 0);
    expect(answers).toEqual([messages.at(-2)]);
  });

  test('sends more than one piece of memory holds, and uses the memory again', async () => {
    const sent: Buffer[] = [];
    const { io, byTool } = ioOver((bytes) => sent.push(bytes));
    for (const rules of [1500, 10, 1500]) {
      const lines = Array.from(
        { length: rules },
        (_, index) => `-A cali-a -m comment --comment "cali:${String(index).padStart(16, '0')}" --jump cali-${index}`,
      );
      await io.restore(4, script(...lines));
      const messages = parseMessages(sent.at(-1) ?? Buffer.alloc(0));
      expect(messages).toHaveLength(rules + 5);
      for (const [index, { payload }] of messages.slice(4, -1).entries()) {
        expect(payload.includes(`cali:${String(index).padStart(16, '0')}\0`)).toBe(true);
        expect(payload.includes(`cali-${index}\0`)).toBe(true);
      }
    }
    expect(byTool).toEqual([]);
    expect(sent[2]).toEqual(sent[0]);
    expect(sent[0]?.length).toBeGreaterThan(512 * 1024);
  });

  test('sends the scripts of single policies one by one, so that packets of one family do not wait for the other', async () => {
    const { io, commits } = ioOver(() => undefined);
    await Promise.all([io.restore(4, DROP), io.restore(6, DROP)]);
    expect(commits).toEqual([6, 6]);
  });

  test('has the tool do each of the scripts that were refused together', async () => {
    const { io, byTool } = ioOver(() => {
      throw new NetlinkError('no', 2, 'ENOENT');
    });
    await Promise.all([io.restore(4, DROP), io.restore(6, DROP)]);
    expect(byTool).toEqual([DROP, DROP]);
  });

  test('has the tool say what the kernel refuses of any transaction, because nothing is in force then', async () => {
    const { io, byTool, commits } = ioOver(() => {
      throw new NetlinkError('no', 16, 'EBUSY');
    });
    const text = `${DROP}*filter\n:cali-a - -\n--delete-chain cali-a\nCOMMIT\n`;
    await io.restore(4, text);
    expect(commits).toHaveLength(1);
    expect(byTool).toEqual([text]);
  });

  test('never does again what may be in force: the table is read, and the next script is the tool’s', async () => {
    const { io, byTool, commits } = ioOver(() => {
      throw new NetlinkError('no answer', 5, 'EIO');
    });
    const error: unknown = await io.restore(4, DROP).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ToolError);
    expect(byTool).toEqual([]);
    await io.restore(4, DROP);
    expect(byTool).toEqual([DROP]);
    expect(commits).toHaveLength(1);
  });

  test('leaves a script to the tool whose set is another by the time it is sent', async () => {
    const { io, byTool, commits, sets } = ioOver(() => undefined);
    const text = script('-A cali-a -m set --match-set cali40four src --jump DROP');
    await io.restore(4, text);
    expect(commits).toHaveLength(1);
    let asked = 0;
    sets.get = () => (asked++ === 0 ? 1 : 8);
    await io.restore(4, text);
    expect(commits).toHaveLength(1);
    expect(byTool).toEqual([text]);
  });
});

describe('readsOurForms', () => {
  const runnerOf = (version: string, exitCode = 0): FakeCommandRunner => {
    const say = () => ({ exitCode, stdout: version, stderr: '' });
    return new FakeCommandRunner({ 'iptables-nft-restore': say, 'ip6tables-nft-restore': say });
  };

  test.each([
    ['iptables-nft-restore v1.8.9 (nf_tables)\n', true],
    ['iptables-restore v1.8.10 (nf_tables)\n', true],
    ['iptables-restore v1.8.7 (nf_tables)\n', false],
    ['iptables-restore v1.8.9 (legacy)\n', false],
    ['', false],
  ])('%j: %s', async (version, expected) => {
    expect(await readsOurForms(runnerOf(version), 'nft', [4, 6], silentLogger)).toBe(expected);
  });
});
